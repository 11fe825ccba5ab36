import assert from "node:assert/strict";
import {
  memorySource,
  openSafetensors,
  parseSafetensorsHeader,
  streamSafetensors,
  type TensorData,
  writeSafetensors,
} from "../../lib/format/safetensors.ts";

/** A file from header text (or an object) and a number of data bytes. */
function fileOf(header: unknown, dataSize: number): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + dataSize);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

function parse(bytes: Uint8Array, fileSize = bytes.length) {
  return parseSafetensorsHeader(bytes, { fileSize, name: "run/model.safetensors" });
}

function refused(bytes: Uint8Array, message: RegExp): void {
  assert.throws(() => parse(bytes), (error: Error) => {
    assert.ok(error instanceof SyntaxError, String(error));
    assert.match(error.message, message);
    assert.match(error.message, /"run\/model\.safetensors"/);
    return true;
  });
}

const f32 = (shape: number[], begin: number, end: number) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

Deno.test("parseSafetensorsHeader accepts what the format allows", () => {
  const header = parse(fileOf(
    `{"b":{"dtype":"BF16","shape":[3],"data_offsets":[4,10]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},` +
      `"none":{"dtype":"I64","shape":[5,0],"data_offsets":[4,4]},"__metadata__":{"format":"pt"}}   `,
    10,
  ));
  assert.deepEqual([...header.tensors.keys()], ["a", "none", "b"]);
  assert.equal(header.metadata.get("format"), "pt");
  const b = header.tensors.get("b")!;
  assert.equal(b.end - b.start, 6);
  assert.equal(parse(fileOf({}, 0)).tensors.size, 0);
});

Deno.test("parseSafetensorsHeader refuses lengths the file cannot have", () => {
  refused(new Uint8Array(0), /too few/);
  refused(new Uint8Array(7), /too few/);
  const long = fileOf({}, 0);
  new DataView(long.buffer).setBigUint64(0, 1n << 63n, true);
  refused(long, /9223372036854775808 bytes, the file has 2 left/);
  new DataView(long.buffer).setBigUint64(0, 100_000_001n, true);
  assert.throws(() => parse(long, 200_000_000), /at most 100000000/);
});

Deno.test("parseSafetensorsHeader refuses what is not a JSON object", () => {
  refused(fileOf("", 0), /not JSON/);
  refused(fileOf("{", 0), /not JSON/);
  refused(fileOf("[]", 0), /an array/);
  refused(fileOf("null", 0), /null/);
  const wrongUtf8 = fileOf(`{"?":1}`, 0);
  wrongUtf8[10] = 0xff;
  refused(wrongUtf8, /not JSON/);
});

Deno.test("parseSafetensorsHeader refuses malformed tensors, naming them", () => {
  refused(fileOf({ w: 3 }, 0), /tensor "w" is the number 3/);
  refused(fileOf({ w: { ...f32([1], 0, 4), dtype: "F31" } }, 4), /"w" has for dtype the string "F31"/);
  refused(fileOf({ w: { ...f32([1], 0, 4), dtype: "toString" } }, 4), /"w" has for dtype/);
  refused(fileOf({ w: f32([-1], 0, 4) }, 4), /"w" has for shape \[-1\]/);
  refused(fileOf({ w: f32([1.5], 0, 4) }, 4), /"w" has for shape/);
  refused(fileOf({ w: f32([2 ** 50, 2 ** 50], 0, 4) }, 4), /"w" has the impossible shape/);
  refused(fileOf({ w: { dtype: "F32", shape: [1] } }, 4), /"w" has for data_offsets nothing/);
  refused(fileOf({ w: { dtype: "F32", data_offsets: [0, 4] } }, 4), /"w" has for shape nothing/);
  refused(fileOf({ w: f32([1], 0, 8) }, 8), /"w" has 8 bytes, expected 4 for F32 \[1\]/);
  refused(fileOf({ w: f32([1], 4, 0) }, 4), /bytes 4 to 0/);
  refused(fileOf({ w: f32([1], -4, 0) }, 4), /data_offsets \[-4,0\]/);
  refused(fileOf({ w: f32([2], 0, 8) }, 4), /bytes 0 to 8, the file holds 4/);
  refused(fileOf({ w: { ...f32([1], 0, 4), stride: [1] } }, 4), /unknown field "stride"/);
  refused(fileOf({ __metadata__: { epoch: 3 } }, 0), /the number 3 under "epoch"/);
  refused(fileOf({ __metadata__: [] }, 0), /"__metadata__" holds an array/);
});

