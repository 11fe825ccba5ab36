import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { decodeImage } from "../../lib/host/decode.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { sharp } from "../../lib/host/sharp.ts";
import type { RgbImage } from "../../lib/image/decode.ts";
import { inspectImage } from "../../lib/quality/image_facts.ts";

/** Bits in which two hashes differ. */
function hashDistance(a: string, b: string): number {
  let sum = 0;
  for (let bits = BigInt(`0x${a}`) ^ BigInt(`0x${b}`); bits > 0n; bits >>= 1n) sum += Number(bits & 1n);
  return sum;
}

/** An image from a function of the place. */
function paint(width: number, height: number, colour: (x: number, y: number) => number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) data.fill(colour(x, y), (y * width + x) * 3, (y * width + x) * 3 + 3);
  }
  return { width, height, data };
}

const picture = async (index: number) => await Deno.readFile(projectPath(`data/sample/test/000${index}.png`));

Deno.test("a hash survives scaling and recompression, and tells pictures apart", async () => {
  const hashes: string[] = [];
  for (let i = 0; i < 8; i++) {
    const bytes = await picture(i);
    const original = inspectImage(await decodeImage(bytes));
    const resized = new Uint8Array(await sharp(bytes).resize(300, 300).jpeg({ quality: 70 }).toBuffer());
    const changed = inspectImage(await decodeImage(resized));
    assert.ok(hashDistance(original.hash, changed.hash) <= 4, `picture ${i}`);
    assert.deepEqual(original.flags, []);
    assert.match(original.thumb, /^[0-9a-f]{96}$/);
    hashes.push(original.hash);
  }
  for (let i = 0; i < 8; i++) {
    for (let j = 0; j < i; j++) assert.ok(hashDistance(hashes[i]!, hashes[j]!) > 4, `${i} and ${j}`);
  }
});

Deno.test("blank and tiny images are told; noise and gradients are neither", () => {
  const rng = new Rng(1);
  assert.deepEqual(inspectImage(paint(300, 200, () => 255)).flags, ["blank"]);
  assert.deepEqual(inspectImage(paint(300, 200, () => 90 + rng.int(3))).flags, ["blank"]);
  assert.deepEqual(inspectImage(paint(63, 200, (x) => x * 4)).flags, ["tiny"]);
  assert.deepEqual(inspectImage(paint(1, 1, () => 7)).flags, ["blank", "tiny"]);
  assert.deepEqual(inspectImage(paint(300, 300, (x, y) => (x + y) / 3)).flags, []);
  assert.deepEqual(inspectImage(paint(300, 300, () => rng.int(256))).flags, []);
});

Deno.test("lines of text are a page, with flat areas around them a screen", () => {
  const rng = new Rng(2);
  const strokes = Uint8Array.from({ length: 400 }, () => rng.int(4) === 0 ? 20 : 250);
  const text = (x: number, y: number) =>
    y % 18 < 10 ? strokes[(x * 7 + Math.floor(y / 18) * 31) % 400]! : 250;
  assert.deepEqual(inspectImage(paint(400, 400, text)).flags, ["text"]);
  const screen = paint(400, 400, (x, y) => x > 80 && y > 260 ? text(x, y) : x < 80 ? 60 : 240);
  assert.deepEqual(inspectImage(screen).flags, ["screenshot"]);
});
