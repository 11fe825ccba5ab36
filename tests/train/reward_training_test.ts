/** Runs that train on rewards: interrupted and continued, streamed, and refused where there is nothing to reward with. */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { decodeImage } from "../../lib/host/decode.ts";
import { ImageSimilarity } from "../../lib/host/image_similarity.ts";
import { ClipScorer } from "../../lib/host/clip_scorer.ts";
import type { DataRow } from "../../lib/host/train_data.ts";
import { clipModelOf } from "../../lib/host/train_rewards.ts";
import { preprocess } from "../../lib/image/processor.ts";
import { writeGoldenModel } from "../support/captioner_folders.ts";
import { testGpu } from "../support/gpu.ts";
import { NUMBER_FILES, run, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };
const FLAGS = "--max-steps 6 --eval-steps 3 --save-steps 2 --save-total-limit 9 --early-stopping-patience 0";
/** Files in which every number of such a run shows. */
const FILES = NUMBER_FILES.map((file) => file.replace("checkpoint-24", "checkpoint-6"));

async function readLog(path: string): Promise<Record<string, number>[]> {
  return (await Deno.readTextFile(`${path}/metrics.jsonl`)).trim().split("\n").map((line) =>
    JSON.parse(line)
  );
}

for (
  const [name, flags] of [
    ["likeness to the image", "--clip-model embedded:siglip"],
    ["CIDEr, a vision layer trained", "--reward cider --unfreeze-vision-layers 1"],
  ] as const
) {
  Deno.test(
    `a run rewarded for ${name}, interrupted and continued, is the same`,
    isolated,
    () =>
      withModels(async (root) => {
        const rewarded = `${FLAGS} --clip-loss-weight 0.5 ${flags}`;
        const whole = await run(root, "whole", rewarded);
        strictEqual(whole.ended, "completed");
        const steps = (await readLog(whole.path)).filter((entry) => "loss" in entry);
        strictEqual(steps.length, 6);
        for (const entry of steps) {
          for (
            const name of ["reward", "reward_variance", "reward_greedy", "reward_guard", "sample_length"]
          ) {
            ok(Number.isFinite(entry[name]), `${name} at step ${entry["step"]}`);
          }
          const { loss, cross_entropy, policy_loss } = entry;
          ok(Math.abs(loss! - cross_entropy! - 0.5 * policy_loss!) < 1e-9);
        }
        ok(steps.some((entry) => entry["policy_loss"] !== 0 && entry["reward_variance"]! > 0));

        const first = await run(root, "parts", rewarded, 2);
        strictEqual(first.ended, "interrupted");
        ok(first.step > 0 && first.step < 6, `interrupted at ${first.step}`);
        const second = await run(root, "parts", rewarded);
        strictEqual(second.path, first.path);
        strictEqual(second.ended, "completed");
        for (const file of FILES) {
          deepStrictEqual(
            await Deno.readFile(`${second.path}/${file}`),
            await Deno.readFile(`${whole.path}/${file}`),
            file,
          );
        }
        // The weight tells: it is another run, with other numbers.
        const other = await run(root, "whole", rewarded.replace("0.5", "0"));
        ok(other.path !== whole.path);
        const plain = (await readLog(other.path)).find((entry) => "loss" in entry)!;
        strictEqual("reward" in plain, false);
        strictEqual(plain["loss"], steps[0]!["cross_entropy"], "the first step's cross-entropy is the same");
      }),
  );
}

Deno.test(
  "a stream is rewarded for likeness, and refused for CIDEr before anything is read",
  isolated,
  () =>
    withModels(async (root) => {
      const flags = "--max-steps 3 --streaming --clip-loss-weight 0.5 --clip-model embedded:siglip";
      const { path } = await run(root, "runs", flags);
      const steps = (await readLog(path)).filter((entry) => "loss" in entry);
      strictEqual(steps.length, 3);
      for (const { reward } of steps) ok(reward! >= -1 && reward! <= 1);
      await rejects(run(root, "runs", `${flags} --reward cider --dataset ${root}/nowhere`), {
        name: "UserError",
        message: /--reward cider with --streaming.*--reward clip/,
      });
    }),
);

