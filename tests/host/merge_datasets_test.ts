import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { openCaptionSet } from "../../lib/datasets/caption_set.ts";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import { openLocalFiles } from "../../lib/host/data_files.ts";
import { parseMergeArguments } from "../../lib/host/merge_command.ts";
import { mergeDatasets, type MergeOptions } from "../../lib/host/merge_datasets.ts";
import { inTemporaryFolder, tree } from "../support/hub_client.ts";
import { parquetFile, readParquetFile, type TestRow } from "../support/parquet.ts";

const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** An image that is known by its first bytes, and different for every number. */
function image(number: number, size = 300): TestRow["image"] {
  const bytes = new Uint8Array(size);
  bytes.set(PNG);
  new DataView(bytes.buffer).setUint32(8, number);
  return { bytes, path: `${number}.png` };
}

const rows = (start: number, count: number, caption = "Row"): TestRow[] =>
  Array.from({ length: count }, (_, i) => ({ image: image(start + i), alt_text: `${caption} ${start + i}` }));

async function write(root: string, name: string, splits: Record<string, TestRow[]>): Promise<string> {
  await Deno.mkdir(`${root}/${name}`, { recursive: true });
  for (const [split, some] of Object.entries(splits)) {
    await Deno.writeFile(`${root}/${name}/${split}-00000.parquet`, parquetFile(some, { rowGroupSize: 50 }));
  }
  return `${root}/${name}`;
}

function merge(root: string, datasets: string[], more: Partial<MergeOptions> = {}) {
  return mergeDatasets({
    datasets,
    savePath: `${root}/merged`,
    seed: 42,
    maxBadRows: 0.1,
    quiet: true,
    ...more,
  });
}

async function contents(root: string, folder = "merged"): Promise<Record<string, Uint8Array>> {
  const found: Record<string, Uint8Array> = {};
  for (const path of Object.keys(tree(`${root}/${folder}`)).sort()) {
    found[path] = await Deno.readFile(`${root}/${folder}/${path}`);
  }
  return found;
}

Deno.test("a merge is shuffled, complete, and read by Rust with its features", () =>
  inTemporaryFolder(async (root) => {
    const a = await write(root, "a", {
      train: rows(0, 700),
      validation: rows(1000, 30),
      test: rows(2000, 30),
    });
    const b = await write(root, "b", { all: rows(5000, 100, "B") });
    const result = await merge(root, [a, b], { shardBytes: 150_000 });
    deepStrictEqual(result.taken, {
      train: { [a]: 700, [b]: 80 },
      validation: { [a]: 30, [b]: 10 },
      test: { [a]: 30, [b]: 10 },
    });
    deepStrictEqual(result.shards.train, [
      "data/train-00000-of-00002.parquet",
      "data/train-00001-of-00002.parquet",
    ]);
    deepStrictEqual([result.duplicates, result.leaks, result.badRows], [{}, {}, []]);
    const files = await contents(root);
    deepStrictEqual(Object.keys(files), [
      "README.md",
      "data/test-00000-of-00001.parquet",
      "data/train-00000-of-00002.parquet",
      "data/train-00001-of-00002.parquet",
      "data/validation-00000-of-00001.parquet",
      "merge_report.json",
    ]);
    const readme = new TextDecoder().decode(files["README.md"]!);
    ok(
      readme.startsWith(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n",
      ),
    );
    const { table, metadata } = readParquetFile(files["data/train-00000-of-00002.parquet"]!);
    const type = (name: string) => String(table.schema.fields.find((field) => field.name === name)!.type);
    strictEqual(type("image"), "Struct<{bytes:Binary, path:Utf8}>");
    strictEqual(type("alt_text"), "List<Utf8>");
    deepStrictEqual(JSON.parse(metadata.get("huggingface")!).info.features, {
      image: { _type: "Image" },
      alt_text: { feature: { dtype: "string", _type: "Value" }, _type: "List" },
      source: { dtype: "string", _type: "Value" },
      source_id: { dtype: "string", _type: "Value" },
    });
    ok(table.schema.fields.every(({ nullable }) => nullable));
    const first = table.get(0)!;
    const number = Number(first.source_id.split("-").at(-1));
    strictEqual(first.alt_text.get(0), first.source === a ? `Row ${number}` : `B ${5000 + number}`);
    deepStrictEqual(first.image.bytes.slice(), image(first.source === a ? number : 5000 + number)!.bytes);
    // Read back as a data set: every row once, and not in the order of the sources.
    const set = await openCaptionSet(await openLocalFiles(`${root}/merged`), { badRows: new BadRows() });
    const captions = (await set.load("train")).map((row) => row.captions[0]!);
    strictEqual(new Set(captions).size, 780);
    ok(captions.slice(0, 100).some((caption) => caption.startsWith("B")));
  }));

