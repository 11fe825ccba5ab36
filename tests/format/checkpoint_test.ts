import assert from "node:assert/strict";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { findNonFinite, openCheckpoint } from "../../lib/format/checkpoint.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";

const scalar = (value: number): TensorData => ({ dtype: "F32", shape: [1], data: Float32Array.of(value) });
const file = (tensors: Record<string, TensorData>) => writeSafetensors(new Map(Object.entries(tensors)));
const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const one = "model-00001-of-00002.safetensors", two = "model-00002-of-00002.safetensors";
const index = { metadata: { total_size: 8 }, weight_map: { a: one, b: two } };

function sharded(changes: Record<string, Uint8Array | undefined> = {}) {
  const files = new Map<string, Uint8Array>([
    ["model.safetensors.index.json", text(index)],
    [one, file({ a: scalar(1) })],
    [two, file({ b: scalar(2) })],
  ]);
  for (const [name, bytes] of Object.entries(changes)) {
    if (bytes === undefined) files.delete(name);
    else files.set(name, bytes);
  }
  return memoryFolder("run", files);
}

Deno.test("openCheckpoint reads one file or its shards", async () => {
  const single = await openCheckpoint(
    memoryFolder("run", new Map([["model.safetensors", file({ a: scalar(3) })]])),
  );
  assert.deepEqual([...await single.readF32("a")], [3]);
  const shards = await openCheckpoint(sharded());
  assert.deepEqual([...shards.tensors.keys()], ["a", "b"]);
  assert.deepEqual([...await shards.readF32("b")], [2]);
  await assert.rejects(shards.read("c"), /there is no tensor "c"/);
  const named = await openCheckpoint(
    memoryFolder("run", new Map([["adapter_model.safetensors", file({ a: scalar(4) })]])),
    { stem: "adapter_model" },
  );
  assert.equal(named.tensors.size, 1);
});

Deno.test("openCheckpoint says what a folder lacks", async () => {
  await assert.rejects(
    openCheckpoint(memoryFolder("run", new Map())),
    /"run": it has neither "model\.safetensors" nor "model\.safetensors\.index\.json"/,
  );
  await assert.rejects(
    openCheckpoint(sharded({ [two]: undefined })),
    /the shard "model-00002-of-00002.safetensors" is missing, which holds "b"/,
  );
});

Deno.test("openCheckpoint refuses an index that disagrees with its shards", async () => {
  await assert.rejects(
    openCheckpoint(sharded({ [two]: file({ c: scalar(2) }) })),
    /tensor "b" is in .*does not have it/,
  );
  await assert.rejects(
    openCheckpoint(sharded({ [two]: file({ b: scalar(2), a: scalar(9) }) })),
    /holds tensor "a", which the index does not place there/,
  );
});

Deno.test("openCheckpoint refuses a malformed index and one that leaves its folder", async () => {
  const name = "model.safetensors.index.json";
  await assert.rejects(
    openCheckpoint(sharded({ [name]: new TextEncoder().encode("{") })),
    /index.json": it is not JSON/,
  );
  await assert.rejects(openCheckpoint(sharded({ [name]: text({}) })), /"weight_map" is nothing/);
  for (const place of ["../secret.safetensors", "/etc/a.safetensors", "a.bin", 3, "c:\\a.safetensors"]) {
    await assert.rejects(
      openCheckpoint(sharded({ [name]: text({ weight_map: { a: place } }) })),
      SyntaxError,
    );
  }
});

Deno.test("findNonFinite counts NaN and infinities in every float dtype", () => {
  const f32 = Float32Array.of(1, -3.4e38, NaN, 0, -Infinity, Infinity);
  assert.deepEqual(findNonFinite(f32), { count: 3, nanCount: 1, firstIndex: 2 });
  assert.deepEqual(findNonFinite(new Uint8Array(f32.buffer), "F32"), {
    count: 3,
    nanCount: 1,
    firstIndex: 2,
  });
  assert.deepEqual(findNonFinite(Float64Array.of(1e308, NaN, Infinity), "F64"), {
    count: 2,
    nanCount: 1,
    firstIndex: 1,
  });
  const signalling = new Float64Array(Uint32Array.of(0, 0, 1, 0x7ff00000).buffer);
  assert.deepEqual(findNonFinite(signalling, "F64"), { count: 1, nanCount: 1, firstIndex: 1 });
  assert.deepEqual(findNonFinite(Uint16Array.of(0x3f80, 0x7f80, 0xffc0), "BF16"), {
    count: 2,
    nanCount: 1,
    firstIndex: 1,
  });
  assert.deepEqual(findNonFinite(Uint16Array.of(0x7bff, 0xfc00, 0x7c01), "F16"), {
    count: 2,
    nanCount: 1,
    firstIndex: 1,
  });
  assert.equal(findNonFinite(Uint16Array.of(0x7bff, 0x8000), "F16"), undefined);
  assert.equal(findNonFinite(new Float32Array(0)), undefined);
});

Deno.test("findNonFinite accepts views at odd places of a buffer", () => {
  const bytes = new Uint8Array(11);
  bytes.set(new Uint8Array(Float32Array.of(1, NaN).buffer), 3);
  assert.deepEqual(findNonFinite(bytes.subarray(3), "F32"), { count: 1, nanCount: 1, firstIndex: 1 });
});