Deno.test("parseSafetensorsHeader refuses overlaps, holes and hidden bytes", () => {
  refused(fileOf({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8), /tensor "b" overlaps "a" by 4 bytes/);
  refused(fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), /4 bytes before tensor "b"/);
  refused(fileOf({ a: f32([1], 4, 8) }, 8), /4 bytes before tensor "a"/);
  refused(fileOf({ a: f32([1], 0, 4) }, 7), /last 3 bytes belong to no tensor/);
});

Deno.test("parseSafetensorsHeader refuses a name given twice, however it is spelled", () => {
  const one = `{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`;
  refused(fileOf(`{"w":${one},"w":${one}}`, 0), /names "w" twice/);
  refused(fileOf(`{"w":${one},"\\u0077":${one}}`, 0), /names "w" twice/);
  refused(fileOf(`{"w":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}`, 0), /"dtype" twice/);
});

const tensors = new Map<string, TensorData>([
  ["z.bytes", { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 255) }],
  ["b", { dtype: "F32", shape: [2, 1], data: Float32Array.of(1.5, -2) }],
  ["7", { dtype: "BF16", shape: [3], data: Uint16Array.of(0x3f80, 0xc000, 0x7fc0) }],
  ["a", { dtype: "F16", shape: [1], data: Uint16Array.of(0x3c00) }],
  ["d", { dtype: "F64", shape: [], data: Float64Array.of(Math.PI) }],
  ["i", { dtype: "I64", shape: [2], data: BigInt64Array.of(-100n, 7n) }],
  ["empty", { dtype: "F32", shape: [0, 4], data: new Float32Array(0) }],
]);

