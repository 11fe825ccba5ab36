/** The quality report as a process: killed, interrupted, and with a data set that lies at the Hub. */
import assert from "node:assert/strict";
import { parquetFile } from "../support/parquet.ts";
import { sampleRows } from "../support/sample_tables.ts";
import { inTemporaryFolder, runTaskScript, spawnScript, tree } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";

const TASK = "tasks/quality_report.ts";
const WITHOUT_MODELS = ["--clip-model", "none", "--bert-model", "none"];

async function writeCaptions(folder: string, count: number): Promise<string> {
  const path = `${folder}/captions.jsonl`;
  const rows = Array.from(
    { length: count },
    (_, i) =>
      JSON.stringify({
        caption: `A man with ${i} bags beside a table.`,
        objects: ["bag", `object${i % 50}`],
      }),
  );
  await Deno.writeTextFile(path, rows.join("\n"));
  return path;
}

/** Waits until a report has found something. */
async function untilFound(outputDir: string): Promise<void> {
  for (;;) {
    const info = await Deno.stat(`${outputDir}/.work/examples.jsonl`).catch(() => undefined);
    if ((info?.size ?? 0) > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test("killed or interrupted at any moment, the same command goes on and gives the same files", async () => {
  await inTemporaryFolder(async (folder) => {
    const path = await writeCaptions(folder, 30_000);
    const args = (name: string) => [
      ...["--dataset", path, "--split", "all", "--topk", "3", "--output-dir", `${folder}/${name}`],
      ...WITHOUT_MODELS,
    ];
    const whole = await runTaskScript(TASK, args("whole"), {});
    assert.equal(whole.code, 0, whole.stderr);
    for (const [signal, wanted] of [["SIGKILL", 137], ["SIGINT", 130]] as const) {
      const outputDir = `${folder}/${signal}`;
      const process = spawnScript(TASK, args(signal), {}).spawn();
      await untilFound(outputDir);
      process.kill(signal);
      const { code, stderr } = await process.output();
      assert.equal(code, wanted, new TextDecoder().decode(stderr));
      const again = await runTaskScript(TASK, args(signal), {});
      assert.equal(again.code, 0, again.stderr);
      assert.match(again.stderr, /rows were known from before a break/);
      for (const name of ["per_example_scores.csv", "ranked_by_combined.csv", "scores.parquet"]) {
        const [a, b] = [
          await Deno.readFile(`${outputDir}/${name}`),
          await Deno.readFile(`${folder}/whole/${name}`),
        ];
        assert.deepEqual(a, b, `${signal} ${name}`);
      }
      await assert.rejects(Deno.stat(`${outputDir}/.work`), Deno.errors.NotFound);
    }
  });
});

Deno.test("a data set of the Hub is streamed without a copy of it, and the JSON is one object", async () => {
  await inTemporaryFolder(async (home) => {
    await using hub = startHub();
    hub.commit(hub.create("dataset", "org/pictures"), {
      "data/train-00000-of-00001.parquet": parquetFile(await sampleRows("train", 20)).slice(),
      "data/test-00000-of-00001.parquet": parquetFile(await sampleRows("test", 6)).slice(),
    });
    const args = ["--dataset", "org/pictures", "--streaming", "--json", "--output-dir", `${home}/report`];
    const { code, stdout, stderr } = await runTaskScript(
      TASK,
      [...args, ...WITHOUT_MODELS],
      hub.environment(home),
    );
    assert.equal(code, 0, stderr);
    const summary = JSON.parse(stdout);
    assert.deepEqual([summary.total_samples, summary.samples_with_images, summary.images_broken], [6, 6, 0]);
    const cached = Object.keys(tree(home)).filter((path) => /^hub\/.*(blobs|\.parquet)/.test(path));
    assert.deepEqual(cached, [], "nothing was downloaded to stay");

    const unknown = await runTaskScript(
      TASK,
      [
        "--dataset",
        "org/pictures",
        "--clip-model",
        "org/none",
        "--bert-model",
        "none",
        "--output-dir",
        `${home}/no`,
      ],
      hub.environment(home),
    );
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /org\/none.*--clip-model none to do without/s);
  });
});
