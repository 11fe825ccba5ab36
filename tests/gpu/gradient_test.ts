import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { makeTrainable, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { add } from "../../lib/ops/add.ts";
import { gelu } from "../../lib/ops/gelu.ts";
import { softmax } from "../../lib/ops/softmax.ts";
import { swiglu } from "../../lib/ops/swiglu.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

const SIZE = 7;
type Values = ArrayLike<number>;

/** One op of a graph and the values it reads: 0 is the leaf, i the result of node i - 1. */
interface Node {
  op: "add" | "gelu" | "swiglu" | "softmax";
  inputs: number[];
}

const references: Record<Node["op"], (a: Values, b: Values) => Float64Array> = {
  add: (a, b) => Float64Array.from(a, (value, i) => value + b[i]!),
  gelu: (a) =>
    Float64Array.from(a, (x) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))),
  swiglu: (a, b) => Float64Array.from(a, (g, i) => g / (1 + Math.exp(-g)) * b[i]!),
  softmax: (a) => {
    const exponentials = Float64Array.from(a, (x) => Math.exp(x - Math.max(...Array.from(a))));
    const sum = exponentials.reduce((total, x) => total + x, 0);
    return exponentials.map((x) => x / sum);
  },
};

const records: Record<Node["op"], (r: Recorder, a: Tensor, b: Tensor) => Tensor> = {
  add,
  gelu: (r, a) => gelu(r, a, "tanh"),
  swiglu,
  softmax,
};

function compute(nodes: readonly Node[], leaf: Values): Float64Array {
  const values: Values[] = [leaf];
  for (const { op, inputs: [a, b = a] } of nodes) values.push(references[op](values[a!]!, values[b!]!));
  return Float64Array.from(values.at(-1)!);
}

function record(r: Recorder, nodes: readonly Node[], leaf: Tensor): Tensor {
  const tensors = [leaf];
  for (const { op, inputs: [a, b = a] } of nodes) tensors.push(records[op](r, tensors[a!]!, tensors[b!]!));
  return tensors.at(-1)!;
}

async function check(nodes: readonly Node[], seed: number): Promise<void> {
  const x = randomValues(SIZE, seed);
  const dy = randomValues(SIZE, seed + 1);
  const { output, grads } = await forwardBackward(
    await testGpu(),
    { x: { data: x, shape: [SIZE] } },
    (r, t) => record(r, nodes, t.x!),
    () => dy,
  );
  const label = JSON.stringify(nodes.map(({ op, inputs }) => `${op}(${inputs})`));
  assertClose(output, compute(nodes, x), { relative: 1e-5, label });
  const dX = numericalGradient((x) => compute(nodes, x), x, dy);
  assertClose(grads.x!, dX, { relative: 2e-5, absolute: 1e-5, label: `gradient of ${label}` });
}

const cases: Record<string, Node[]> = {
  "y = x + f(x)": [{ op: "add", inputs: [0, 0] }, { op: "gelu", inputs: [1] }, { op: "add", inputs: [1, 2] }],
  "y = f(x) + x": [{ op: "gelu", inputs: [0] }, { op: "gelu", inputs: [1] }, { op: "add", inputs: [2, 1] }],
  "y = x + f(x), x used twice more": [
    { op: "gelu", inputs: [0] }, // 1: x
    { op: "softmax", inputs: [1] }, // 2: f(x)
    { op: "add", inputs: [1, 2] }, // 3: y
    { op: "swiglu", inputs: [1, 3] }, // 4
    { op: "add", inputs: [4, 1] }, // 5
  ],
  "x used twice before y = x + f(x)": [
    { op: "gelu", inputs: [0] }, // 1: x
    { op: "softmax", inputs: [1] }, // 2
    { op: "swiglu", inputs: [1, 2] }, // 3
    { op: "gelu", inputs: [1] }, // 4: f(x)
    { op: "add", inputs: [1, 4] }, // 5: y
    { op: "add", inputs: [5, 3] }, // 6
  ],
  "two residual blocks, each of two ops": [
    { op: "gelu", inputs: [0] },
    { op: "softmax", inputs: [1] },
    { op: "gelu", inputs: [2] },
    { op: "add", inputs: [1, 3] },
    { op: "swiglu", inputs: [4, 4] },
    { op: "gelu", inputs: [5] },
    { op: "add", inputs: [4, 6] },
  ],
  "a sum of sums that share one gradient": [
    { op: "gelu", inputs: [0] },
    { op: "gelu", inputs: [0] },
    { op: "add", inputs: [1, 2] },
    { op: "add", inputs: [3, 1] },
    { op: "add", inputs: [4, 3] },
    { op: "add", inputs: [5, 5] },
  ],
};

for (const [name, nodes] of Object.entries(cases)) {
  Deno.test(`gradients are those of the numbers: ${name}`, () => check(nodes, 5));
}

Deno.test("gradients are those of the numbers in sixty graphs drawn at random", async () => {
  const ops = ["add", "add", "add", "gelu", "swiglu", "softmax"] as const;
  for (let graph = 0; graph < 60; graph++) {
    const draws = randomValues(40, 100 + graph).map((value) => (value + 1) / 2 - 1e-7);
    let next = 0;
    const draw = (n: number): number => Math.floor(draws[next++]! * n);
    const nodes: Node[] = [];
    for (let i = 1; i <= 8; i++) {
      const op = ops[draw(ops.length)]!;
      // Recent values twice as likely, so that chains grow.
      const input = (): number => Math.max(draw(i), draw(i));
      nodes.push({ op, inputs: op === "add" || op === "swiglu" ? [input(), input()] : [input()] });
    }
    nodes.push({ op: "add", inputs: [8, 7] });
    await check(nodes, 200 + graph);
  }
});

