/**
 * The training loop. Everything it touches is given to it: the engine, the data, where checkpoints go.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { BEST_LOSS, compareEvaluation } from "./best_metric.ts";
import type { StepStats } from "./engine_types.ts";
import { type CaptionSample, evaluate } from "./evaluation.ts";
import { MicroBatches, orderOf } from "./rows.ts";
import { learningRatesAt } from "./schedule.ts";
import type { SampleStats } from "./self_critical.ts";
import { checkpointName, type LogEntry, type StopReason, type TrainerState } from "./trainer_state.ts";
import type { TrainOptions, TrainOutcome, TrainSettings } from "./trainer_types.ts";

/** Most steps whose statistics wait on the GPU. */
const MAX_UNREAD_STEPS = 10;
/** Reading waits about 10 ms for the GPU: once in this time it costs little and progress still moves. */
const READ_INTERVAL_MS = 500;

/** Optimizer steps of a whole training. */
export function countSteps(
  settings: Pick<TrainSettings, "epochs" | "maxSteps" | "gradientAccumulationSteps">,
  batchesPerEpoch: number,
): number {
  return settings.maxSteps ??
    Math.max(1, Math.ceil(settings.epochs * batchesPerEpoch / settings.gradientAccumulationSteps));
}

/**
 * Trains until the steps are done, no evaluation is better any more, or the signal comes. The same settings, data and
 * adapter give the same bytes, however often it was interrupted and continued.
 *
 * @throws {UserError} If there are no rows, a loss or gradient is NaN or infinite (naming step and tensor; checkpoints stay as
 * they are), or `resume` comes from other settings or data
 */
export async function train(options: TrainOptions): Promise<TrainOutcome> {
  return await new Training(options).run();
}

class Training {
  readonly #options: TrainOptions;
  readonly #batches: MicroBatches;
  readonly #batchesPerEpoch: number;
  readonly #log: LogEntry[];
  #state: TrainerState;
  #imagesSeen = 0;
  #savedStep: number | undefined;
  /** Whether something happened since the last checkpoint. */
  #isUnsaved = false;
  #readStep: number;
  #readMs = performance.now();
  #unreadLimit = 1;
  /** Of steps whose statistics wait on the GPU. */
  readonly #samples = new Map<number, SampleStats[]>();

