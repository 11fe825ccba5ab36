import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { loadTrainData } from "../../lib/host/train_data.ts";
import { hubClient, inTemporaryFolder } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";
import { parquetFile } from "../support/parquet.ts";
import { sampleRows, withEnvironment, writeParquet } from "../support/sample_tables.ts";
import { run, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };
const FLAGS = "--max-steps 4 --eval-steps 4 --save-steps 4";

Deno.test(
  "a run from parquet learns what a run from the same image folder learns",
  isolated,
  () =>
    withModels(async (root) => {
      await writeParquet(`${root}/tables`);
      const tables = await run(root, "runs", `--dataset ${root}/tables ${FLAGS}`);
      strictEqual(tables.ended, "completed");
      deepStrictEqual(Object.values(tables.data.rows).map((rows) => rows.length), [12, 12, 12]);
      ok(tables.after!.metrics.eval_loss < tables.before!.metrics.eval_loss);
      const report = await Deno.readTextFile(`${tables.path}/report.html`);
      ok(report.includes("data:image/png;base64,"));
      // One caption an image, and the same order: only the fingerprint tells the runs apart.
      const folder = await run(root, "other", FLAGS);
      for (const file of ["projection.safetensors", "adapter/adapter_model.safetensors", "metrics.jsonl"]) {
        const [a, b] = await Promise.all(
          [tables, folder].map(({ path }) => Deno.readFile(`${path}/${file}`)),
        );
        deepStrictEqual(a, b, file);
      }
      // With pixels instead of features every step reads from the row groups again.
      const pixels = await run(root, "runs", `--dataset ${root}/tables ${FLAGS} --unfreeze-vision-layers 1`);
      strictEqual(pixels.ended, "completed");
    }),
);

Deno.test("hashes of a table's images are computed once, and again when the file changes", () =>
  inTemporaryFolder(async (root) => {
    await writeParquet(`${root}/tables`);
    const load = () =>
      loadTrainData({ datasets: [`${root}/tables`], maxBadRows: 0, seed: 1, cacheDir: `${root}/cache` });
    const first = await load();
    const files = [...Deno.readDirSync(`${root}/cache/hashes`)].map(({ name }) => name);
    strictEqual(files.length, 3);
    strictEqual((await load()).hash, first.hash);
    // An index that says something else is believed: nothing was computed again.
    const path = `${root}/cache/hashes/${files[0]}`;
    const bytes = await Deno.readFile(path);
    await Deno.writeFile(path, bytes.map((byte) => byte ^ 255));
    ok((await load()).hash !== first.hash);
    for (const split of ["train", "validation", "test"]) {
      const table = `${root}/tables/data/${split}-00000-of-00001.parquet`;
      await Deno.utime(table, 1, 1);
    }
    strictEqual((await load()).hash, first.hash);
  }));

Deno.test(
  "a run from the Hub: parquet by HF_ENDPOINT, downloaded once; a sample by range",
  isolated,
  () =>
    withModels(async (root) => {
      await using hub = startHub();
      const repo = hub.create("dataset", "org/pictures");
      const rows = await sampleRows("train", 60);
      hub.commit(repo, {
        "data/train-00000-of-00002.parquet": parquetFile(rows.slice(0, 30), { rowGroupSize: 10 }).slice(),
        "data/train-00001-of-00002.parquet": parquetFile(rows.slice(30), { rowGroupSize: 10 }).slice(),
      });
      await withEnvironment(hub.environment(`${root}/hub`), async () => {
        const flags = `--dataset org/pictures ${FLAGS}`;
        const few = await run(root, "few", `${flags} --sample 10`);
        deepStrictEqual(Object.values(few.data.rows).map(({ length }) => length), [8, 1, 1]);
        const asked = hub.downloads.filter(({ path }) => path.includes("00001-of"));
        strictEqual(asked.length, 0, "the second file holds none of the sample");
        const whole = await run(root, "whole", flags);
        deepStrictEqual(Object.values(whole.data.rows).map(({ length }) => length), [48, 6, 6]);
        strictEqual(whole.ended, "completed");
        const count = hub.downloads.length;
        const again = await run(root, "whole", `${flags} --seed 7`);
        strictEqual(again.ended, "completed");
        strictEqual(hub.downloads.length, count, "everything came from the cache");
        await rejects(run(root, "whole", `${flags} --caption-column alt`), {
          name: "UserError",
          message: /no caption column "alt"; it has "image", "alt_text"/,
        });
        await withEnvironment({ HF_HUB_OFFLINE: "1" }, async () => {
          strictEqual((await run(root, "whole", `${flags} --seed 8`)).ended, "completed");
        });
      });
    }),
);

Deno.test(
  "offline with a part of a data set in the cache, the run names what is missing",
  isolated,
  () =>
    inTemporaryFolder(async (root) => {
      await using hub = startHub();
      const repo = hub.create("dataset", "org/pictures");
      const rows = await sampleRows("train", 6);
      const [first, second] = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
      hub.commit(repo, {
        [first!]: parquetFile(rows).slice(),
        [second!]: parquetFile(rows.slice(3)).slice(),
      });
      await (await hubClient(hub, `${root}/hub/hub`).open("datasets/org/pictures")).fetch([first!]);
      await withEnvironment({ ...hub.environment(`${root}/hub`), HF_HUB_OFFLINE: "1" }, async () => {
        const load = (flags: { sample?: number }) =>
          loadTrainData({
            datasets: ["org/pictures"],
            maxBadRows: 0,
            seed: 1,
            cacheDir: `${root}/cache`,
            ...flags,
          });
        await rejects(load({}), { message: /train-00001-of-00002\.parquet/ });
        // What is there can be used.
        strictEqual((await load({ sample: 4 })).total, 4);
      });
    }),
);
