import assert from "node:assert/strict";
import { drawNonPhotograph, NON_PHOTOGRAPHS } from "../../lib/datasets/non_photographs.ts";
import { decodeBmp, encodeBmp } from "../../lib/image/bmp.ts";
import { flatShare } from "../../lib/image/photograph.ts";
import { drawText, fillRectangle } from "../../lib/image/pixel_font.ts";

Deno.test("a seed gives one picture, and seeds differ", () => {
  for (const kind of NON_PHOTOGRAPHS) {
    const first = drawNonPhotograph(kind, 7);
    assert.equal(first.data.length, first.width * first.height * 3);
    assert.deepEqual(drawNonPhotograph(kind, 7), first);
    const texts = Array.from({ length: 30 }, (_, seed) => drawNonPhotograph(kind, seed).data.join());
    assert.ok(new Set(texts).size > 20, `${kind}: ${new Set(texts).size} of 30 differ`);
  }
});

Deno.test("blank pictures are flat, noise is not, pages and windows have two colours and more", () => {
  for (let seed = 0; seed < 10; seed++) {
    assert.ok(flatShare(drawNonPhotograph("blank", seed)) === 1);
    assert.ok(flatShare(drawNonPhotograph("noise", seed)) < 0.96);
    for (const kind of ["text", "screenshot"] as const) {
      const { data, width } = drawNonPhotograph(kind, seed);
      const colours = new Set(
        Array.from({ length: data.length / 3 }, (_, i) => data.subarray(3 * i, 3 * i + 3).join()),
      );
      assert.ok(colours.size >= (kind === "text" ? 2 : 6) && width > 100, `${kind} ${seed}: ${colours.size}`);
    }
  }
});

Deno.test("letters are drawn pixel by pixel, unknown ones are spaces, and what is outside is left out", () => {
  const image = { width: 9, height: 6, data: new Uint8Array(9 * 6 * 3) };
  drawText(image, "l?i", { x: 0, y: 0, scale: 1, colour: [255, 255, 255] });
  const rows = Array.from(
    { length: 6 },
    (_, y) => Array.from({ length: 9 }, (_, x) => image.data[(y * 9 + x) * 3] === 255 ? "#" : ".").join(""),
  );
  assert.deepEqual(rows, ["#.......#", "#........", "#........", "#........", "###.....#", "........."]);
  fillRectangle(image, { x: -5, y: 4, width: 7, height: 100 }, [9, 9, 9]);
  assert.equal(image.data.filter((value) => value === 9).length, 2 * 2 * 3);
});

Deno.test("a BMP file gives back the pixels it was made of, at widths of every alignment", () => {
  for (const [width, height] of [[1, 1], [2, 3], [3, 2], [4, 1], [5, 7]] as const) {
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => i * 37 % 256);
    assert.deepEqual(decodeBmp(encodeBmp({ width, height, data })), { width, height, data });
  }
});
