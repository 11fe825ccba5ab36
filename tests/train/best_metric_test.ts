import { deepStrictEqual, rejects, strictEqual, throws } from "node:assert/strict";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import { planEvaluations } from "../../lib/host/train_eval_options.ts";
import { bestMetricOf, compareEvaluation } from "../../lib/train/best_metric.ts";
import { train } from "../../lib/train/trainer.ts";
import { fakeEngine, fakeRows, SETTINGS } from "./fake_engine.ts";

const at = (step: number, metrics: Record<string, number>) => ({ step, metrics });

Deno.test("the loss is better when it is less, every other metric when it is more", () => {
  const loss = bestMetricOf("loss");
  deepStrictEqual(loss, { name: "eval_loss", greaterIsBetter: false, threshold: 0 });
  deepStrictEqual(bestMetricOf("eval_cider_d", { threshold: 0.1 }), {
    name: "eval_cider_d",
    greaterIsBetter: true,
    threshold: 0.1,
  });
  const first = compareEvaluation(at(1, { eval_loss: 3 }), undefined, loss);
  deepStrictEqual(first, { best: { step: 1, value: 3 }, isBest: true, isProgress: true });
  strictEqual(compareEvaluation(at(2, { eval_loss: 4 }), first.best, loss).isBest, false);
  strictEqual(
    compareEvaluation(at(2, { eval_loss: 3 }), first.best, loss).isBest,
    false,
    "equal is not better",
  );
  deepStrictEqual(compareEvaluation(at(2, { eval_loss: 2 }), first.best, loss).best, { step: 2, value: 2 });
  const more = bestMetricOf("cider_d");
  strictEqual(compareEvaluation(at(2, { eval_cider_d: 2 }), { step: 1, value: 1 }, more).isBest, true);
  deepStrictEqual(compareEvaluation(at(2, { eval_cider_d: 0 }), { step: 1, value: 1 }, more).best, {
    step: 1,
    value: 1,
  });
});

Deno.test("what is better by no more than the threshold is the best, but no progress", () => {
  const metric = bestMetricOf("cider_d", { threshold: 0.5 });
  const { isBest, isProgress } = compareEvaluation(
    at(2, { eval_cider_d: 1.5 }),
    { step: 1, value: 1 },
    metric,
  );
  deepStrictEqual([isBest, isProgress], [true, false]);
  strictEqual(
    compareEvaluation(at(2, { eval_cider_d: 1.6 }), { step: 1, value: 1 }, metric).isProgress,
    true,
  );
});

Deno.test("a metric that is missing or no number is refused, with what there is", () => {
  const metric = bestMetricOf("object_accuracy");
  throws(() => compareEvaluation(at(4, { eval_loss: 1, eval_rougeL: 0.5 }), undefined, metric), {
    name: "UserError",
    message: /by object_accuracy.*after step 4.*"loss", "rougeL".*--metric-for-best-model/,
  });
  throws(() => compareEvaluation(at(4, { eval_object_accuracy: NaN }), undefined, metric), {
    name: "UserError",
    message: /after step 4 the validation object accuracy is NaN/,
  });
});

Deno.test("flags say what is computed and compared, and what cannot be is refused", async () => {
  const plan = async (text: string) =>
    planEvaluations(await parseTrainArguments(text.split(" ").filter((x) => x)));
  const usual = await plan("");
  deepStrictEqual(usual, { metrics: [], best: { name: "eval_loss", greaterIsBetter: false, threshold: 0 } });
  const { metrics, best } = await plan(
    "--eval-metrics meteor,cider_d,meteor --metric-for-best-model eval_bleu_4 --early-stopping-threshold 0.01",
  );
  deepStrictEqual(metrics, ["bleu_4", "cider_d", "meteor"]);
  deepStrictEqual(best, { name: "eval_bleu_4", greaterIsBetter: true, threshold: 0.01 });
  const clip = await plan("--metric-for-best-model clip");
  deepStrictEqual([clip.metrics, clip.best.name], [["clip"], "eval_clip_score"]);
  deepStrictEqual((await plan("--metric-for-best-model rougeL")).metrics, [], "the usual one");
  deepStrictEqual((await plan("--metric-for-best-model rougeL --eval-metrics rougeL")).metrics, ["rougeL"]);
  for (
    const [flags, message] of [
      ["--eval-metrics cidr_d", /--eval-metrics "cidr_d".*did you mean "cider_d"/],
      ["--eval-metrics cider_d --metric-for-best-model accuracy", /--metric-for-best-model "accuracy"/],
      ["--eval-metrics cider_d --eval-captions 0", /cider_d with --eval-captions 0/],
      ["--metric-for-best-model exact_match --eval-captions 0", /exact_match with --eval-captions 0/],
    ] as const
  ) await rejects(plan(flags), { name: "UserError", message });
});

Deno.test("training stops when a metric no longer rises, and keeps the best by it", async () => {
  const values = [1, 5, 4, 5.05, 3, 9];
  let evaluations = -1;
  const saved: number[] = [];
  const outcome = await train({
    engine: fakeEngine(),
    settings: {
      ...SETTINGS,
      epochs: 50,
      saveSteps: 1000,
      bestMetric: { name: "eval_cider_d", greaterIsBetter: true, threshold: 0.1 },
    },
    train: fakeRows(20),
    validation: fakeRows(2),
    captionedRows: [1],
    generateCaptions: (rows) => Promise.resolve(rows.map((row) => `${row}`)),
    scoreSamples: (samples) => {
      deepStrictEqual(samples.map(({ row, caption }) => [row, caption]), [[1, "1"]]);
      return Promise.resolve({ cider_d: values[++evaluations]! });
    },
    saveCheckpoint({ state }) {
      saved.push(state.step);
      return Promise.resolve();
    },
  });
  strictEqual(outcome.ended, "early stopping");
  strictEqual(outcome.state.step, 15);
  // The fourth evaluation is the best, though by less than the threshold.
  deepStrictEqual(outcome.state.best, { step: 12, value: 5.05 });
  deepStrictEqual(saved, [3, 6, 12, 15]);
  deepStrictEqual(
    outcome.state.log.filter((entry) => "eval_cider_d" in entry).map((entry) => entry["eval_cider_d"]),
    values.slice(0, 5),
  );
});
