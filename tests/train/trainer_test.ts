import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import type { CaptionerFolderConfig } from "../../lib/models/captioner_config.ts";
import { encodeCheckpoint, readCheckpoint } from "../../lib/train/checkpoint.ts";
import { train } from "../../lib/train/trainer.ts";
import type { TrainingCheckpoint, TrainOptions } from "../../lib/train/trainer_types.ts";
import { A, fakeEngine, fakeRows, SETTINGS } from "./fake_engine.ts";

const CONFIG: CaptionerFolderConfig = {
  encoder: { reference: "encoder" },
  decoder: { reference: "decoder" },
  projection: { type: "linear" },
  lora: { rank: 1, alpha: 1, dropout: 0.1, targetModules: ["q_proj"] },
  unfrozenVisionLayers: 0,
  maxLength: 5,
  appendEos: true,
};
const STATE_SETTINGS = { evalSteps: 3, saveSteps: 4, batchSize: 3, earlyStoppingPatience: 3 };

/** Checkpoints as the bytes of their files, by step. */
class Saved {
  readonly byStep = new Map<number, Map<string, Uint8Array>>();
  readonly last: { checkpoint?: TrainingCheckpoint } = {};

  save = (checkpoint: TrainingCheckpoint): Promise<void> => {
    const files = encodeCheckpoint(checkpoint, {
      config: CONFIG,
      copies: new Map(),
      settings: STATE_SETTINGS,
    });
    const bytes = [...files].map(([path, content]) =>
      [path, typeof content === "string" ? new TextEncoder().encode(content) : content] as const
    );
    this.byStep.set(checkpoint.state.step, new Map(bytes));
    this.last.checkpoint = checkpoint;
    return Promise.resolve();
  };

  async read(step: number): Promise<TrainingCheckpoint> {
    return await readCheckpoint(memoryFolder(`checkpoint-${step}`, this.byStep.get(step)!));
  }
}

function options(saved: Saved, changes: Partial<TrainOptions> = {}): TrainOptions {
  return {
    engine: fakeEngine(),
    settings: SETTINGS,
    train: fakeRows(20),
    validation: fakeRows(7),
    generateCaptions: (rows) => Promise.resolve(rows.map((row) => `A caption of ${row}.`)),
    captionedRows: [0, 4, 5, 6],
    saveCheckpoint: saved.save,
    ...changes,
  };
}

Deno.test("training lowers the loss, logs every step and saves at its intervals", async () => {
  const saved = new Saved();
  const outcome = await train(options(saved));
  // 20 rows in batches of 3 are 7 an epoch; 4 epochs in pairs are 14 steps.
  strictEqual(outcome.ended, "completed");
  strictEqual(outcome.state.step, 14);
  const steps = outcome.state.log.filter((entry) => "loss" in entry);
  deepStrictEqual(steps.map(({ step }) => step), Array.from({ length: 14 }, (_, i) => i + 1));
  ok(steps.at(-1)!["loss"]! < steps[0]!["loss"]!);
  const evaluations = outcome.state.log.filter((entry) => "eval_loss" in entry);
  deepStrictEqual(evaluations.map(({ step }) => step), [3, 6, 9, 12, 14]);
  strictEqual(evaluations[0]!["eval_exact_match"], 1);
  strictEqual(evaluations[0]!["eval_rougeL"], 1);
  for (const step of [4, 8, 12, 14]) ok(saved.byStep.has(step), `checkpoint-${step}`);
  strictEqual(outcome.state.best!.value, Math.min(...evaluations.map((entry) => entry["eval_loss"]!)));
  ok(saved.byStep.has(outcome.state.best!.step), "the best evaluation has a checkpoint");
});

for (const interruptAt of [1, 2, 3, 5, 6, 8, 12, 13, 14]) {
  Deno.test(`a run interrupted at step ${interruptAt} and continued gives the bytes of one that never stopped`, async () => {
    const whole = new Saved();
    await train(options(whole));

    const parts = new Saved();
    const stop = new AbortController();
    const engine = fakeEngine();
    const { optimizerStep } = engine;
    engine.optimizerStep = (step) => {
      optimizerStep(step);
      if (step.step === interruptAt) stop.abort();
    };
    const first = await train(options(parts, { engine, signal: stop.signal }));
    strictEqual(first.ended, "interrupted");
    strictEqual(first.state.step, interruptAt);

    const resume = await parts.read(interruptAt);
    const second = await train(options(parts, { resume }));
    strictEqual(second.ended, "completed");
    for (const [step, files] of whole.byStep) {
      deepStrictEqual(parts.byStep.get(step), files, `checkpoint-${step}`);
    }
  });
}