Deno.test("a second run adds the same gradient again", async () => {
  const gpu = await testGpu();
  const nodes = cases["y = x + f(x), x used twice more"]!;
  const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(SIZE, 1)));
  const start = tensorFrom(gpu, randomValues(SIZE, 2));
  const r = new Recorder(gpu, true);
  // The seed is written anew by every run, as a loss does.
  const dy = r.tensor([SIZE], "dy");
  r.copy(start, dy);
  r.seedGradient(record(r, nodes, x), dy);
  r.backward();
  const plan = await r.compile();
  plan.run();
  const once = await readF32(gpu, x.grad!);
  plan.run();
  assertClose(await readF32(gpu, x.grad!), once.map((value) => 2 * value));
  assert.ok(once.some((value) => Math.abs(value) > 1e-3));
  plan.destroy({ arena: true });
});

Deno.test("a seed with memory of its own is read only, so every run starts from it", async () => {
  const gpu = await testGpu();
  for (const name of ["y = x + f(x)", "two residual blocks, each of two ops"]) {
    const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(SIZE, 1)));
    const values = randomValues(SIZE, 2);
    const dy = tensorFrom(gpu, values);
    const r = new Recorder(gpu, true);
    r.seedGradient(record(r, cases[name]!, x), dy);
    r.backward();
    const plan = await r.compile();
    plan.run();
    const once = await readF32(gpu, x.grad!);
    plan.run();
    plan.run();
    assert.deepEqual(await readF32(gpu, dy), values);
    assertClose(await readF32(gpu, x.grad!), once.map((value) => 3 * value));
    plan.destroy({ arena: true });
  }
});

Deno.test("a gradient whose memory was taken over by a residual is not handed out as its own", async () => {
  const gpu = await testGpu();
  const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(SIZE, 1)));
  const r = new Recorder(gpu, true);
  const a = gelu(r, x, "tanh");
  // Two ops, so that the sum's gradient has been read when the second adds to it in place.
  const b = softmax(r, gelu(r, a, "tanh"));
  const y = add(r, a, b);
  r.seedGradient(y, r.tensor([SIZE], "dy"));
  r.backward();
  assert.ok(r.gradientOf(a) !== undefined);
  assert.notEqual(r.gradientOf(y)?.storage, r.gradientOf(a)!.storage);
  assert.notEqual(r.gradientOf(b)?.storage, r.gradientOf(a)!.storage);
});

Deno.test("the gradient of some rows of a computed tensor is refused, that of a trainable one is added where it belongs", async () => {
  const gpu = await testGpu();
  const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(8, 1), { shape: [2, 4], label: "x" }));
  for (const [start, end] of [[0, 1], [1, 2]] as const) {
    for (const residual of [true, false]) {
      const r = new Recorder(gpu, true);
      const computed = gelu(r, x, "tanh").rows(start, end);
      const y = residual ? add(r, computed, computed) : gelu(r, computed, "tanh");
      r.seedGradient(y, r.tensor([1, 4], "dy"));
      assert.throws(() => r.backward(), {
        name: "TypeError",
        message: /^Cannot record the gradient of rows \[1,4\] of "gelu": it is computed/,
      });
    }
  }
  const r = new Recorder(gpu, true);
  const whole = gelu(r, x, "tanh").rows(0, 2);
  const sum = add(r, whole, whole);
  r.seedGradient(sum, tensorFrom(gpu, new Float32Array(8).fill(1), { shape: [2, 4] }));
  r.backward();
  const plan = await r.compile();
  plan.run();
  const dx = numericalGradient(
    (values) => references.gelu(values, []).map((value) => 2 * value),
    randomValues(8, 1),
    new Float32Array(8).fill(1),
  );
  assertClose(await readF32(gpu, x.grad!), dx, { relative: 2e-5, absolute: 1e-5 });
  plan.destroy({ arena: true });
});

Deno.test("nothing is recorded for what is frozen, and nothing at all without training", async () => {
  const gpu = await testGpu();
  const frozen = tensorFrom(gpu, randomValues(SIZE, 1));
  const trainable = makeTrainable(gpu, tensorFrom(gpu, randomValues(SIZE, 2)));
  const r = new Recorder(gpu, true);
  const y = add(r, gelu(r, frozen, "erf"), trainable);
  r.seedGradient(y, r.tensor([SIZE], "dy"));
  r.backward();
  assert.deepEqual(
    r.steps.map((step) => step.label),
    ["gelu.forward_erf", "add.forward", "add.accumulate"],
  );
  assert.equal(r.gradientOf(frozen), undefined);
  assert.equal(r.gradientOf(trainable), trainable.grad);
  const evaluating = new Recorder(gpu, false);
  const z = add(evaluating, gelu(evaluating, trainable, "erf"), frozen);
  evaluating.seedGradient(z, evaluating.tensor([SIZE], "dz"));
  evaluating.backward();
  assert.equal(evaluating.steps.length, 2);
});

Deno.test("a residual whose branch has several ops costs no copy", async () => {
  const gpu = await testGpu();
  const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(SIZE, 2)));
  const r = new Recorder(gpu, true);
  const y = record(r, cases["two residual blocks, each of two ops"]!, x);
  r.seedGradient(y, r.tensor([SIZE], "dy"));
  r.backward();
  const copies = r.steps.filter((step) => step.kind === "copy");
  assert.equal(copies.length, 0);
});
