import assert from "node:assert/strict";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import type { ImageRow } from "../../lib/datasets/rows.ts";
import { openDataset } from "../../lib/host/datasets.ts";
import { importSynthetic, type ImportSyntheticOptions } from "../../lib/host/import_synthetic.ts";
import { mergeDatasets } from "../../lib/host/merge_datasets.ts";
import { readRareObjects } from "../../lib/host/rare_objects.ts";
import { testGpu } from "../support/gpu.ts";

/** Rows of the embedded test split, whose pictures stand for generated ones. */
async function sampleRows(count: number): Promise<readonly ImageRow[]> {
  const dataset = await openDataset("sample", { seed: 42, badRows: new BadRows() });
  return await dataset.load("test", count);
}

interface Setup extends AsyncDisposable {
  readonly dir: string;
  readonly options: ImportSyntheticOptions;
  /** Writes a prompt for each row's caption. */
  writePrompts(rows: readonly ImageRow[]): Promise<void>;
}

async function setUp(): Promise<Setup> {
  const folder = await Deno.makeTempDir();
  const dir = `${folder}/generated`;
  await Deno.mkdir(dir);
  return {
    dir,
    options: {
      dir,
      model: "embedded:siglip",
      minRank: 0.5,
      outputDir: `${folder}/synthetic`,
      maxBadRows: 0.2,
      quiet: true,
    },
    async writePrompts(rows) {
      const lines = rows.map(({ captions, objects }, place) =>
        JSON.stringify({
          id: `p${String(place + 1).padStart(5, "0")}`,
          prompt: `${captions[0]}, in soft light`,
          caption: captions[0],
          objects,
          seed: 1000 + place,
        })
      );
      await Deno.writeTextFile(`${dir}/synthetic_prompts.jsonl`, lines.join("\n"));
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test("pictures that show their captions are imported, others, copies and broken ones are listed", async () => {
  await using setup = await setUp();
  const rows = await sampleRows(12);
  await setup.writePrompts(rows);
  const names = [
    "p00001.png",
    "p00002-1.png",
    "00007-1002.png",
    ...[4, 5, 6, 7, 8].map((n) => `p0000${n}.png`),
  ];
  for (const [place, name] of names.entries()) {
    await Deno.writeFile(`${setup.dir}/${name}`, await rows[place]!.readImage());
  }
  await Deno.writeFile(`${setup.dir}/p00001_2.png`, await rows[0]!.readImage());
  await Deno.writeFile(`${setup.dir}/holiday.png`, await rows[11]!.readImage());
  await Deno.writeTextFile(`${setup.dir}/p00009.png`, "no picture");
  const result = await importSynthetic(await testGpu(), setup.options);
  assert.equal(result.imported + result.dropped.length, names.length);
  assert.ok(result.imported >= 7, `${result.imported} of ${names.length} were taken for what they show`);
  assert.deepEqual(result.unmatched, ["holiday.png"]);
  assert.deepEqual(result.duplicates, ["p00001_2.png"]);
  assert.equal(result.badRows[0]!.id, "p00009.png");
  assert.equal(result.promptsWithoutImage, 3);
  const dataset = await openDataset(setup.options.outputDir, { seed: 42, badRows: new BadRows() });
  const train = await dataset.load("train");
  assert.equal(train.length, result.imported);
  assert.deepEqual(await dataset.load("test"), []);
  const { columns, captions, objects } = train.find(({ columns }) => columns.source_id === "p00001")!;
  assert.deepEqual([columns.source, columns.source_id, captions[0], objects], [
    "synthetic",
    "p00001",
    rows[0]!.captions[0],
    rows[0]!.objects,
  ]);
  assert.ok(Number(columns.score) > 0);
});

Deno.test("pictures of something else are dropped", async () => {
  await using setup = await setUp();
  const rows = await sampleRows(24);
  await setup.writePrompts(rows.slice(0, 12));
  const objectsOf = (row: ImageRow) => new Set(row.objects);
  let wrong = 0;
  for (const place of rows.slice(0, 12).keys()) {
    // A picture that has none of the objects of the caption.
    const other = rows.find((row) => objectsOf(row).isDisjointFrom(objectsOf(rows[place]!)));
    if (other === undefined) continue;
    wrong++;
    const bytes = await other.readImage();
    await Deno.writeFile(`${setup.dir}/p${String(place + 1).padStart(5, "0")}.png`, bytes);
  }
  assert.ok(wrong >= 8);
  const run = importSynthetic(await testGpu(), { ...setup.options, minRank: 0.9 });
  const taken = await run.then(({ imported }) => imported, (error: Error) => {
    assert.match(error.message, /shows what its caption says/);
    return 0;
  });
  assert.ok(taken <= 2, `${taken} of ${wrong} wrong pictures were taken`);
});

Deno.test("imported pictures join a training mix and nothing else", async () => {
  await using setup = await setUp();
  const rows = await sampleRows(4);
  await setup.writePrompts(rows);
  for (const [place, row] of rows.entries()) {
    await Deno.writeFile(`${setup.dir}/p0000${place + 1}.png`, await row.readImage());
  }
  await importSynthetic(await testGpu(), { ...setup.options, minRank: 0 });
  const merged = await mergeDatasets({
    datasets: ["sample", setup.options.outputDir],
    sample: 20,
    savePath: `${setup.options.outputDir}_mix`,
    seed: 42,
    maxBadRows: 0,
    quiet: true,
  });
  assert.equal(merged.taken.train![setup.options.outputDir], 4);
  assert.deepEqual(Object.keys(merged.taken.test!), ["sample"]);
});

Deno.test("what is missing is said", async () => {
  await using setup = await setUp();
  const gpu = await testGpu();
  await assert.rejects(importSynthetic(gpu, setup.options), /nothing in it/);
  await Deno.writeFile(`${setup.dir}/a.png`, await (await sampleRows(1))[0]!.readImage());
  await assert.rejects(importSynthetic(gpu, setup.options), /no file of prompts/);
  await setup.writePrompts(await sampleRows(2));
  await assert.rejects(importSynthetic(gpu, setup.options), /none of its 1 pictures is named/);
  await Deno.writeTextFile(`${setup.dir}/synthetic_prompts.jsonl`, '{"prompt": "A man on a horse"}\n');
  await assert.rejects(
    importSynthetic(gpu, setup.options),
    /line 1: its caption says "man"; curate it first/,
  );
  await Deno.writeTextFile(`${setup.dir}/synthetic_prompts.jsonl`, '{"prompt": 1}\n');
  await assert.rejects(importSynthetic(gpu, setup.options), /line 1: it has no text "prompt"/);
});

Deno.test("lists of rare objects are read, whatever wrote them", async () => {
  await using setup = await setUp();
  const path = `${setup.dir}/objects_below_50.csv`;
  const read = async (text: string) => {
    await Deno.writeTextFile(path, text);
    return await readRareObjects(path);
  };
  assert.deepEqual(await read('object,count\nkite,3\n"cup, tea",2.0\n'), [
    { object: "kite", count: 3 },
    { object: "cup, tea", count: 2 },
  ]);
  assert.deepEqual(await read("id,Label,Frequency\r\n1,kite,3\r\n"), [{ object: "kite", count: 3 }]);
  await assert.rejects(read("a,b\n1,2\n"), /it has the columns "a", "b", expected "object" and "count"/);
  await assert.rejects(read("object,count\nkite,NaN\n"), /line 2 has the count "NaN"/);
  await assert.rejects(read("object,count\n"), /it has no objects/);
});
