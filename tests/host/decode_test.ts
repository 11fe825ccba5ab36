import assert from "node:assert/strict";
import { crc32, deflateSync } from "node:zlib";
import { Buffer } from "node:buffer";
import { encode as encodeBmp } from "fast-bmp";
import sharp, { type Sharp } from "sharp";
import { decodeImage } from "../../lib/host/decode.ts";

/** A PNG written from its parts, so that its header may promise any size. */
function makePng(
  width: number,
  height: number,
  colour: { depth: number; type: number },
  rows: Uint8Array,
): Uint8Array {
  const chunk = (name: string, body: Uint8Array) => {
    const named = Buffer.concat([Buffer.from(name), body]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(body.length);
    const checksum = Buffer.alloc(4);
    checksum.writeUInt32BE(crc32(named));
    return Buffer.concat([length, named, checksum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([colour.depth, colour.type, 0, 0, 0], 8);
  return new Uint8Array(Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", new Uint8Array(0)),
  ]));
}

/** Noise, so that compressed files are long enough to be cut anywhere. */
function noise(): Sharp {
  const raw = Uint8Array.from({ length: 40 * 30 * 3 }, (_, i) => Math.imul(i + 1, 2654435761) >>> 24);
  return sharp(raw, { raw: { width: 40, height: 30, channels: 3 } });
}

Deno.test("empty and unknown content is refused", async () => {
  await assert.rejects(decodeImage(new Uint8Array(0)), { name: "SyntaxError", message: /empty/ });
  await assert.rejects(decodeImage(new TextEncoder().encode("<svg xmlns='x'/>")), {
    name: "SyntaxError",
    message: /unknown content.*expected JPEG/,
  });
});

Deno.test("the content decides the format, whatever a file was called", async () => {
  const raw = new Uint8Array(await noise().raw().toBuffer());
  const files = await Promise.all([
    noise().png().toBuffer(),
    noise().webp({ lossless: true }).toBuffer(),
    noise().tiff({ compression: "lzw" }).toBuffer(),
  ]);
  for (const file of files) {
    const image = await decodeImage(new Uint8Array(file));
    assert.deepEqual([image.width, image.height], [40, 30]);
    assert.deepEqual(image.data, raw);
  }
});

Deno.test("a JPEG signature before other content is a damaged JPEG", async () => {
  const lie = Uint8Array.of(0xff, 0xd8, 0xff, ...new TextEncoder().encode("not a picture at all, just text"));
  await assert.rejects(decodeImage(lie), { name: "SyntaxError", message: /jpeg/ });
});

Deno.test("files cut short are refused", async () => {
  const files = {
    jpeg: await noise().jpeg().toBuffer(),
    png: await noise().png().toBuffer(),
    webp: await noise().webp().toBuffer(),
    gif: await noise().gif().toBuffer(),
  };
  for (const [format, file] of Object.entries(files)) {
    for (const share of [0.1, 0.5, 0.9]) {
      const cut = new Uint8Array(file.subarray(0, Math.floor(file.length * share)));
      await assert.rejects(decodeImage(cut), { name: "SyntaxError" }, `${format} cut at ${share}`);
    }
  }
});

Deno.test("pictures beyond the limits are refused by their headers", async () => {
  const grey8 = { depth: 8, type: 0 };
  await assert.rejects(decodeImage(makePng(50_000, 1, grey8, new Uint8Array(50_001))), {
    name: "RangeError",
    message: /50000 x 1/,
  });
  // A few bytes that promise 900 megapixels.
  await assert.rejects(decodeImage(makePng(30_000, 30_000, grey8, new Uint8Array(10))), RangeError);
});

Deno.test("alpha is dropped, not blended", async () => {
  const png = makePng(1, 1, { depth: 8, type: 6 }, Uint8Array.of(0, 200, 100, 50, 0));
  assert.deepEqual([...(await decodeImage(png)).data], [200, 100, 50]);
});

Deno.test("16-bit grey is scaled by 1/257", async () => {
  const rows = Uint8Array.of(0, 0x80, 0x80, 0xff, 0xff, 0x01, 0x00);
  const { data } = await decodeImage(makePng(3, 1, { depth: 16, type: 0 }, rows));
  assert.deepEqual([...data], [128, 128, 128, 255, 255, 255, 1, 1, 1]);
});

Deno.test("CMYK is converted by the simple formula", async () => {
  const red = sharp({ create: { width: 8, height: 8, channels: 3, background: "#ff0000" } });
  const jpeg = new Uint8Array(await red.toColourspace("cmyk").jpeg({ quality: 100 }).toBuffer());
  const { data } = await decodeImage(jpeg);
  const { data: inks } = await sharp(jpeg, { ignoreIcc: true }).pipelineColourspace("cmyk").toColourspace(
    "cmyk",
  ).raw()
    .toBuffer({ resolveWithObject: true });
  for (let c = 0; c < 3; c++) {
    const ideal = (255 - (inks[c] as number)) * (255 - (inks[3] as number)) / 255;
    assert.ok(Math.abs((data[c] as number) - ideal) <= 1);
  }
});

Deno.test("EXIF orientation turns the picture upright", async () => {
  const wide = sharp({ create: { width: 5, height: 2, channels: 3, background: "#102030" } });
  const jpeg = await wide.withMetadata({ orientation: 6 }).jpeg().toBuffer();
  const { width, height } = await decodeImage(new Uint8Array(jpeg));
  assert.deepEqual([width, height], [2, 5]);
});

const BMP_PIXELS = Uint8Array.of(1, 2, 3, 40, 50, 60, 255, 0, 7, 9, 8, 7, 0, 0, 0, 66, 77, 88); // [2, 3, 3]

Deno.test("a 24-bit BMP written by another library decodes", async () => {
  const bmp = encodeBmp({
    width: 3,
    height: 2,
    data: BMP_PIXELS,
    bitsPerPixel: 24,
    channels: 3,
    components: 3,
  });
  const image = await decodeImage(new Uint8Array(bmp));
  assert.deepEqual([image.width, image.height], [3, 2]);
  assert.deepEqual(image.data, BMP_PIXELS);
});

function makeBmp(
  width: number,
  height: number,
  bitsPerPixel: number,
  tail: number[],
  compression = 0,
): Uint8Array {
  const paletteBytes = bitsPerPixel <= 8 ? 4 * 2 ** bitsPerPixel : compression === 3 ? 12 : 0;
  const bytes = new Uint8Array(54 + tail.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x42, 0x4d]);
  view.setUint32(10, 54 + paletteBytes, true);
  view.setUint32(14, 40, true);
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(28, bitsPerPixel, true);
  view.setUint32(30, compression, true);
  bytes.set(tail, 54);
  return bytes;
}

Deno.test("BMP palettes, top-down rows and colour masks decode", async () => {
  const oneBit = makeBmp(3, -1, 1, [10, 20, 30, 0, 40, 50, 60, 0, 0b01000000, 0, 0, 0]);
  assert.deepEqual([...(await decodeImage(oneBit)).data], [30, 20, 10, 60, 50, 40, 30, 20, 10]);
  const masked = makeBmp(1, 2, 16, [
    0,
    0xf8,
    0,
    0,
    0xe0,
    7,
    0,
    0,
    0x1f,
    0,
    0,
    0,
    0x1f,
    0,
    0,
    0,
    0,
    0xf8,
    0,
    0,
  ], 3);
  assert.deepEqual([...(await decodeImage(masked)).data], [255, 0, 0, 0, 0, 255]);
});

Deno.test("damaged BMP files are refused", async () => {
  const whole = makeBmp(2, 1, 24, [1, 2, 3, 4, 5, 6, 0, 0]);
  await assert.rejects(decodeImage(whole.subarray(0, 58)), SyntaxError);
  await assert.rejects(decodeImage(whole.subarray(0, 20)), SyntaxError);
  await assert.rejects(decodeImage(makeBmp(2, 1, 8, [], 1)), /compression 1/);
  await assert.rejects(decodeImage(makeBmp(50_000, 1, 24, [])), RangeError);
  await assert.rejects(decodeImage(makeBmp(-3, 1, 24, [])), RangeError);
  await assert.rejects(decodeImage(makeBmp(1, 1, 13, [0, 0, 0, 0])), SyntaxError);
});
