import assert from "node:assert/strict";
import { Kernel } from "../../lib/gpu/kernel.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readTensors } from "../../lib/gpu/tensor.ts";
import { testGpu } from "../support/gpu.ts";

const FILL = `
struct Params {
  count: u32,  // elements: all of them, from 0
  offset: i32,
  // a line of its own, with a colon: and a comma
  scale: f32,
  flag: u32,
  extra: f32
}

const WORKGROUP: u32 = 8u;
const FACTOR: u32 = 1;

override bonus: f32 = 0.0;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;  // [count]
@group(0)
@binding(5)
var<storage, read> x: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.count) {
    return;
  }
  y[id.x] = f32(id.x * FACTOR) * params.scale + f32(params.offset) + f32(params.flag) + params.extra + bonus;
}
`;

Deno.test("a kernel reads its bindings, what it may write and its uniform from the text", () => {
  const kernel = new Kernel("fill", FILL);
  assert.deepEqual([...kernel.bindings], [["params", 0], ["y", 3], ["x", 5]]);
  assert.deepEqual([...kernel.writable], ["y"]);
  assert.equal(kernel.uniform, "params");
  const bare = new Kernel("bare", "@compute @workgroup_size(1) fn main() {}");
  assert.equal(bare.uniform, undefined);
  assert.equal(bare.bindings.size, 0);
});

Deno.test("two variables may name the same binding, for entry points of other widths", () => {
  const kernel = new Kernel(
    "twice",
    "@group(0) @binding(2) var<storage, read> x: array<f32>;\n@group(0) @binding(2) var<storage, read> x4: array<vec4f>;",
  );
  assert.deepEqual([...kernel.bindings], [["x", 2], ["x4", 2]]);
});

Deno.test("parameters are packed by name in the order and type of the struct, padded to 16 bytes", () => {
  const kernel = new Kernel("fill", FILL);
  const bytes = kernel.packParams({ extra: 0.5, flag: true, scale: -1.5, offset: -2, count: 4294967295 });
  assert.equal(bytes.byteLength, 32);
  const view = new DataView(bytes);
  assert.equal(view.getUint32(0, true), 4294967295);
  assert.equal(view.getInt32(4, true), -2);
  assert.equal(view.getFloat32(8, true), -1.5);
  assert.equal(view.getUint32(12, true), 1);
  assert.equal(view.getFloat32(16, true), 0.5);
  assert.deepEqual([...new Uint32Array(bytes, 20)], [0, 0, 0]);
  assert.equal(new Kernel("one", "struct Params { n: u32 }").packParams({ n: 3 }).byteLength, 16);
});

Deno.test("missing, unknown and non-finite parameters are refused by name", () => {
  const kernel = new Kernel("fill", FILL);
  const all = { count: 1, offset: 0, scale: 1, flag: false, extra: 0 };
  const { scale: _, ...missing } = all;
  assert.throws(() => kernel.packParams(missing), {
    name: "TypeError",
    message: 'Cannot run kernel "fill": parameter "scale" is undefined, expected a number',
  });
  assert.throws(() => kernel.packParams({ ...all, extra: NaN }), /parameter "extra" is NaN/);
  assert.throws(() => kernel.packParams({ ...all, offset: Infinity }), /parameter "offset" is Infinity/);
  assert.throws(() => kernel.packParams({ ...all, Count: 1 }), {
    name: "TypeError",
    message: 'Cannot run kernel "fill": it has no parameter "Count"',
  });
});

Deno.test("numbers that are not of their parameter's type are refused, the extremes are not", () => {
  const kernel = new Kernel("fill", FILL);
  const all = { count: 1, offset: 0, scale: 1, flag: false, extra: 0 };
  for (const count of [-1, 1.5, 2 ** 32, 2 ** 33 + 7]) {
    assert.throws(() => kernel.packParams({ ...all, count }), {
      name: "RangeError",
      message: `Cannot run kernel "fill": parameter "count" is ${count}, expected u32`,
    });
  }
  for (const offset of [0.5, 2 ** 31, -(2 ** 31) - 1]) {
    assert.throws(() => kernel.packParams({ ...all, offset }), {
      name: "RangeError",
      message: `Cannot run kernel "fill": parameter "offset" is ${offset}, expected i32`,
    });
  }
  assert.throws(
    () => kernel.packParams({ ...all, scale: 1e39 }),
    /parameter "scale" is 1e\+39, expected f32/,
  );
  for (const offset of [2 ** 31 - 1, -(2 ** 31)]) {
    assert.equal(new DataView(kernel.packParams({ ...all, offset })).getInt32(4, true), offset);
  }
  assert.equal(
    new DataView(kernel.packParams({ ...all, count: 2 ** 32 - 1 })).getUint32(0, true),
    2 ** 32 - 1,
  );
});

Deno.test("a struct of parameters that are not scalars is refused", () => {
  assert.throws(() => new Kernel("bad", "struct Params { size: vec2u }"), {
    name: "TypeError",
    message: 'Cannot read kernel "bad": Params.size is vec2u, expected u32, i32 or f32',
  });
});

Deno.test("with() changes constants at the head, leaves the kernel itself alone and refuses other names", () => {
  const kernel = new Kernel("fill", FILL);
  const other = kernel.with({ WORKGROUP: 4, FACTOR: 10 });
  assert.match(other.code, /^const WORKGROUP: u32 = 4u;$/m);
  assert.match(other.code, /^const FACTOR: u32 = 10u;$/m);
  assert.match(kernel.code, /^const WORKGROUP: u32 = 8u;$/m);
  assert.equal(other.name, "fill");
  assert.deepEqual([...other.bindings], [...kernel.bindings]);
  for (const name of ["WORKGROUPS", "bonus", "count", "f32"]) {
    assert.throws(() => kernel.with({ [name]: 1 }), {
      name: "RangeError",
      message: `Cannot set ${name} of kernel "fill": it has no such constant`,
    });
  }
});

Deno.test("parameters, constants and overrides arrive in the kernel", async () => {
  const gpu = await testGpu();
  const kernel = new Kernel("fill", FILL).with({ FACTOR: 10 });
  const params = { count: 3, offset: -2, scale: 0.5, flag: true, extra: 0.25 };
  const r = new Recorder(gpu);
  const [plain, raised] = [r.keep(r.tensor([3], "plain")), r.keep(r.tensor([3], "raised"))];
  r.dispatch(kernel, "main", { bind: { y: plain }, params, workgroups: [1] });
  r.dispatch(kernel, "main", {
    bind: { y: raised },
    params: { ...params, count: 2 },
    overrides: { bonus: 100 },
    workgroups: [1],
  });
  const plan = await r.compile();
  plan.run();
  const [a, b] = (await readTensors(gpu, [plain, raised])).map((
    bytes,
  ) => [...new Float32Array(bytes.buffer)]);
  plan.destroy({ arena: true });
  assert.deepEqual(a, [-0.75, 4.25, 9.25]);
  assert.deepEqual(b!.slice(0, 2), [99.25, 104.25]);
});

Deno.test("a pipeline is compiled once for a text, entry point and overrides", async () => {
  const gpu = await testGpu();
  const kernel = new Kernel("fill", FILL);
  const pipeline = kernel.pipeline(gpu, "main");
  assert.equal(new Kernel("same", FILL).pipeline(gpu, "main"), pipeline);
  assert.notEqual(kernel.pipeline(gpu, "main", { bonus: 1 }), pipeline);
  assert.notEqual(kernel.with({ WORKGROUP: 4 }).pipeline(gpu, "main"), pipeline);
});