Deno.test("a run interrupted during an evaluation evaluates that step when continued", async () => {
  const whole = new Saved();
  await train(options(whole));
  const parts = new Saved();
  const stop = new AbortController();
  const generateCaptions = (rows: readonly number[]) => {
    stop.abort();
    return Promise.resolve(rows.map(() => "x"));
  };
  const first = await train(options(parts, { signal: stop.signal, generateCaptions }));
  strictEqual(first.ended, "interrupted");
  strictEqual(first.state.step, 3);
  ok(!first.state.log.some((entry) => "eval_loss" in entry));
  await train(options(parts, { resume: await parts.read(3) }));
  for (const [step, files] of whole.byStep) {
    deepStrictEqual(parts.byStep.get(step), files, `checkpoint-${step}`);
  }
});

Deno.test("a finished run that is continued does nothing more", async () => {
  const saved = new Saved();
  await train(options(saved));
  const engine = fakeEngine();
  const outcome = await train(options(new Saved(), { engine, resume: await saved.read(14) }));
  strictEqual(outcome.ended, "completed");
  strictEqual(engine.microSteps, 0);
});

Deno.test("a checkpoint of other settings or data is refused", async () => {
  const saved = new Saved();
  await train(options(saved));
  const resume = await saved.read(4);
  await rejects(
    train(options(saved, { resume, settings: { ...SETTINGS, fingerprint: "other" } })),
    { name: "UserError", message: /checkpoint-4.*other settings or data/ },
  );
});

Deno.test("a gradient that becomes NaN stops at its step, names the tensor, and leaves the checkpoints", async () => {
  const saved = new Saved();
  await rejects(train(options(saved, { engine: fakeEngine({ nanAt: 6 }) })), (error: Error) => {
    strictEqual(error.name, "UserError");
    ok(error.message.includes("at step 6 the norm of the gradients is NaN"), error.message);
    ok(error.message.includes(`"${A}"`), error.message);
    ok(error.message.includes("checkpoint-4 is intact"), error.message);
    return true;
  });
  deepStrictEqual([...saved.byStep.keys()], [3, 4]);
  // What was saved continues to a sound end.
  strictEqual((await train(options(saved, { resume: await saved.read(4) }))).ended, "completed");
});

Deno.test("a learning rate that is far too high stops with the step and what to do", async () => {
  const settings = { ...SETTINGS, warmupSteps: 0, peakLearningRates: { projection: 1e200, lora: 1e200 } };
  await rejects(train(options(new Saved(), { settings })), {
    name: "UserError",
    message:
      /at step 2 the loss is (NaN|Infinity).*gradient of ".+"; nothing was saved yet; use lower learning rates/,
  });
});

Deno.test("training stops early when the validation loss no longer falls, and the best checkpoint is kept", async () => {
  const saved = new Saved();
  const engine = fakeEngine();
  const losses = [5, 3, 4, 4.5, 3.5, 2];
  let evaluations = -1;
  const validation = fakeRows(1);
  engine.evaluateLoss = () => Promise.resolve({ loss: losses[++evaluations]!, tokens: 1 });
  const settings = { ...SETTINGS, epochs: 50 };
  const outcome = await train(options(saved, { engine, validation, captionedRows: [], settings }));
  strictEqual(outcome.ended, "early stopping");
  strictEqual(outcome.state.step, 15);
  deepStrictEqual(outcome.state.best, { step: 6, value: 3 });
  ok(saved.byStep.has(6));
  // A stopped run stays stopped.
  const resume = await saved.read(15);
  strictEqual((await train(options(saved, { resume, validation, settings }))).ended, "early stopping");
});

Deno.test("an empty data set is refused", async () => {
  await rejects(train(options(new Saved(), { train: fakeRows(0) })), {
    name: "UserError",
    message: /empty data set/,
  });
});

Deno.test("an error while saving ends the training with it", async () => {
  const saveCheckpoint = () => Promise.reject(new Error("the disk is full"));
  await rejects(train(options(new Saved(), { saveCheckpoint })), /the disk is full/);
});

Deno.test("an image that cannot be loaded ends the training with its reason", async () => {
  const rows = fakeRows(20);
  const loadInputs = (indices: readonly number[]) =>
    indices.includes(11) ? Promise.reject(new Error("bad image 11")) : rows.loadInputs(indices);
  await rejects(train(options(new Saved(), { train: { ...rows, loadInputs } })), /bad image 11/);
});

Deno.test("without validation rows the training runs to its end", async () => {
  const { validation: _, ...rest } = options(new Saved());
  const outcome = await train(rest);
  strictEqual(outcome.ended, "completed");
  strictEqual(outcome.state.best, undefined);
});
