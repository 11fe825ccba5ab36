import assert from "node:assert/strict";
import { crc32c } from "../../lib/format/crc32c.ts";
import {
  encodeFileVersion,
  encodeImages,
  encodeScalars,
  encodeTexts,
  eventFileName,
} from "../../lib/format/tensorboard.ts";

/** Splits a file into the data of its records, checking lengths and checksums. */
function readRecords(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const unmask = (masked: number) => {
    const rotated = (masked - 0xa282ead8) >>> 0;
    return ((rotated >>> 17) | (rotated << 15)) >>> 0;
  };
  const records: Uint8Array[] = [];
  for (let at = 0; at < file.length;) {
    const length = Number(view.getBigUint64(at, true));
    assert.equal(unmask(view.getUint32(at + 8, true)), crc32c(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    assert.equal(unmask(view.getUint32(at + 12 + length, true)), crc32c(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

Deno.test("event files hold a version and scalars in checked records", () => {
  const file = new Uint8Array([
    ...encodeFileVersion(1700000000.5),
    ...encodeScalars({
      step: 300,
      wallTimeSeconds: 1700000001,
      scalars: { "train/loss": 2.5, "eval/rougeL": -1 },
    }),
  ]);
  const [version, event] = readRecords(file);
  const view = new DataView(version!.buffer, version!.byteOffset, version!.length);
  assert.equal(version![0], 0x09);
  assert.equal(view.getFloat64(1, true), 1700000000.5);
  assert.equal(version![9], 0x1a);
  assert.equal(new TextDecoder().decode(version!.subarray(11)), "brain.Event:2");

  assert.deepEqual([...event!.subarray(9, 12)], [0x10, 0xac, 0x02]); // step 300
  const loss = [0x0a, 17, 0x0a, 10, ...new TextEncoder().encode("train/loss"), 0x15, 0, 0, 0x20, 0x40];
  const rouge = [0x0a, 18, 0x0a, 11, ...new TextEncoder().encode("eval/rougeL"), 0x15, 0, 0, 0x80, 0xbf];
  assert.deepEqual([...event!.subarray(12)], [0x2a, loss.length + rouge.length, ...loss, ...rouge]);
});

Deno.test("texts are string tensors of the text plugin", () => {
  const [event] = readRecords(
    encodeTexts({ step: 3, wallTimeSeconds: 1, texts: { "captions/0": "four *red* buses – 4" } }),
  );
  const text = new TextEncoder().encode("four *red* buses – 4");
  const tensor = [0x08, 7, 0x12, 4, 0x12, 2, 0x08, 1, 0x42, text.length, ...text];
  const metadata = [0x0a, 6, 0x0a, 4, ...new TextEncoder().encode("text")];
  const value = [
    ...[0x0a, 10, ...new TextEncoder().encode("captions/0")],
    ...[0x42, tensor.length, ...tensor],
    ...[0x4a, metadata.length, ...metadata],
  ];
  assert.deepEqual([...event!.subarray(9, 11)], [0x10, 3]);
  assert.deepEqual([...event!.subarray(11)], [0x2a, value.length + 2, 0x0a, value.length, ...value]);
});

Deno.test("pictures are encoded as they are, with their size", () => {
  const bytes = Uint8Array.of(0x89, 0x50, 0x4e, 0x47);
  const [event] = readRecords(
    encodeImages({ step: 0, wallTimeSeconds: 1, images: { "images/0": { width: 128, height: 64, bytes } } }),
  );
  const image = [0x08, 64, 0x10, 0x80, 1, 0x18, 3, 0x22, 4, ...bytes];
  const value = [0x0a, 8, ...new TextEncoder().encode("images/0"), 0x22, image.length, ...image];
  assert.deepEqual([...event!.subarray(11)], [0x2a, value.length + 2, 0x0a, value.length, ...value]);
});

Deno.test("eventFileName is what TensorBoard looks for", () => {
  const run = { wallTimeSeconds: 1700000000.9, host: "box", pid: 7, count: 0 };
  assert.equal(eventFileName(run), "events.out.tfevents.1700000000.box.7.0");
});