  constructor(options: TrainOptions) {
    const { engine, settings, train: data, resume } = options;
    if (data.rowCount === 0) {
      throw new UserError("Cannot train on an empty data set: no row is left in its train split");
    }
    this.#options = options;
    const order = orderOf(data, { batchSize: engine.batchSize, seed: settings.seed });
    this.#batches = new MicroBatches(data, { order, length: engine.textLength });
    this.#batchesPerEpoch = order.batchesPerEpoch;
    const maxSteps = countSteps(settings, order.batchesPerEpoch);
    this.#log = [...resume?.state.log ?? []];
    this.#state = resume?.state ?? {
      step: 0,
      maxSteps,
      epochs: settings.maxSteps === undefined ? settings.epochs : this.#epochAt(maxSteps),
      position: { epoch: 0, batch: 0 },
      seedStep: 0,
      seed: settings.seed,
      best: undefined,
      worseEvaluations: 0,
      stopped: undefined,
      fingerprint: settings.fingerprint,
      log: [],
    };
    this.#readStep = this.#state.step;
    if (resume === undefined) return;
    if (resume.state.fingerprint !== settings.fingerprint || resume.state.maxSteps !== maxSteps) {
      throw new UserError(
        `Cannot continue from ${
          checkpointName(resume.state.step)
        }: it was made with other settings or data; ` +
          `start a new run, or use the same`,
      );
    }
    this.#savedStep = resume.state.step;
    engine.writeState(resume.engine);
    this.#batches.seek(this.#state.seedStep);
  }

  async run(): Promise<TrainOutcome> {
    const { signal } = this.#options;
    while (this.#state.stopped === undefined) {
      if (signal?.aborted) return await this.#interrupt();
      if (this.#isEvaluationDue()) {
        await this.#readStats();
        if (!await this.#evaluate()) return await this.#interrupt();
        continue;
      }
      const isLast = this.#state.step === this.#state.maxSteps;
      if (isLast || this.#isDue(this.#options.settings.saveSteps)) {
        await this.#save(isLast ? "completed" : undefined);
      }
      if (!isLast) await this.#step();
    }
    return { state: this.#state, ended: this.#state.stopped };
  }

  async #step(): Promise<void> {
    const { engine, settings, selfCritical } = this.#options;
    const step = this.#state.step + 1;
    let seedStep = this.#state.seedStep;
    const samples: SampleStats[] = [];
    for (let micro = 0; micro < settings.gradientAccumulationSteps; micro++) {
      const batch = await this.#batches.next();
      if (selfCritical) {
        try {
          samples.push(await selfCritical.step(engine, batch, { seedStep }));
        } catch (error) {
          // A step before may have been bad: what that did is the reason.
          await this.#readStats();
          throw error;
        }
      }
      engine.microStep(batch, { seedStep: seedStep++ });
      this.#imagesSeen += batch.size;
    }
    if (selfCritical) this.#samples.set(step, samples);
    engine.optimizerStep({ step, learningRates: this.#ratesAt(step) });
    this.#isUnsaved = true;
    this.#state = { ...this.#state, step, seedStep, position: this.#batches.positionOf(seedStep) };
    if (step - this.#readStep >= this.#unreadLimit) await this.#readStats();
  }

  /** Fetches the statistics of the steps since the last time; afterwards every step so far is known to be sound. */
  async #readStats(): Promise<void> {
    const { step } = this.#state;
    if (this.#readStep === step) return;
    const stats = await this.#options.engine.readStats();
    const now = performance.now();
    const stepMs = (now - this.#readMs) / (step - this.#readStep);
    this.#unreadLimit = Math.min(MAX_UNREAD_STEPS, Math.max(1, Math.round(READ_INTERVAL_MS / stepMs)));
    this.#readMs = now;
    for (const { step: done, loss, gradNorm, finite } of stats) {
      if (done !== ++this.#readStep) {
        throw new Error(
          `Cannot follow the training: the engine told of step ${done}, expected ${this.#readStep}`,
        );
      }
      if (!finite) throw await this.#explainNonFinite({ step: done, loss, gradNorm, finite });
      const samples = this.#samples.get(done);
      this.#samples.delete(done);
      this.#record({
        step: done,
        epoch: this.#epochAt(done),
        loss,
        grad_norm: gradNorm,
        learning_rate: this.#ratesAt(done).projection,
        ...(samples && this.#options.selfCritical!.describe(samples, loss)),
      });
    }
    if (this.#readStep !== step) {
      throw new Error(
        `Cannot follow the training: step ${step} was done, the engine told of ${this.#readStep}`,
      );
    }
    this.#options.onProgress?.({ state: this.#state, imagesSeen: this.#imagesSeen });
  }

  /** The steps after a bad one changed nothing, so its gradients can be made again to see where they break first. */
  async #explainNonFinite({ step, loss, gradNorm }: StepStats): Promise<UserError> {
    const { engine, settings, selfCritical } = this.#options;
    let tensor = await engine.findBadGradient();
    const { gradientAccumulationSteps } = settings;
    for (let micro = 0; tensor === undefined && micro < gradientAccumulationSteps; micro++) {
      const seedStep = (step - 1) * gradientAccumulationSteps + micro;
      const batch = await this.#batches.at(seedStep);
      await selfCritical?.step(engine, batch, { seedStep });
      engine.microStep(batch, { seedStep });
      tensor = await engine.findBadGradient();
    }
    const what = Number.isFinite(loss) ? `the norm of the gradients is ${gradNorm}` : `the loss is ${loss}`;
    const where = tensor === undefined ? "" : `, first seen in the gradient of "${tensor}"`;
    const kept = this.#savedStep === undefined
      ? "nothing was saved yet"
      : `${checkpointName(this.#savedStep)} is intact`;
    const { projection, lora } = settings.peakLearningRates;
    return new UserError(
      `Cannot train on: at step ${step} ${what}${where}; ${kept}; ` +
        `use lower learning rates (--projection-lr ${projection}, --lora-lr ${lora}) or more --warmup-steps`,
    );
  }

  #isDue(interval: number): boolean {
    return this.#isUnsaved && this.#state.step % interval === 0;
  }

  /** Also after a resume from a checkpoint that an interrupt saved before the evaluation of its step. */
  #isEvaluationDue(): boolean {
    const { validation, settings } = this.#options;
    const { step, maxSteps } = this.#state;
    if (validation === undefined || step === 0) return false;
    if (step % settings.evalSteps !== 0 && step !== maxSteps) return false;
    return !this.#log.some((entry) => entry.step === step && "eval_loss" in entry);
  }

  /** `false` when the signal ended it: nothing of it counts. */
  async #evaluate(): Promise<boolean> {
    const { engine, validation, settings, signal } = this.#options;
    const { generateCaptions, captionedRows, scoreSamples } = this.#options;
    const { step } = this.#state;
    let found;
    try {
      found = await evaluate(engine, validation!, {
        ...(generateCaptions && { generateCaptions }),
        ...(captionedRows && { captionedRows }),
        ...(scoreSamples && { scoreSamples }),
        ...(signal && { signal }),
      });
    } catch (error) {
      if (signal?.aborted) return false;
      throw error;
    }
    const evaluation = { step, metrics: found.metrics };
    // A loss that is not a number is the reason, whatever evaluations are compared by.
    if (!Number.isFinite(found.metrics.eval_loss)) compareEvaluation(evaluation, undefined, BEST_LOSS);
    const { best, isBest, isProgress } = compareEvaluation(
      evaluation,
      this.#state.best,
      settings.bestMetric ?? BEST_LOSS,
    );
    const worseEvaluations = isProgress ? 0 : this.#state.worseEvaluations + 1;
    this.#state = { ...this.#state, best, worseEvaluations };
    this.#record({ step, epoch: this.#epochAt(step), ...found.metrics }, found.samples);
    const patience = settings.earlyStoppingPatience;
    const isEnough = patience > 0 && worseEvaluations >= patience && step < this.#state.maxSteps;
    if (isEnough || isBest && step < this.#state.maxSteps) {
      await this.#save(isEnough ? "early stopping" : undefined);
    }
    this.#readMs = performance.now();
    return true;
  }

  async #save(stopped: StopReason | undefined): Promise<void> {
    await this.#readStats();
    this.#state = { ...this.#state, stopped, log: [...this.#log] };
    await this.#options.saveCheckpoint({
      state: this.#state,
      engine: await this.#options.engine.readState(),
    });
    this.#savedStep = this.#state.step;
    this.#isUnsaved = false;
    this.#readMs = performance.now();
  }

  async #interrupt(): Promise<TrainOutcome> {
    if (this.#isUnsaved) await this.#save(undefined);
    return { state: this.#state, ended: "interrupted" };
  }

  #record(entry: LogEntry, samples?: readonly CaptionSample[]): void {
    this.#log.push(entry);
    this.#isUnsaved = true;
    this.#options.onLog?.(entry, samples);
  }

  #ratesAt(step: number): ReturnType<typeof learningRatesAt> {
    const { warmupSteps, peakLearningRates: peaks } = this.#options.settings;
    return learningRatesAt(step, { warmupSteps, totalSteps: this.#state.maxSteps, peaks });
  }

  #epochAt(step: number): number {
    return step * this.#options.settings.gradientAccumulationSteps / this.#batchesPerEpoch;
  }
}
