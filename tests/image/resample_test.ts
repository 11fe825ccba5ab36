import assert from "node:assert/strict";
import type { RgbImage } from "../../lib/image/decode.ts";
import { type ResampleFilter, resizeImage } from "../../lib/image/resample.ts";

const FILTERS: ResampleFilter[] = ["box", "bilinear", "hamming", "bicubic", "lanczos"];

function grey(width: number, levels: number[]): RgbImage {
  return { width, height: levels.length / width, data: Uint8Array.from(levels.flatMap((l) => [l, l, l])) };
}

function levelsOf({ data }: RgbImage): number[] {
  return [...data].filter((_, i) => i % 3 === 0);
}

Deno.test("a flat picture stays flat through every filter, up and down, odd sizes", () => {
  const flat = grey(7, new Array(7 * 5).fill(201));
  for (const filter of FILTERS) {
    for (const [width, height] of [[1, 1], [3, 11], [13, 2], [7, 5], [64, 1]] as const) {
      const resized = resizeImage(flat, { width, height, filter });
      assert.equal(resized.data.length, width * height * 3);
      assert.ok(resized.data.every((level) => level === 201), filter);
    }
  }
});

Deno.test("the same size gives the same pixels", () => {
  const image = grey(2, [0, 255, 7, 99]);
  for (const filter of FILTERS) {
    assert.deepEqual(resizeImage(image, { width: 2, height: 2, filter }).data, image.data);
  }
});

Deno.test("box averages whole blocks and bilinear doubles by quarters", () => {
  assert.deepEqual(levelsOf(resizeImage(grey(4, [0, 100, 40, 60]), { width: 2, height: 1, filter: "box" })), [
    50,
    50,
  ]);
  assert.deepEqual(
    levelsOf(resizeImage(grey(2, [0, 100]), { width: 4, height: 1, filter: "bilinear" })),
    [0, 25, 75, 100],
  );
});

Deno.test("bicubic overshoot is clipped", () => {
  const edge = grey(6, [0, 0, 0, 255, 255, 255]);
  const levels = levelsOf(resizeImage(edge, { width: 24, height: 1, filter: "bicubic" }));
  assert.equal(Math.min(...levels), 0);
  assert.equal(Math.max(...levels), 255);
  assert.deepEqual(levels, [...levels].reverse().map((level) => 255 - level));
});

Deno.test("colours do not mix", () => {
  const image: RgbImage = { width: 2, height: 1, data: Uint8Array.of(255, 0, 9, 255, 0, 9) };
  assert.deepEqual([...resizeImage(image, { width: 1, height: 1, filter: "lanczos" }).data], [255, 0, 9]);
});

Deno.test("sizes below one pixel are refused", () => {
  for (const width of [0, -1, 1.5, NaN]) {
    assert.throws(() => resizeImage(grey(1, [0]), { width, height: 1, filter: "box" }), RangeError);
  }
});