Deno.test("writeSafetensors round-trips through openSafetensors", async () => {
  const file = await openSafetensors(
    memorySource("m", writeSafetensors(tensors, { format: "pt", "é": "ü" })),
  );
  assert.deepEqual([...file.tensors.keys()].sort(), [...tensors.keys()].sort());
  assert.equal(file.metadata.get("é"), "ü");
  for (const [name, { dtype, shape, data }] of tensors) {
    const entry = file.tensors.get(name)!;
    assert.equal(entry.dtype, dtype);
    assert.deepEqual(entry.shape, shape);
    assert.deepEqual(await file.read(name), new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  assert.deepEqual([...await file.readF32("7")], [1, -2, NaN]);
  assert.deepEqual([...await file.readF32("a")], [1]);
  assert.deepEqual([...await file.readF32("d")], [Math.fround(Math.PI)]);
  assert.deepEqual([...await file.readI32("i")], [-100, 7]);
  assert.deepEqual([...await file.readI32("z.bytes")], [1, 2, 255]);
});

Deno.test("writeSafetensors aligns every tensor and does not depend on the order given", async () => {
  const bytes = writeSafetensors(tensors, { b: "2", a: "1" });
  assert.deepEqual(writeSafetensors(new Map([...tensors].reverse()), { a: "1", b: "2" }), bytes);
  const file = await openSafetensors(memorySource("m", bytes));
  for (const [name, { start }] of file.tensors) {
    const data = tensors.get(name)!.data as Uint8Array;
    assert.equal(start % data.BYTES_PER_ELEMENT, 0, name);
  }
});

Deno.test("streamSafetensors gives the bytes of writeSafetensors and asks for each tensor once, in turn", async () => {
  const asked: string[] = [];
  const chunks: Uint8Array[] = [];
  const stream = streamSafetensors(tensors, {
    readData: (name) => (asked.push(name), Promise.resolve(tensors.get(name)!.data)),
    metadata: { format: "pt" },
  });
  for await (const chunk of stream) chunks.push(chunk);
  assert.deepEqual(
    new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer()),
    writeSafetensors(tensors, { format: "pt" }),
  );
  assert.equal(new Set(asked).size, tensors.size);
  assert.equal(asked.length, tensors.size);
});

Deno.test("writeSafetensors refuses data of another size", async () => {
  const wrong = new Map<string, TensorData>([["w", { dtype: "F32", shape: [3], data: new Float32Array(2) }]]);
  assert.throws(() => writeSafetensors(wrong), /tensor "w": found 8 bytes, expected 12 for F32 \[3\]/);
  await assert.rejects(async () => {
    for await (const _ of streamSafetensors(wrong, { readData: () => new Float32Array(2) }));
  }, TypeError);
});

Deno.test("reading an unknown tensor or as the wrong kind is refused", async () => {
  const file = await openSafetensors(memorySource("run/m", writeSafetensors(tensors)));
  await assert.rejects(file.read("emptyy"), /there is no tensor "emptyy"; did you mean "empty"\?/);
  await assert.rejects(file.readF32("nothing.like.it"), RangeError);
  await assert.rejects(file.readF32("i"), /tensor "i" of "run\/m" as float32: its dtype is I64/);
  await assert.rejects(file.readI32("b"), TypeError);
  const big = new Map<string, TensorData>([["w", {
    dtype: "I64",
    shape: [1],
    data: BigInt64Array.of(1n << 40n),
  }]]);
  await assert.rejects(
    (await openSafetensors(memorySource("m", writeSafetensors(big)))).readI32("w"),
    RangeError,
  );
});

Deno.test("openSafetensors reports a file cut short while it is read", async () => {
  const whole = writeSafetensors(tensors);
  const source = memorySource("m", whole);
  const cut = { ...source, read: (start: number, end: number) => source.read(start, Math.min(end, 20)) };
  await assert.rejects(openSafetensors(cut), /Cannot read bytes 0 to \d+ of "m"/);
  await assert.rejects(openSafetensors(memorySource("m", whole.subarray(0, whole.length - 1))), SyntaxError);
  await assert.rejects(openSafetensors(memorySource("m", new Uint8Array(0))), /too few/);
});

Deno.test("10,000 mutated files are opened or refused, and never anything else", async () => {
  const seed = writeSafetensors(tensors, { format: "pt" });
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  const snippets = [
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    ":",
    ",",
    "-1",
    "1e999",
    "null",
    "9007199254740993",
    '"__proto__"',
  ];
  let refusedCount = 0;
  for (let round = 0; round < 10_000; round++) {
    let bytes = seed.slice();
    for (let edits = 1 + random(4); edits > 0; edits--) {
      const at = random(bytes.length);
      const kind = random(5);
      if (kind === 0) bytes[at] = random(256);
      else if (kind === 1) bytes = bytes.slice(0, at);
      else if (kind === 2) bytes[random(Math.min(8, bytes.length))] = random(256);
      else if (kind === 3) {
        bytes.set(bytes.slice(at, at + random(40)).subarray(0, bytes.length - at), random(at + 1));
      } else {
        const snippet = new TextEncoder().encode(snippets[random(snippets.length)]!);
        bytes.set(snippet.subarray(0, bytes.length - at), at);
      }
      if (bytes.length === 0) break;
    }
    try {
      const file = await openSafetensors(memorySource("fuzz", bytes));
      for (const [name, { start, end }] of file.tensors) {
        assert.equal((await file.read(name)).length, end - start);
      }
    } catch (error) {
      assert.ok(error instanceof SyntaxError || error instanceof RangeError, String(error));
      refusedCount++;
    }
  }
  assert.ok(refusedCount > 5000, `only ${refusedCount} of 10,000 were refused`);
  assert.ok(refusedCount < 10_000, "some mutations touch data alone and must still open");
});
