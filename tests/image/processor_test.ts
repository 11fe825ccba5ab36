import assert from "node:assert/strict";
import { decodeImage } from "../../lib/host/decode.ts";
import { fitImage, outputSize, parseProcessorConfig, preprocess } from "../../lib/image/processor.ts";
import type { RgbImage } from "../../lib/image/decode.ts";

const GOLDEN = new URL("../golden/preprocess-synthetic/", import.meta.url);
const PROCESSORS = {
  siglip: { image_processor_type: "SiglipImageProcessor" },
  clip: { image_processor_type: "CLIPImageProcessor" },
  vit: { feature_extractor_type: "ViTFeatureExtractor", size: 224 },
};
// Image, processor, picture that the Hugging Face processor makes of it, levels that may differ.
const CASES: [string, keyof typeof PROCESSORS, string, number][] = [
  ["alpha.png", "siglip", "alpha.png.siglip.png", 1],
  ["rgb.bmp", "siglip", "alpha.png.siglip.png", 1],
  ["lossless.webp", "siglip", "alpha.png.siglip.png", 1],
  ["down.png", "clip", "down.png.clip.png", 1],
  ["gray.png", "vit", "gray.png.vit.png", 1],
  ["palette.png", "siglip", "palette.png.siglip.png", 1],
  ["progressive.jpg", "vit", "progressive.jpg.vit.png", 3],
  ["rotated.jpg", "siglip", "rotated.jpg.siglip.png", 3],
  ["tall.png", "clip", "tall.png.clip.png", 1],
  ["two_pixels.png", "siglip", "two_pixels.png.siglip.png", 1],
  ["two_pixels.png", "clip", "two_pixels.png.clip.png", 1],
  ["two_pixels.png", "vit", "two_pixels.png.vit.png", 1],
  ["up.png", "siglip", "up.png.siglip.png", 1],
  ["wide.png", "vit", "wide.png.vit.png", 1],
];

async function decodeFile(path: string): Promise<RgbImage> {
  return await decodeImage(await Deno.readFile(new URL(path, GOLDEN)));
}

for (const [name, processor, expectedName, tolerance] of CASES) {
  Deno.test(`${name} becomes the picture that the ${processor} processor of transformers makes`, async () => {
    const fitted = fitImage(await decodeFile(`images/${name}`), parseProcessorConfig(PROCESSORS[processor]));
    const expected = await decodeFile(`expected/${expectedName}`);
    assert.deepEqual([fitted.width, fitted.height], [224, 224]);
    assert.equal(fitted.data.length, expected.data.length);
    let worst = 0;
    expected.data.forEach((level, i) =>
      worst = Math.max(worst, Math.abs(level - (fitted.data[i] as number)))
    );
    assert.ok(worst <= tolerance, `differs by ${worst} levels`);
  });
}

Deno.test("pixel values equal those of the SigLIP processor to the last bits", async () => {
  const bytes = await Deno.readFile(new URL("siglip64_normalised.safetensors", GOLDEN));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const expected = new Float32Array(bytes.slice(8 + headerBytes).buffer); // [2, 3, 64, 64]
  const config = parseProcessorConfig({
    image_processor_type: "SiglipImageProcessor",
    do_resize: true,
    size: { height: 64, width: 64 },
    resample: 3,
    do_rescale: true,
    rescale_factor: 0.00392156862745098,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.5, 0.5, 0.5],
  });
  assert.deepEqual(outputSize(config), { height: 64, width: 64 });
  for (const [row, name] of ["down.png", "up.png"].entries()) {
    const pixelValues = preprocess(await decodeFile(`images/${name}`), config);
    assert.equal(pixelValues.length, 3 * 64 * 64);
    pixelValues.forEach((value, i) => {
      assert.ok(Math.abs(value - (expected[row * pixelValues.length + i] as number)) < 1e-6);
    });
  }
});

const PICTURE: RgbImage = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => i + 1) };

Deno.test("a crop larger than the picture is padded with black around it", () => {
  const config = parseProcessorConfig({
    image_processor_type: "CLIPImageProcessor",
    do_resize: false,
    crop_size: { height: 3, width: 6 },
  });
  const { data } = fitImage(PICTURE, config);
  const rows = [0, 1, 2].map((y) => Array.from({ length: 6 }, (_, x) => data[(y * 6 + x) * 3]));
  // Odd margins put the spare row and column first.
  assert.deepEqual(rows, [[0, 0, 0, 0, 0, 0], [0, 0, 1, 4, 7, 0], [0, 0, 10, 13, 16, 0]]);
});

Deno.test("a crop smaller than the picture takes its centre", () => {
  const config = parseProcessorConfig({
    image_processor_type: "CLIPImageProcessor",
    do_resize: false,
    crop_size: 1,
  });
  assert.deepEqual([...fitImage(PICTURE, config).data], [4, 5, 6]);
});

Deno.test("absent settings mean what the processor class assumes", () => {
  const vit = parseProcessorConfig({}, { family: "vit" });
  assert.deepEqual(vit.resize, { target: { height: 224, width: 224 }, filter: "bilinear" });
  assert.equal(vit.centerCrop, undefined);
  const clip = parseProcessorConfig({
    feature_extractor_type: "CLIPFeatureExtractor",
    size: 30,
    crop_size: 28,
  });
  assert.deepEqual(clip.resize?.target, { shortestEdge: 30 });
  assert.deepEqual(outputSize(clip), { height: 28, width: 28 });
  const bare = parseProcessorConfig({ do_resize: false, do_rescale: false, do_normalize: false }, {
    family: "vit",
  });
  assert.equal(outputSize(bare), undefined);
  assert.deepEqual([...preprocess(PICTURE, bare)].slice(0, 3), [1, 4, 7]);
});

Deno.test("settings that cannot be followed are refused by name", () => {
  const parse = (json: unknown) => () => parseProcessorConfig(json, { family: "siglip" });
  assert.throws(() => parseProcessorConfig({}), /image_processor_type/);
  assert.throws(() => parseProcessorConfig({ image_processor_type: "DetrImageProcessor" }), /Detr/);
  assert.throws(parse(null), TypeError);
  assert.throws(parse({ size: { height: 0, width: 2 } }), /size\.height/);
  assert.throws(parse({ size: { height: 1e6, width: 2 } }), RangeError);
  assert.throws(parse({ size: { longest_edge: 2 } }), /size\.height/);
  assert.throws(parse({ resample: 0 }), /resample/);
  assert.throws(parse({ do_resize: "yes" }), /do_resize/);
  assert.throws(parse({ image_mean: [0.5] }), /image_mean/);
  assert.throws(parse({ image_std: [0.5, 0, 0.5] }), /image_std/);
  assert.throws(parse({ rescale_factor: Infinity }), /rescale_factor/);
});

Deno.test("scaling the short side of an endless picture up is refused before anything is allocated", () => {
  const strip = { width: 30000, height: 1, data: new Uint8Array(90000) };
  assert.throws(() => fitImage(strip, parseProcessorConfig(PROCESSORS.clip)), RangeError);
});
