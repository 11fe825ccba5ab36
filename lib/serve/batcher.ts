/**
 * Requests gathered into batches: what arrives while the GPU is busy, or within a short wait, runs together.
 *
 * @module
 */

/** How requests are gathered. */
export interface BatcherOptions<Job, Result> {
  /** Most jobs of a batch. */
  maxBatch: number;
  /** How long the first job of a batch waits for others, in milliseconds. */
  maxWaitMs: number;
  /** Most jobs that wait; a further one is refused. */
  maxQueue: number;
  /** Jobs of one key may share a batch. */
  keyOf(job: Job): string;
  /** Runs a batch; one result a job, in order. */
  run(jobs: readonly Job[]): Promise<readonly Result[]>;
}

/** Thrown when too many jobs wait. */
export class QueueFullError extends Error {
  /** Always `"QueueFullError"`. */
  override name = "QueueFullError";
}

interface Waiting<Job, Result> {
  job: Job;
  key: string;
  promise: PromiseWithResolvers<Result>;
}

/** Runs one batch at a time; jobs leave in the order in which they came, those of one key together. */
export class Batcher<Job, Result> {
  readonly #options: BatcherOptions<Job, Result>;
  readonly #waiting: Waiting<Job, Result>[] = [];
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** @throws {RangeError} when a count is not a whole number above 0 */
  constructor(options: BatcherOptions<Job, Result>) {
    for (const [name, value] of Object.entries({ maxBatch: options.maxBatch, maxQueue: options.maxQueue })) {
      if (!Number.isInteger(value) || value < 1) {
        throw new RangeError(`Cannot gather requests: ${name} is ${value}, expected at least 1`);
      }
    }
    this.#options = options;
  }

  /** Jobs that wait. */
  get depth(): number {
    return this.#waiting.length;
  }

  /**
   * Hands a job in.
   *
   * @param signal takes the job out again while it waits
   * @throws {QueueFullError} when too many wait, or the batcher is closed
   * @throws the signal's reason when it has been aborted
   */
  submit(job: Job, signal?: AbortSignal): Promise<Result> {
    signal?.throwIfAborted();
    const { maxQueue, keyOf } = this.#options;
    if (this.#closed) throw new QueueFullError("Cannot take the request: the server is shutting down");
    if (this.#waiting.length >= maxQueue) {
      throw new QueueFullError(
        `Cannot take the request: ${maxQueue} images are waiting already; try again later`,
      );
    }
    const entry: Waiting<Job, Result> = {
      job,
      key: keyOf(job),
      promise: Promise.withResolvers<Result>(),
    };
    const leave = (): void => {
      const at = this.#waiting.indexOf(entry);
      if (at < 0) return;
      this.#waiting.splice(at, 1);
      entry.promise.reject(signal!.reason);
    };
    signal?.addEventListener("abort", leave);
    this.#waiting.push(entry);
    this.#schedule();
    // A signal may outlive the job, which it must not keep.
    return entry.promise.promise.finally(() => signal?.removeEventListener("abort", leave));
  }

  /** Takes no more jobs and waits until those that are in have been run. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#schedule();
    while (this.#running !== undefined) await this.#running;
  }

  #schedule(): void {
    if (this.#running !== undefined || this.#waiting.length === 0) return;
    const { maxBatch, maxWaitMs } = this.#options;
    const key = this.#waiting[0]!.key;
    const ready = this.#waiting.filter((entry) => entry.key === key).length;
    if (ready >= maxBatch || this.#closed || maxWaitMs === 0) return this.#start();
    this.#timer ??= setTimeout(() => this.#start(), maxWaitMs);
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#running !== undefined || this.#waiting.length === 0) return;
    const key = this.#waiting[0]!.key;
    const batch: Waiting<Job, Result>[] = [];
    for (let i = 0; i < this.#waiting.length && batch.length < this.#options.maxBatch;) {
      if (this.#waiting[i]!.key === key) batch.push(...this.#waiting.splice(i, 1));
      else i++;
    }
    this.#running = this.#run(batch).finally(() => {
      this.#running = undefined;
      this.#schedule();
    });
  }

  async #run(batch: readonly Waiting<Job, Result>[]): Promise<void> {
    try {
      const results = await this.#options.run(batch.map(({ job }) => job));
      batch.forEach(({ promise }, i) => promise.resolve(results[i]!));
    } catch (error) {
      for (const { promise } of batch) promise.reject(error);
    }
  }
}
