/** What a run writes about the same images at its evaluations, and the metrics it was asked for. */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { readPredictions, shownRows } from "../../lib/host/train_predictions.ts";
import { run, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };

Deno.test("rows that are shown are spread over those that are captioned", () => {
  deepStrictEqual(shownRows([]), []);
  deepStrictEqual(shownRows([4, 7, 9]), [4, 7, 9]);
  deepStrictEqual(shownRows(Array.from({ length: 32 }, (_, i) => i)), [0, 4, 8, 12, 16, 20, 24, 28]);
});

Deno.test(
  "captions of the same images are kept by evaluation, on pages and in events; a continued run has the same",
  isolated,
  () =>
    withModels(async (root) => {
      const flags =
        "--max-steps 9 --eval-steps 3 --save-steps 2 --eval-captions 3 --early-stopping-patience 0 " +
        "--eval-metrics cider_d,bleu_4,clip --clip-model embedded:siglip --metric-for-best-model cider_d";
      const whole = await run(root, "whole", flags);
      const predictions = await readPredictions(whole.path);
      deepStrictEqual(predictions.map(({ step }) => step), [3, 3, 3, 6, 6, 6, 9, 9, 9]);
      strictEqual(new Set(predictions.map(({ row }) => row)).size, 3);
      for (const { image, references } of predictions) {
        ok(/^\S+\.png$/.test(image));
        ok(references.length > 0);
      }
      const log = (await Deno.readTextFile(`${whole.path}/metrics.jsonl`)).trim().split("\n").map((line) =>
        JSON.parse(line)
      );
      const evaluations = log.filter((entry) => "eval_loss" in entry);
      for (const entry of evaluations) {
        for (const name of ["eval_cider_d", "eval_bleu_4", "eval_clip_score"]) ok(entry[name] >= 0, name);
        strictEqual("eval_meteor" in entry, false);
      }
      const state = JSON.parse(await Deno.readTextFile(`${whole.path}/checkpoint-9/trainer_state.json`));
      strictEqual(state.best_metric, Math.max(...evaluations.map((entry) => entry.eval_cider_d)));
      ok("eval_cider_d" in whole.after!.metrics && "eval_clip_score" in whole.before!.metrics);
      const report = await Deno.readTextFile(`${whole.path}/report.html`);
      ok(
        report.includes("Captions on the way") && report.includes("CIDEr-D") && report.includes("CLIPScore"),
      );
      deepStrictEqual(whole.watched!.map(({ captions }) => captions.map(({ step }) => step)), [[3, 6, 9], [
        3,
        6,
        9,
      ], [3, 6, 9]]);
      const folder = [...Deno.readDirSync(`${whole.path}/runs`)][0]!.name;
      const file = [...Deno.readDirSync(`${whole.path}/runs/${folder}`)][0]!.name;
      const events = new TextDecoder("latin1").decode(
        await Deno.readFile(`${whole.path}/runs/${folder}/${file}`),
      );
      for (const [tag, times] of [["captions/2", 3], ["images/2", 1], ["eval/cider_d", 3]] as const) {
        strictEqual(events.split(tag).length - 1, times, tag);
      }

      const first = await run(root, "parts", flags, 5);
      strictEqual(first.ended, "interrupted");
      // A kill may leave an evaluation that no checkpoint has, and half a line.
      const lost = { ...predictions[0]!, step: 99 };
      await Deno.writeTextFile(`${first.path}/predictions.jsonl`, `${JSON.stringify(lost)}\n{"step":`, {
        append: true,
      });
      const second = await run(root, "parts", flags);
      for (const name of ["predictions.jsonl", "metrics.jsonl", "checkpoint-9/trainer_state.json"]) {
        strictEqual(
          await Deno.readTextFile(`${second.path}/${name}`),
          await Deno.readTextFile(`${whole.path}/${name}`),
          name,
        );
      }
      deepStrictEqual(
        second.watched,
        whole.watched!.map(({ row, captions }) => ({
          row: second.watched!.find((other) => other.row.id === row.id)!.row,
          captions,
        })),
      );
      await rejects(run(root, "whole", flags.replace("bleu_4", "bleu_5")), {
        name: "UserError",
        message: /bleu_5/,
      });
    }),
);
