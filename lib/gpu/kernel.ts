/**
 * A WGSL file as TypeScript sees it: bindings by name, parameters packed by name, pipelines made once per device.
 *
 * @module
 */

import type { Gpu } from "./device.ts";

/** Values for `override` constants of a kernel. */
export type Overrides = Record<string, number>;

interface Field {
  name: string;
  type: "u32" | "i32" | "f32";
}

const BINDING = /@group\(0\)\s*@binding\((\d+)\)\s*var<([^>]+)>\s*(\w+)\s*:/g;
const PARAMS = /struct\s+Params\s*\{([^}]*)\}/;

/** One WGSL text with its bindings and the layout of its `Params` struct (scalars only), read from the text. */
export class Kernel {
  /** Binding number by variable name. */
  readonly bindings: ReadonlyMap<string, number>;
  /** Names of the variables a kernel may write. */
  readonly writable: ReadonlySet<string>;
  readonly #fields: readonly Field[];
  readonly #uniform: string | undefined;

  /**
   * @param name the file's name without its ending, shown in errors and timings
   * @param code the WGSL text
   */
  constructor(readonly name: string, readonly code: string) {
    const bindings = new Map<string, number>();
    const writable = new Set<string>();
    let uniform: string | undefined;
    for (const [, number, space, variable] of code.matchAll(BINDING)) {
      bindings.set(variable!, Number(number));
      if (space!.includes("read_write")) writable.add(variable!);
      if (space === "uniform") uniform = variable!;
    }
    this.bindings = bindings;
    this.writable = writable;
    this.#uniform = uniform;
    // Comments may hold commas and colons, so they go before the fields are split.
    const body = (PARAMS.exec(code)?.[1] ?? "").replaceAll(/\/\/[^\n]*/g, "");
    this.#fields = body.split(",").map((text) => text.trim()).filter((text) => text !== "").map((text) => {
      const [field, type] = text.split(":").map((part) => part.trim());
      if (type !== "u32" && type !== "i32" && type !== "f32") {
        throw new TypeError(
          `Cannot read kernel "${name}": Params.${field} is ${type}, expected u32, i32 or f32`,
        );
      }
      return { name: field!, type };
    });
  }

  /** Name of the uniform variable that holds `Params`, if the kernel has one. */
  get uniform(): string | undefined {
    return this.#uniform;
  }

  /**
   * The same kernel with other values for `const NAME: u32 = …;` lines at its head (register and workgroup tiles).
   *
   * @throws {RangeError} when the text has no such line
   */
  with(constants: Record<string, number>): Kernel {
    let code = this.code;
    for (const [name, value] of Object.entries(constants)) {
      const line = new RegExp(`^const ${name}: u32 = \\d+u?;`, "m");
      if (!line.test(code)) {
        throw new RangeError(`Cannot set ${name} of kernel "${this.name}": it has no such constant`);
      }
      code = code.replace(line, `const ${name}: u32 = ${value}u;`);
    }
    return new Kernel(this.name, code);
  }

  /**
   * `Params` as bytes, every field given by name, padded to 16.
   *
   * @throws {TypeError} when a field is missing, unknown or not a finite number
   * @throws {RangeError} when a number does not fit its field's type
   */
  packParams(values: Record<string, number | boolean>): ArrayBuffer {
    const view = new DataView(new ArrayBuffer(Math.max(16, Math.ceil(this.#fields.length / 4) * 16)));
    for (const [i, { name, type }] of this.#fields.entries()) {
      const value = Number(values[name]);
      if (!Number.isFinite(value)) {
        throw new TypeError(
          `Cannot run kernel "${this.name}": parameter "${name}" is ${values[name]}, expected a number`,
        );
      }
      const fits = type === "f32"
        ? Number.isFinite(Math.fround(value))
        : value === (type === "u32" ? value >>> 0 : value | 0);
      if (!fits) {
        throw new RangeError(
          `Cannot run kernel "${this.name}": parameter "${name}" is ${value}, expected ${type}`,
        );
      }
      if (type === "f32") view.setFloat32(i * 4, value, true);
      else if (type === "u32") view.setUint32(i * 4, value, true);
      else view.setInt32(i * 4, value, true);
    }
    const known = new Set(this.#fields.map((field) => field.name));
    const unknown = Object.keys(values).find((name) => !known.has(name));
    if (unknown !== undefined) {
      throw new TypeError(`Cannot run kernel "${this.name}": it has no parameter "${unknown}"`);
    }
    return view.buffer;
  }

  /** The pipeline of an entry point, compiled on first use. */
  pipeline(gpu: Gpu, entry: string, overrides: Overrides = {}): GPUComputePipeline {
    const key = `${entry}|${JSON.stringify(overrides)}|${this.code}`;
    let pipeline = gpu.pipelines.get(key);
    if (pipeline === undefined) {
      let module = gpu.modules.get(this.code);
      if (module === undefined) {
        module = gpu.device.createShaderModule({ label: `${this.name}.wgsl`, code: this.code });
        gpu.modules.set(this.code, module);
      }
      pipeline = gpu.device.createComputePipeline({
        label: `${this.name}.${entry}`,
        layout: "auto",
        compute: { module, entryPoint: entry, constants: overrides },
      });
      gpu.pipelines.set(key, pipeline);
    }
    return pipeline;
  }
}
