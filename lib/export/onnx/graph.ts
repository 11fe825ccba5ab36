/**
 * An ONNX graph being built: values that know their type, nodes that make them, constants shared by what they hold.
 *
 * @module
 */

import { encodeF16 } from "../../base/half.ts";
import type {
  OnnxAttribute,
  OnnxGraph,
  OnnxInitializer,
  OnnxNode,
  OnnxType,
  OnnxValue,
} from "../../format/onnx.ts";

/** Microsoft's operators: `MatMulNBits`. */
export const MICROSOFT = "com.microsoft";
/** Versions of the operator sets. LayerNormalization is of 17; more would shut out older runtimes. */
const OPSETS: Readonly<Record<string, number>> = { "": 17, [MICROSOFT]: 1 };

/** The operator sets that a graph uses, with their versions. */
export function opsetsOf({ nodes }: OnnxGraph): Record<string, number> {
  const domains = new Set(["", ...nodes.map(({ domain }) => domain)]);
  return Object.fromEntries([...domains].map((domain) => [domain, OPSETS[domain]!]));
}

/** A value in the graph. */
export interface Value {
  readonly name: string;
  readonly type: OnnxType;
}

/** Types in which numbers are computed. */
export type FloatType = "float32" | "float16";

/** What a node is, beside its inputs. */
export interface NodeOptions {
  attributes?: Readonly<Record<string, OnnxAttribute>>;
  /** @default {""} */
  domain?: string;
  /** Type of the output. @default {that of the first input} */
  type?: OnnxType;
}

/** Begins of a slice's end that means "to the last". */
export const TO_END = Number.MAX_SAFE_INTEGER;

