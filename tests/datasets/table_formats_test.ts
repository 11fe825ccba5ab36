import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { tableToIPC } from "apache-arrow";
import { openArrow } from "../../lib/datasets/arrow.ts";
import { openCsv, openJsonLines } from "../../lib/datasets/lines.ts";
import { ROW_ERROR, type TableRow, type TableShard } from "../../lib/datasets/table.ts";
import { openTar } from "../../lib/datasets/tar.ts";
import { type ByteSource, memorySource } from "../../lib/format/byte_source.ts";
import { arrowTable, type TestRow } from "../support/parquet.ts";
import { tarFile } from "../support/tar.ts";

const text = (value: string) => new TextEncoder().encode(value);

async function readAll(shard: TableShard, columns = shard.columns): Promise<TableRow[]> {
  const rows: TableRow[] = [];
  for (const group of shard.groups.keys()) rows.push(...await shard.read(group, columns));
  return rows;
}

/** A source that counts the bytes read of it. */
function counted(bytes: Uint8Array): ByteSource & { read: ByteSource["read"]; count: () => number } {
  const source = memorySource("a", bytes);
  let count = 0;
  return {
    ...source,
    count: () => count,
    read: (start, end) => (count += end - start, source.read(start, end)),
  };
}

const ROWS: TestRow[] = Array.from({ length: 7 }, (_, i) => ({
  image: i === 3 ? null : { bytes: new Uint8Array(200_000).fill(i), path: i === 4 ? null : `${i}.png` },
  alt_text: [`Caption ${i} é`, "b"],
  note: i === 2 ? null : `note ${i}`,
}));

for (const kind of ["stream", "file"] as const) {
  Deno.test(`reads an Arrow ${kind} batch by batch, captions without the images`, async () => {
    const table = arrowTable(ROWS.slice(0, 4)).concat(arrowTable(ROWS.slice(4)));
    const source = counted(tableToIPC(table, kind));
    const shard = await openArrow(source);
    deepStrictEqual(shard.columns, ["image", "alt_text", "note"]);
    deepStrictEqual(shard.groups, [4, 3]);
    deepStrictEqual(await readAll(shard), ROWS);
    const before = source.count();
    deepStrictEqual(await readAll(shard, ["note"]), ROWS.map(({ note }) => ({ note })));
    ok(source.count() - before < 150_000, `${source.count() - before} bytes`);
    const some = await shard.read(1, ["note"], Uint32Array.of(1));
    deepStrictEqual(some, [{}, { note: "note 5" }, {}]);
    const [row] = await shard.read(0, ["image"]);
    strictEqual((row!.image as { bytes: Uint8Array }).bytes.buffer.byteLength, 200_000);
  });
}

Deno.test("Arrow files that are cut short, damaged or foreign are refused", async () => {
  const rows = ROWS.map((row) => ({ ...row, image: { bytes: new Uint8Array(10), path: "" } }));
  const bytes = tableToIPC(arrowTable(rows), "stream");
  const open = (some: Uint8Array) => openArrow(memorySource("a.arrow", some));
  await rejects(open(bytes.slice(0, bytes.length - 300)), {
    name: "SyntaxError",
    message: /a message claims|cut short/,
  });
  await rejects(open(text("this is no such thing as a table of rows")), {
    name: "SyntaxError",
    message: /no message/,
  });
  await rejects(open(new Uint8Array(0)), { name: "SyntaxError", message: /no schema/ });
  const huge = bytes.slice();
  new DataView(huge.buffer).setInt32(4, 2 ** 30, true);
  await rejects(open(huge), { name: "SyntaxError", message: /claims 1073741824 bytes/ });
  let refused = 0;
  for (let at = 8; at < bytes.length; at += 5) {
    const damaged = bytes.slice();
    damaged[at] = damaged[at]! ^ 0xff;
    const outcome = await open(damaged).then(readAll).then(() => undefined, (error) => error);
    if (outcome === undefined) continue;
    ok(/Cannot read/.test(outcome.message), outcome.stack);
    refused++;
  }
  ok(refused > 10, `${refused} refused`);
});

Deno.test("reads JSON lines in stretches; a line that is no object is a bad row", async () => {
  const lines = Array.from(
    { length: 2500 },
    (_, i) => JSON.stringify({ image: `${i}.png`, caption: `é "${i}"` }),
  );
  lines.splice(7, 1, "{broken", "  ", "[1]");
  const shard = await openJsonLines(memorySource("a.jsonl", text("\uFEFF" + lines.join("\r\n"))));
  deepStrictEqual(shard.columns, ["image", "caption"]);
  deepStrictEqual(shard.groups, [1000, 1000, 501]);
  const rows = await readAll(shard);
  strictEqual(rows.length, 2501);
  deepStrictEqual(rows[6], { image: "6.png", caption: 'é "6"' });
  ok(String(rows[7]![ROW_ERROR]).startsWith("not a JSON object"));
  ok(String(rows[8]![ROW_ERROR]).startsWith("not a JSON object"));
  deepStrictEqual(rows.at(-1), { image: "2499.png", caption: 'é "2499"' });
});