Deno.test("a CLIP in a folder rewards as a SigLIP does", isolated, () =>
  withModels(async (root) => {
    const folder = `${root}/two-tower-clip`;
    await Deno.mkdir(folder);
    await writeGoldenModel("clip", folder);
    const flags = `--max-steps 2 --eval-metrics clip --clip-loss-weight 0.5 --clip-model ${folder}`;
    const { path, after } = await run(root, "runs", flags);
    const steps = (await readLog(path)).filter((entry) => "loss" in entry);
    strictEqual(steps.length, 2);
    for (const { reward } of steps) ok(reward! >= -1 && reward! <= 1);
    ok(after!.metrics["eval_clip_score"]! >= 0);
  }));

Deno.test("a model that compares nothing is refused", isolated, () =>
  withModels(async (root) => {
    const flags = "--max-steps 1 --clip-loss-weight 0.1 --clip-model";
    await rejects(run(root, "runs", `${flags} ${root}/llama`), /model_type.*llama.*siglip/);
    await rejects(run(root, "runs", `${flags} ${root}/nowhere`), { name: "UserError", message: /nowhere/ });
  }));

Deno.test("without a name the model is the Python project's, or the embedded one offline", () => {
  const options = { clipLossWeight: 0.1, reward: "clip", encoderModel: "org/encoder" } as const;
  const environment = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].map((name) =>
    [name, Deno.env.get(name)] as const
  );
  try {
    for (const [name] of environment) Deno.env.delete(name);
    strictEqual(clipModelOf(options), "openai/clip-vit-base-patch32");
    strictEqual(clipModelOf({ ...options, clipModel: "a/b" }), "a/b");
    strictEqual(clipModelOf({ ...options, encoderModel: "embedded:siglip" }), "embedded:siglip");
    strictEqual(clipModelOf({ ...options, clipLossWeight: 0 }), undefined);
    strictEqual(clipModelOf({ ...options, reward: "cider" }), undefined);
    Deno.env.set("HF_HUB_OFFLINE", "1");
    strictEqual(clipModelOf(options), "embedded:siglip");
  } finally {
    for (const [name, value] of environment) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
});

Deno.test(
  "images are embedded once, dropped when there are too many, and their own captions are nearest",
  isolated,
  async () => {
    const gpu = await testGpu();
    const scorer = await ClipScorer.open(gpu, { model: "embedded:siglip", batchSize: 2 });
    const loaded: string[] = [];
    const sample = await Deno.readTextFile(new URL("../../data/sample/test/metadata.jsonl", import.meta.url));
    const rows = sample.split("\n").slice(0, 3).map((line, number): DataRow => {
      const { file_name: image, alt_text } = JSON.parse(line);
      return {
        id: image,
        image,
        sha256: image,
        captions: [alt_text],
        columns: {},
        number,
        dataset: "sample",
        readImage: () => Promise.reject(new Error("not asked for")),
      };
    });
    const load = async (row: DataRow, processor: typeof scorer.processor) => {
      loaded.push(row.id);
      const bytes = await Deno.readFile(new URL(`../../data/sample/test/${row.image}`, import.meta.url));
      const pixels = preprocess(await decodeImage(bytes), processor);
      return pixels;
    };
    const similarity = new ImageSimilarity(scorer, load);
    await Promise.all([similarity.prepare([rows[0]!, rows[1]!, rows[0]!]), similarity.prepare(rows)]);
    deepStrictEqual(loaded, rows.map(({ id }) => id));
    const scores = await similarity.score(
      rows.flatMap((row) => rows.map(({ captions }) => ({ row, text: captions[0]! }))),
    );
    for (const i of rows.keys()) {
      const own = scores.slice(3 * i, 3 * i + 3);
      strictEqual(own.indexOf(Math.max(...own)), i, `image ${i}: ${own}`);
    }
    // Room for two embeddings: the oldest goes, a batch never does.
    const small = new ImageSimilarity(scorer, load, { maxBytes: 2 * 4 * scorer.model.config.embeddingSize });
    await small.prepare(rows.slice(0, 2));
    await small.prepare(rows.slice(2));
    await rejects(small.score([{ row: rows[0]!, text: "a bus" }]), /0000.png.*not prepared/);
    strictEqual((await small.score([{ row: rows[1]!, text: "a bus" }])).length, 1);
    await small.prepare(rows);
    strictEqual((await small.score(rows.map((row) => ({ row, text: "a bus" })))).length, 3);
    scorer.destroy();
  },
);