/** Collects inputs, nodes, constants and outputs. */
export class GraphBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #inputs: OnnxValue[] = [];
  readonly #outputs: { value: Value; as: OnnxValue }[] = [];
  readonly #initializers = new Map<string, OnnxInitializer>();
  /** Values made once, such as casts, by what they are. */
  readonly #made = new Map<string, unknown>();
  #count = 0;

  /** An input of the graph. A string names a size that varies. */
  input(name: string, type: OnnxType, dims: readonly (number | string)[]): Value {
    this.#inputs.push({ name, type, dims });
    return { name, type };
  }

  /** Makes a value an output of the graph, under its own name there. */
  output(name: string, value: Value, dims: readonly (number | string)[]): void {
    this.#outputs.push({ value, as: { name, type: value.type, dims } });
  }

  /**
   * A weight, read when the file is written. The same name again is the same weight.
   *
   * @throws {TypeError} when it is another weight
   */
  weight(
    name: string,
    type: OnnxType,
    { dims, read }: Pick<OnnxInitializer, "dims" | "read">,
  ): Value {
    const known = this.#initializers.get(name);
    if (known === undefined) this.#initializers.set(name, { name, type, dims, read });
    else if (known.type !== type || known.dims.join() !== dims.join()) {
      throw new TypeError(`Cannot write two weights called "${name}"`);
    }
    return { name, type };
  }

  /** Whole numbers: a list, or one number without dimensions. */
  ints(values: readonly number[] | number): Value {
    const list = typeof values === "number" ? [values] : values;
    const elements = BigInt64Array.from(list, (value) => BigInt(value));
    return this.weight(`ints_${typeof values === "number" ? "scalar_" : ""}${list.join("_")}`, "int64", {
      dims: typeof values === "number" ? [] : [list.length],
      read: () => Promise.resolve(elements),
    });
  }

  /** One number, without dimensions. */
  number(value: number, type: FloatType): Value {
    const wide = Float32Array.of(value);
    return this.weight(`${type}_${value}`, type, {
      dims: [],
      read: () => Promise.resolve(type === "float16" ? encodeF16(wide) : wide),
    });
  }

  /** A node with one output. An input left out is `undefined`. */
  node(op: string, inputs: readonly (Value | undefined)[], options: NodeOptions = {}): Value {
    return this.nodes(op, inputs, { ...options, types: [options.type ?? inputs[0]!.type] })[0]!;
  }

  /** A node with one output for every type. */
  nodes(
    op: string,
    inputs: readonly (Value | undefined)[],
    { attributes = {}, domain = "", types }: NodeOptions & { types: readonly OnnxType[] },
  ): Value[] {
    const outputs = types.map((type) => ({ name: `${op}_${this.#count++}`, type }));
    this.#nodes.push({
      op,
      domain,
      attributes,
      inputs: inputs.map((input) => input?.name ?? ""),
      outputs: outputs.map(({ name }) => name),
    });
    return outputs;
  }

  /** The value in another type; itself where it has it. The one place where numbers change type. */
  as(value: Value, type: OnnxType): Value {
    if (value.type === type) return value;
    const to = { float32: 1, float16: 10, int64: 7, bool: 9, int32: 6, uint8: 2, int8: 3 }[type];
    return this.once(
      `${value.name} as ${type}`,
      () => this.node("Cast", [value], { type, attributes: { to: { int: to } } }),
    );
  }

  /** What `make` gives, made once for every key. */
  once<T extends Value | readonly Value[]>(key: string, make: () => T): T {
    const found = this.#made.get(key) as T | undefined ?? make();
    this.#made.set(key, found);
    return found;
  }

  /** Sum, product or another operation of two values in the type of the first. */
  binary(op: "Add" | "Sub" | "Mul" | "Div", a: Value, b: Value | number): Value {
    const right = typeof b === "number" ? this.number(b, a.type as FloatType) : this.as(b, a.type);
    return this.node(op, [a, right]);
  }

  /** 0 keeps a size, -1 takes what is left. */
  reshape(value: Value, shape: readonly number[]): Value {
    return this.node("Reshape", [value, this.ints(shape)]);
  }

  transpose(value: Value, perm: readonly number[]): Value {
    return this.node("Transpose", [value], { attributes: { perm: { ints: perm } } });
  }

  concat(values: readonly Value[], axis: number): Value {
    return this.node("Concat", values, { attributes: { axis: { int: axis } } });
  }

  unsqueeze(value: Value, axes: readonly number[]): Value {
    return this.node("Unsqueeze", [value, this.ints(axes)]);
  }

  gather(table: Value, rows: Value, axis = 0): Value {
    return this.node("Gather", [table, rows], { attributes: { axis: { int: axis } } });
  }

  /** Elements from `start` to `end`, excluded, of a dimension; both int64 [1]. */
  slice(value: Value, axis: number, { start, end }: { start: Value; end: Value }): Value {
    return this.node("Slice", [value, start, end, this.ints([axis])]);
  }

  /** A dimension's size, int64 without dimensions. */
  size(value: Value, axis: number): Value {
    return this.once(`size ${axis} of ${value.name}`, () => {
      const shape = this.once(`shape of ${value.name}`, () => this.node("Shape", [value], { type: "int64" }));
      return this.gather(shape, this.ints(axis));
    });
  }

  /** Parts of a value along its last dimension. */
  split(value: Value, widths: readonly number[]): Value[] {
    return this.nodes("Split", [value, this.ints(widths)], {
      attributes: { axis: { int: -1 } },
      types: widths.map(() => value.type),
    });
  }

  /** The graph. Outputs take their names from whatever makes them. */
  finish(name: string): OnnxGraph {
    const renamed = new Map<string, string>();
    for (const { value, as } of this.#outputs) {
      const isMade = this.#nodes.some(({ outputs }) => outputs.includes(value.name));
      if (isMade && !renamed.has(value.name)) renamed.set(value.name, as.name);
      else {
        this.#nodes.push({
          op: "Identity",
          domain: "",
          inputs: [value.name],
          outputs: [as.name],
          attributes: {},
        });
      }
    }
    const final = (value: string): string => renamed.get(value) ?? value;
    return {
      name,
      inputs: this.#inputs,
      outputs: this.#outputs.map(({ as }) => as),
      initializers: [...this.#initializers.values()],
      nodes: this.#nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(final),
        outputs: node.outputs.map(final),
      })),
    };
  }
}
