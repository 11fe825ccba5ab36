import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import { tree } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";
import { parquetFile } from "../support/parquet.ts";
import { sampleRows, withEnvironment } from "../support/sample_tables.ts";
import { NUMBER_FILES, run, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };
const FLAGS =
  "--streaming --shuffle-buffer 7 --max-steps 24 --eval-steps 8 --save-steps 6 --save-total-limit 9 " +
  "--early-stopping-patience 0";

async function writeTables(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const train = await sampleRows("train", 40);
  for (const [i, rows] of [train.slice(0, 22), train.slice(22)].entries()) {
    await Deno.writeFile(`${folder}/train-0000${i}-of-00002.parquet`, parquetFile(rows, { rowGroupSize: 5 }));
  }
  for (const split of ["validation", "test"]) {
    await Deno.writeFile(
      `${folder}/${split}-00000-of-00001.parquet`,
      parquetFile(await sampleRows(split, 8)),
    );
  }
}

Deno.test(
  "a stream interrupted in the middle of an epoch continues to the same bytes",
  isolated,
  () =>
    withModels(async (root) => {
      await writeTables(`${root}/tables`);
      for (const more of ["", " --unfreeze-vision-layers 1"]) {
        const flags = `--dataset ${root}/tables ${FLAGS}${more}`;
        const whole = await run(root, `whole${more.length}`, flags);
        strictEqual(whole.ended, "completed");
        ok(whole.after!.metrics.eval_loss < whole.before!.metrics.eval_loss);
        const first = await run(root, `parts${more.length}`, flags, 4);
        strictEqual(first.ended, "interrupted");
        ok(first.step > 0 && first.step < 24, `interrupted at ${first.step}`);
        const second = await run(root, `parts${more.length}`, flags);
        strictEqual(second.path, first.path);
        for (const file of NUMBER_FILES) {
          const [a, b] = await Promise.all(
            [first, whole].map(({ path }) => Deno.readFile(`${path}/${file}`)),
          );
          deepStrictEqual(a, b, file);
        }
        const manifest = JSON.parse(await Deno.readTextFile(`${whole.path}/manifest.json`));
        deepStrictEqual(manifest.data.rows, { train: 40, validation: 8, test: 8 });
      }
    }),
);

Deno.test(
  "a stream from the Hub reads by range and downloads nothing",
  isolated,
  () =>
    withModels(async (root) => {
      await using hub = startHub();
      const repo = hub.create("dataset", "org/pictures");
      hub.commit(repo, {
        "data/train-00000-of-00001.parquet": parquetFile(await sampleRows("train", 40), { rowGroupSize: 8 })
          .slice(),
        "data/test-00000-of-00001.parquet": parquetFile(await sampleRows("test", 8)).slice(),
      });
      await withEnvironment(hub.environment(`${root}/hub`), async () => {
        const result = await run(
          root,
          "runs",
          `--dataset org/pictures --streaming --max-steps 5 --eval-steps 5`,
        );
        strictEqual(result.ended, "completed");
        ok(hub.downloads.length > 0);
        const kept = Object.keys(tree(`${root}/hub`)).filter((path) => /blobs|snapshots/.test(path));
        deepStrictEqual(kept, []);
      });
    }),
);

Deno.test(
  "bad rows of a stream are left out, counted and listed; too many stop it",
  isolated,
  () =>
    withModels(async (root) => {
      await Deno.mkdir(`${root}/tables`);
      const rows = await sampleRows("train", 30);
      for (const i of [3, 4, 5, 17]) {
        rows[i] = { ...rows[i]!, image: { bytes: Uint8Array.of(1, 2, 3), path: "x" } };
      }
      rows[9] = { ...rows[9]!, alt_text: " " };
      await Deno.writeFile(`${root}/tables/train-0.parquet`, parquetFile(rows, { rowGroupSize: 4 }));
      await Deno.writeFile(`${root}/tables/test-0.parquet`, parquetFile(await sampleRows("test", 4)));
      const flags = `--dataset ${root}/tables --streaming --max-steps 20 --eval-steps 20`;
      // One image a batch: batches without a good row are passed over.
      const result = await run(root, "runs", `${flags} --batch-size 1 --max-bad-rows 0.5`);
      strictEqual(result.ended, "completed");
      ok(result.data.badRows.count >= 4, result.data.badRows.describe(9));
      ok(result.data.badRows.rows.every(({ id }) => /^train-0\.parquet#(3|4|5|9|17)$/.test(id)));
      await rejects(run(root, "runs", `${flags} --max-bad-rows 0.05`), {
        name: "UserError",
        // Batches that were read ahead may have bad ones too by then.
        message: /[2-5] of 34 rows are bad/,
      });
    }),
);

Deno.test("data sets take turns, and rows come by weight", isolated, () =>
  withModels(async (root) => {
    await writeTables(`${root}/tables`);
    const both = `--dataset ${root}/tables ${root}/images --max-steps 3 --eval-steps 3`;
    for (const flags of ["--interleave", "--interleave --streaming"]) {
      const result = await run(root, "runs", `${both} ${flags}`);
      strictEqual(result.ended, "completed");
    }
    const csv = (lines: string[]) => Deno.writeTextFile(`${root}/weights.csv`, lines.join("\n"));
    const one = `--dataset ${root}/tables --max-steps 3 --eval-steps 3 --weights ${root}/weights.csv`;
    await csv(["idx,reweight_raw,reweight_norm", ...Array.from({ length: 56 }, (_, i) => `${i},1,${i % 2}`)]);
    strictEqual((await run(root, "runs", one)).ended, "completed");
    strictEqual((await run(root, "runs", `${one} --streaming`)).ended, "completed");
    const rows = await sampleRows("train", 40);
    await csv(["caption,probability", ...rows.map(({ alt_text }) => `"${alt_text}",0.5`)]);
    strictEqual((await run(root, "runs", one)).ended, "completed");
    await rejects(run(root, "runs", `${one} --streaming`), { message: /names rows by caption/ });
    await csv(["caption,probability", "None of them,0.5"]);
    await rejects(run(root, "runs", one), { message: /none of the rows/ });
    await csv(["caption,share", "A,1"]);
    await rejects(run(root, "runs", one), {
      message: /none of the columns "probability".*but "caption", "share"/,
    });
    await csv(["idx,probability", "0,-1"]);
    await rejects(run(root, "runs", one), { message: /line 2 has the weight "-1"/ });
  }));

Deno.test("flags of data sets are read, and contradictions refused", async () => {
  const options = await parseTrainArguments(
    "--sample coco=500,flickr=100 --captions all --interleave".split(" "),
  );
  deepStrictEqual([options.sample, options.captions, options.interleave], [
    { coco: 500, flickr: 100 },
    "all",
    true,
  ]);
  await rejects(parseTrainArguments(["--streaming", "--captions", "all"]), {
    message: /leave one of the two out/,
  });
  await rejects(parseTrainArguments(["--shuffle-buffer", "5"]), { message: /add --streaming/ });
});
