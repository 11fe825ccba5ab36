import assert from "node:assert/strict";
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from "../../lib/base/half.ts";

const allBits = Uint16Array.from({ length: 1 << 16 }, (_, i) => i);

/** Every float32 that matters to rounding: each 16-bit prefix with the dropped bits at 0, around the middle, and full. */
function roundingCases(): Float32Array {
  const words = new Uint32Array((1 << 16) * 6);
  let n = 0;
  for (let high = 0; high < 1 << 16; high++) {
    for (const low of [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff]) words[n++] = high * 65536 + low;
  }
  return new Float32Array(words.buffer);
}

Deno.test("decodeF16 agrees with Float16Array on every half", () => {
  const want = new Float16Array(allBits.buffer);
  const got = decodeF16(allBits);
  for (let i = 0; i < allBits.length; i++) assert.ok(Object.is(got[i], want[i]), `half ${i}`);
});

Deno.test("encodeF16 rounds like Float16Array", () => {
  const values = roundingCases();
  const halves: Float32Array = new Float32Array(values.length + 4096 * 4);
  halves.set(values);
  // The middles between neighbouring halves, and their neighbours, where ties are decided.
  let n = values.length;
  for (let half = 0; half < 0x7c00; half += 8) {
    const [low, high] = decodeF16(Uint16Array.of(half, half + 1));
    const middle = (low! + high!) / 2;
    halves[n++] = middle;
    halves[n++] = -middle;
    halves[n++] = middle * (1 + 2 ** -23);
    halves[n++] = middle * (1 - 2 ** -23);
  }
  const want = new Uint16Array(Float16Array.from(halves).buffer);
  const got = encodeF16(halves);
  for (let i = 0; i < halves.length; i++) {
    if (Number.isNaN(halves[i])) {
      assert.ok((got[i]! & 0x7fff) > 0x7c00, "NaN stays NaN");
    } else if (got[i] !== want[i]) {
      assert.fail(`${halves[i]} became ${got[i]}, expected ${want[i]}`);
    }
  }
});

Deno.test("halves survive widening and narrowing", () => {
  const half = encodeF16(decodeF16(allBits));
  const brain = encodeBf16(decodeBf16(allBits));
  for (let i = 0; i < allBits.length; i++) {
    if ((i & 0x7fff) <= 0x7c00) assert.equal(half[i], i);
    if ((i & 0x7fff) <= 0x7f80) assert.equal(brain[i], i);
    else assert.ok((brain[i]! & 0x7fff) > 0x7f80);
  }
});

Deno.test("encodeBf16 rounds to nearest, ties to even", () => {
  const values = roundingCases();
  const words = new Uint32Array(values.buffer);
  const got = encodeBf16(values);
  for (let i = 0; i < words.length; i++) {
    const magnitude = words[i]! & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      assert.ok((got[i]! & 0x7fff) > 0x7f80, "NaN stays NaN");
      continue;
    }
    const high = words[i]! >>> 16, low = words[i]! & 0xffff;
    const up = low > 0x8000 || (low === 0x8000 && high % 2 === 1);
    if (got[i] !== high + (up ? 1 : 0)) assert.fail(`word ${words[i]} became ${got[i]}`);
  }
  assert.deepEqual([...encodeBf16(Float32Array.of(3.4e38, -Infinity, -0))], [0x7f80, 0xff80, 0x8000]);
});

Deno.test("half conversions accept views into the middle of a buffer", () => {
  const values = Float32Array.of(9, 1.5, -2, 9).subarray(1, 3);
  assert.deepEqual([...decodeBf16(encodeBf16(values))], [1.5, -2]);
  assert.deepEqual([...decodeF16(encodeF16(values))], [1.5, -2]);
  assert.equal(encodeF16(new Float32Array(0)).length, 0);
});
