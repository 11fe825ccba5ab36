import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { openParquet } from "../../lib/datasets/parquet.ts";
import { memorySource } from "../../lib/format/byte_source.ts";
import { CODECS, parquetFile, type TestRow } from "../support/parquet.ts";

const ROWS: TestRow[] = Array.from({ length: 7 }, (_, i) => ({
  image: i === 3 ? null : { bytes: new Uint8Array(500 + i).fill(i), path: i === 4 ? null : `${i}.png` },
  alt_text: i === 5 ? null : `Caption ${i} é`,
  is_document: i % 2,
}));

const open = (bytes: Uint8Array) => openParquet(memorySource("a.parquet", bytes));

for (const codec of CODECS) {
  for (const version2 of [false, true]) {
    Deno.test(`reads ${codec}, data pages version ${version2 ? 2 : 1}`, async () => {
      const file = await open(parquetFile(ROWS, { codec, rowGroupSize: 3, version2 }));
      deepStrictEqual(file.columns, ["image", "alt_text", "is_document"]);
      deepStrictEqual(file.groups, [3, 3, 1]);
      const rows = [];
      for (const group of file.groups.keys()) rows.push(...await file.read(group, file.columns));
      deepStrictEqual(rows, ROWS);
    });
  }
}

Deno.test("columns are read alone; lists of captions stay lists", async () => {
  const bytes = parquetFile(ROWS.map((row, i) => ({ ...row, alt_text: i === 2 ? [] : [`a${i}`, "b"] })));
  let read = 0;
  const source = memorySource("a.parquet", bytes);
  const file = await openParquet({
    ...source,
    read: (start, end) => (read += end - start, source.read(start, end)),
  });
  const footer = read;
  const rows = await file.read(0, ["alt_text"]);
  deepStrictEqual(rows[0], { alt_text: ["a0", "b"] });
  deepStrictEqual(rows[2], { alt_text: [] });
  ok(read - footer < 600, `${read - footer} bytes for captions`);
});

Deno.test("bytes are copied out of the pages they came in", async () => {
  const file = await open(parquetFile(ROWS));
  const [row] = await file.read(0, ["image"]);
  const some = await file.read(0, ["is_document"], Uint32Array.of(1, 3));
  deepStrictEqual(some.slice(0, 4), [{}, { is_document: 1 }, {}, { is_document: 1 }]);
  strictEqual((row!.image as { bytes: Uint8Array }).bytes.buffer.byteLength, 500);
});

Deno.test("a file that is cut short, foreign or damaged is refused", async () => {
  const bytes = parquetFile(ROWS, { codec: "SNAPPY" });
  await rejects(open(bytes.slice(0, -100)), { name: "SyntaxError", message: /does not end as parquet/ });
  await rejects(open(new Uint8Array(3)), { name: "SyntaxError", message: /3 bytes/ });
  await rejects(open(new TextEncoder().encode("PAR1 this is text, PAR1 no")), { name: "SyntaxError" });
  const huge = bytes.slice();
  new DataView(huge.buffer).setUint32(huge.length - 8, 0xfffffff0, true);
  await rejects(open(huge), { name: "SyntaxError", message: /footer claims/ });
  // Damage inside pages is seen when the group is read, by whichever check comes first.
  let refused = 0;
  for (let at = 4; at < 400; at += 9) {
    const damaged = bytes.slice();
    damaged[at] = damaged[at]! ^ 0xff;
    const file = await open(damaged);
    const outcome = await file.read(0, file.columns).then(() => undefined, (error) => error);
    if (outcome === undefined) continue;
    ok(/Cannot read/.test(outcome.message), outcome.message);
    refused++;
  }
  ok(refused > 3, `${refused} refused`);
});

Deno.test("pages that claim more than they hold are refused before they are unpacked", async () => {
  const rows = [{ image: { bytes: new Uint8Array(100_000), path: "a" }, alt_text: "A" }];
  const bytes = parquetFile(rows, { codec: "GZIP", dictionary: false });
  // The uncompressed size of a page is a zigzag varint behind the page type.
  const at = bytes.findIndex((byte, i) => byte === 0x15 && bytes[i + 1] === 0 && bytes[i + 2] === 0x15);
  const claim = (value: number[]) => {
    const changed = bytes.slice();
    changed.set(value, at + 3);
    return changed;
  };
  ok(bytes[at + 3]! >= 0x80 && bytes[at + 4]! >= 0x80 && bytes[at + 5]! < 0x80);
  const read = (file: Uint8Array, maxGroupBytes = 500_000) =>
    openParquet(memorySource("a.parquet", file), { maxGroupBytes }).then((opened) =>
      opened.read(0, ["image"])
    );
  strictEqual((await read(bytes)).length, 1);
  await rejects(read(claim([0xfe, 0xff, 0x7f])), { name: "RangeError", message: /unpacks to 1048575 bytes/ });
  await rejects(read(claim([0x94, 0x80, 0x00])), { name: "SyntaxError" });
  await rejects(read(bytes, 50_000), { name: "RangeError", message: /smaller row groups/ });
});