Deno.test("reads CSV and TSV; line ends inside quotes do not end a record", async () => {
  const records = Array.from({ length: 1200 }, (_, i) => `${i}.png,"Two\nlines, ""${i}"""`);
  const shard = await openCsv(memorySource("a.csv", text(`image,caption\n${records.join("\n")}\nshort\n\n`)));
  deepStrictEqual(shard.groups, [1000, 201]);
  const rows = await readAll(shard);
  deepStrictEqual(rows[1100], { image: "1100.png", caption: 'Two\nlines, "1100"' });
  deepStrictEqual(rows[1200], { [ROW_ERROR]: "1 fields, expected 2" });
  const tsv = await openCsv(memorySource("a.tsv", text("image\tcaption\na.png\tA, b")), { delimiter: "\t" });
  deepStrictEqual(await readAll(tsv), [{ image: "a.png", caption: "A, b" }]);
  await rejects(openCsv(memorySource("a.csv", text("\n\n"))), { name: "SyntaxError", message: /no header/ });
  const latin = await openCsv(memorySource("a.csv", Uint8Array.of(97, 10, 0xe9, 10)));
  await rejects(latin.read(0, ["a"]), { name: "SyntaxError", message: /UTF-8/ });
});

Deno.test("reads WebDataset tar: a row a key, a column an extension, JSON fields too", async () => {
  const image = (i: number) => new Uint8Array(300_000).fill(i);
  const long = `${"folder/".repeat(20)}${"x".repeat(120)}`;
  const source = counted(
    await tarFile({
      "a/001.jpg": image(1),
      "a/001.json": JSON.stringify({ caption: "One", size: [1, 2] }),
      "a/001.seg.png": image(9),
      "./a/002.JPG": image(2),
      "a/002.json": JSON.stringify({ caption: "Two" }),
      [`${long}.png`]: image(3),
      [`${long}.json`]: "{broken",
      "readme": "no extension, no row",
    }),
  );
  const shard = await openTar(source);
  deepStrictEqual(shard.columns, ["__key__", "image", "jpg", "json", "seg.png", "png", "caption", "size"]);
  deepStrictEqual(shard.groups, [3]);
  const rows = await readAll(shard);
  strictEqual(rows[0]!.__key__, "a/001");
  strictEqual(rows[0]!.caption, "One");
  deepStrictEqual(rows[0]!.size, [1, 2]);
  deepStrictEqual(rows[0]!["seg.png"], image(9));
  deepStrictEqual(rows[1]!.image, image(2));
  ok(String(rows[2]![ROW_ERROR]).includes("damaged"));
  const before = source.count();
  deepStrictEqual((await shard.read(0, ["caption"])).map(({ caption }) => caption), [
    "One",
    "Two",
    undefined,
  ]);
  ok(source.count() - before < 2000, `${source.count() - before} bytes for captions`);
});

Deno.test("tar files that are cut short or foreign, lead out or claim too much are refused", async () => {
  const bytes = await tarFile({ "a.jpg": new Uint8Array(5000), "a.txt": "A" });
  const open = (some: Uint8Array) => openTar(memorySource("a.tar", some));
  await rejects(open(bytes.slice(0, 3000)), {
    name: "SyntaxError",
    message: /claims 5000 bytes, 2488 are there/,
  });
  await rejects(open(bytes.slice(0, 700)), { name: "SyntaxError" });
  await rejects(open(text("x".repeat(600))), { name: "SyntaxError", message: /no header/ });
  for (const name of ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg"]) {
    await rejects(open(await tarFile({ [name]: new Uint8Array(1) })), {
      name: "RangeError",
      message: /Cannot use the file name/,
    });
  }
  await rejects(open(await tarFile({ "a.txt": new Uint8Array(5e6) })), {
    name: "RangeError",
    message: /at most 4194304/,
  });
  // The size field of a header, with the checksum mended.
  const huge = bytes.slice();
  huge.set(text("77777777777"), 124);
  huge.set(text("        "), 148);
  const sum = huge.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  huge.set(text(sum.toString(8).padStart(6, "0") + "\0 "), 148);
  await rejects(open(huge), { name: "SyntaxError", message: /claims 8589934591 bytes/ });
});