Deno.test("the same merge gives the same bytes; an interrupted one continues to them", () =>
  inTemporaryFolder(async (root) => {
    const a = await write(root, "a", { train: rows(0, 1300), test: rows(9000, 40) });
    const b = await write(root, "b", { all: rows(500, 400) });
    const options = { shardBytes: 150_000 };
    await merge(root, [a, b], options);
    const wanted = await contents(root);
    await Deno.remove(`${root}/merged`, { recursive: true });
    let rounds = 0;
    for (let isDone = false; !isDone; rounds++) {
      ok(rounds < 100, "it does not get on");
      // Ends at another moment each time.
      const stop = new AbortController();
      let checks = 0;
      const signal = new Proxy(stop.signal, {
        get(target, name) {
          if (name === "throwIfAborted" || name === "aborted") {
            if (++checks > 9 + 3 * rounds) stop.abort();
          }
          const value = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      isDone = await merge(root, [a, b], { ...options, signal }).then(() => true, (error) => {
        strictEqual(error.name, "AbortError", error.stack);
        return false;
      });
    }
    ok(rounds > 3, `${rounds} rounds`);
    deepStrictEqual(await contents(root), wanted);
    // Other options begin anew.
    await Deno.remove(`${root}/merged`, { recursive: true });
    const stop = new AbortController();
    stop.abort();
    await rejects(merge(root, [a, b], { signal: stop.signal }), { name: "AbortError" });
    strictEqual((await merge(root, [b])).taken["train"]![b], 320);
  }));

Deno.test("duplicates of another source are left out and counted, leaks told, bad rows listed", () =>
  inTemporaryFolder(async (root) => {
    const other = rows(3, 1).map((row) => ({ ...row, alt_text: "Another caption" }));
    const a = await write(root, "a", {
      train: [...rows(0, 10), ...rows(0, 1)],
      test: rows(20, 3),
      validation: rows(30, 1),
    });
    const broken = { image: { bytes: Uint8Array.of(1, 2, 3), path: "x" }, alt_text: "Broken" };
    const b = await write(root, "b", {
      train: [...rows(5, 3), ...other, ...rows(21, 1), broken],
      validation: rows(2, 1),
      test: rows(40, 1),
    });
    const result = await merge(root, [a, b]);
    deepStrictEqual(result.duplicates, { [`${a} = ${b}`]: 3 });
    // Its own duplicate stays, and so does the same image with another caption.
    deepStrictEqual(result.taken["train"], { [a]: 11, [b]: 2 });
    deepStrictEqual(result.leaks, { [`${b} train, ${a} test`]: 1, [`${a} train, ${b} validation`]: 1 });
    deepStrictEqual(result.badRows, [{
      id: `${b}: train-00000.parquet#5`,
      reason: "its image is none that is known",
    }]);
    await rejects(merge(root, [a, b]), { name: "UserError", message: /is there already/ });
    await rejects(merge(root, [b], { savePath: `${root}/strict`, maxBadRows: 0 }), {
      name: "UserError",
      message: /1 of 8 rows are bad/,
    });
  }));

Deno.test("the embedded pictures merge with a table; flags are the Python project's", () =>
  inTemporaryFolder(async (root) => {
    const a = await write(root, "a", { train: rows(0, 10) });
    const result = await merge(root, ["sample", a], { sample: { sample: 5, [a]: 4 } });
    deepStrictEqual(result.taken["train"], { sample: 5, [a]: 2 });
    await rejects(merge(root, [a], { savePath: `${root}/b`, sample: { aa: 4 } }), {
      message: /Cannot sample "aa"/,
    });
    deepStrictEqual([...Deno.readDirSync(root)].map(({ name }) => name).sort(), ["a", "merged"]);
    const options = parseMergeArguments([
      "--datasets",
      "coco",
      "flickr",
      "--sample",
      "500",
      "--save-path",
      "x",
    ]);
    deepStrictEqual([options.datasets, options.sample, options.savePath, options.seed], [
      ["coco", "flickr"],
      500,
      "x",
      42,
    ]);
    deepStrictEqual(parseMergeArguments(["--sample", "coco=5,flickr=6"]).sample, { coco: 5, flickr: 6 });
  }));
