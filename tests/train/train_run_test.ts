import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { openFile } from "../../lib/host/files.ts";
import { findNewestCaptioner } from "../../lib/host/run_folder.ts";
import { describeResult } from "../../lib/host/train_summary.ts";
import { data, LLAMA, NUMBER_FILES, run, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "a run leaves a captioner, checkpoints, pages; interrupted and continued it is the same",
  isolated,
  () =>
    withModels(async (root) => {
      const flags =
        "--max-steps 24 --eval-steps 8 --save-steps 6 --save-total-limit 9 --early-stopping-patience 0";
      const whole = await run(root, "whole", flags);
      strictEqual(whole.ended, "completed");
      ok(whole.after!.metrics.eval_loss < whole.before!.metrics.eval_loss);
      const text = describeResult(whole);
      for (
        const wanted of [
          "Loss",
          "ROUGE-L",
          "Exact match",
          "Object words",
          "test split, 12 images",
          whole.path,
        ]
      ) {
        ok(text.includes(wanted), wanted);
      }
      const report = await Deno.readTextFile(`${whole.path}/report.html`);
      ok(report.includes("data:image/png;base64,") && report.includes("before training"));
      const manifest = JSON.parse(await Deno.readTextFile(`${whole.path}/manifest.json`));
      strictEqual(manifest.finished, true);
      strictEqual(manifest.seed, 42);
      strictEqual(await findNewestCaptioner(`${root}/whole`), whole.path);

      const first = await run(root, "parts", flags, 4);
      strictEqual(first.ended, "interrupted");
      ok(first.step < 24, `interrupted at ${first.step}`);
      ok(describeResult(first).includes("continue"));
      const second = await run(root, "parts", flags);
      strictEqual(second.path, first.path);
      strictEqual(second.ended, "completed");
      for (const file of [...NUMBER_FILES, "checkpoint-18/projection.safetensors"]) {
        deepStrictEqual(
          await Deno.readFile(`${second.path}/${file}`),
          await Deno.readFile(`${whole.path}/${file}`),
          file,
        );
      }
      deepStrictEqual(second.after, whole.after);
      // The same command again is a new run.
      ok((await run(root, "parts", `${flags} --max-steps 1`)).path.endsWith("-2"));
    }),
);

Deno.test(
  "an MLP and an unfrozen vision layer are trained, and a captioner is trained on from",
  isolated,
  () =>
    withModels(async (root) => {
      const base = await run(root, "runs", "--max-steps 2 --projection-type mlp --unfreeze-vision-layers 1");
      ok((await Deno.stat(`${base.path}/vision.safetensors`)).size > 0);
      const next = await run(root, "runs", `--max-steps 1 --base-model ${base.path}`);
      strictEqual(next.before!.metrics.eval_loss, base.after!.metrics.eval_loss);
    }),
);

for (
  const [encoder, layer] of [
    ["clip", "vision_model.encoder.layers.1.self_attn.q_proj.weight"],
    ["vit", "encoder.layer.1.attention.attention.query.weight"],
  ] as const
) {
  Deno.test(
    `a ${encoder} encoder is trained with, its last layer under its own names, and captioned with`,
    isolated,
    () =>
      withModels(async (root) => {
        const flags = `--encoder-model ${root}/${encoder}`;
        const frozen = await run(root, "runs", `${flags} --max-steps 2`);
        ok(frozen.after!.metrics.eval_loss < frozen.before!.metrics.eval_loss);
        const trained = await run(root, "runs", `${flags} --max-steps 2 --unfreeze-vision-layers 1`);
        const file = await openSafetensors(await openFile(`${trained.path}/vision.safetensors`));
        ok(file.tensors.has(`vision_encoder.${layer}`));
        strictEqual(file.tensors.size, 16);
        strictEqual(trained.before!.metrics.eval_loss, frozen.before!.metrics.eval_loss);
        using captioner = await Captioner.load(trained.path);
        const { caption } = await captioner.caption(await Deno.readFile(data("sample/test/0000.png")));
        strictEqual(typeof caption, "string");
      }),
  );
}

Deno.test(
  "a learning rate that makes the loss NaN stops at its step and leaves the checkpoint",
  isolated,
  () =>
    withModels(async (root) => {
      await rejects(
        run(
          root,
          "runs",
          "--max-steps 12 --save-steps 2 --warmup-steps 3 --projection-lr 1e30 --lora-lr 1e30",
        ),
        {
          name: "UserError",
          message: /at step 3 the .+ (NaN|Infinity), first seen in the gradient of ".+"; checkpoint-2 is/,
        },
      );
      ok((await Deno.stat(`${root}/runs/siglip-llama-lora/checkpoint-2/optimizer.safetensors`)).size > 0);
    }),
);

Deno.test(
  "damaged images are skipped and listed; a data set of nothing else is empty",
  isolated,
  () =>
    withModels(async (root) => {
      await Deno.writeTextFile(`${root}/images/train/0003.png`, "not an image");
      const result = await run(root, "runs", "--max-steps 1");
      ok(result.data.badRows.describe(3).includes("train/0003.png"));
      await rejects(run(root, "runs", "--max-steps 1 --max-bad-rows 0"), {
        name: "UserError",
        message: /0003\.png/,
      });
      for (let i = 0; i < 12; i++) {
        await Deno.writeTextFile(`${root}/images/train/${String(i).padStart(4, "0")}.png`, "");
      }
      await rejects(run(root, "runs", "--max-steps 1 --max-bad-rows 1"), {
        name: "UserError",
        message: /empty data set/,
      });
    }),
);

Deno.test(
  "a tokenizer with more ids than the embedding, and pictures of another size, are refused",
  isolated,
  () =>
    withModels(async (root) => {
      const small = { ...LLAMA, vocab_size: 500 };
      await Deno.writeTextFile(`${root}/llama/config.json`, JSON.stringify(small));
      await rejects(run(root, "runs", "--max-steps 1"), { name: "UserError", message: /509 ids.*500 rows/ });
      await Deno.writeTextFile(`${root}/llama/config.json`, JSON.stringify(LLAMA));
      const processor = `${root}/siglip/preprocessor_config.json`;
      await Deno.writeTextFile(processor, (await Deno.readTextFile(processor)).replaceAll("20", "22"));
      await rejects(run(root, "runs", "--max-steps 1"), { name: "UserError", message: /22x22.*20x20/ });
    }),
);
