/**
 * A recorded computation, compiled: pipelines, bind groups and workgroup counts, replayed without allocating.
 *
 * @module
 */

import type { Arena } from "./arena.ts";
import { awaitDevice, DeviceError, type Gpu } from "./device.ts";
import type { Step } from "./recorder.ts";
import { alignBytes, bufferOf, type Tensor } from "./tensor.ts";

type Command =
  | { kind: "dispatch"; step: Step & { kind: "dispatch" }; pipeline: GPUComputePipeline; group: GPUBindGroup }
  | Exclude<Step, { kind: "dispatch" }>;

/** Time of all dispatches with one label. */
export interface OpTiming {
  label: string;
  count: number;
  milliseconds: number;
  /** Floating-point operations of the label's dispatches together. */
  flops: number;
}

/** Commands ready to be replayed. */
export class Plan {
  readonly #gpu: Gpu;
  readonly #commands: Command[];
  readonly #uniforms: GPUBuffer | undefined;
  readonly #arena: Arena;

  private constructor(gpu: Gpu, commands: Command[], uniforms: GPUBuffer | undefined, arena: Arena) {
    this.#gpu = gpu;
    this.#commands = commands;
    this.#uniforms = uniforms;
    this.#arena = arena;
  }

  /** Compiles recorded steps whose tensors all have memory. @throws {DeviceError} naming the kernel that failed */
  static async create(gpu: Gpu, steps: readonly Step[], arena: Arena): Promise<Plan> {
    const { device } = gpu;
    const { blocks, places, sizeBytes } = layOutParameters(gpu, steps);
    const uniforms = sizeBytes === 0
      ? undefined
      : device.createBuffer({ size: sizeBytes, usage: 0x40 | 0x8, mappedAtCreation: true });
    if (uniforms !== undefined) {
      const target = new Uint8Array(uniforms.getMappedRange());
      for (const { offset, params } of blocks) target.set(new Uint8Array(params), offset);
      uniforms.unmap();
    }
    const commands: Command[] = [];
    // Every dispatch has an error scope, so that a fault is named; they are waited for together, as each may cost a trip to the
    // GPU's process.
    const outcomes: { step: Step & { kind: "dispatch" }; error: Promise<GPUError | null> }[] = [];
    try {
      for (const [i, step] of steps.entries()) {
        if (step.kind !== "dispatch") {
          commands.push(step);
          continue;
        }
        device.pushErrorScope("validation");
        try {
          const pipeline = step.kernel.pipeline(gpu, step.entry, step.overrides);
          const entries: GPUBindGroupEntry[] = Object.entries(step.bind).map(([name, tensor]) => ({
            binding: step.kernel.bindings.get(name)!,
            resource: bindingOf(tensor),
          }));
          if (step.params !== undefined) {
            const resource = { buffer: uniforms!, offset: places[i]!, size: step.params.byteLength };
            entries.push({ binding: step.kernel.bindings.get(step.kernel.uniform!)!, resource });
          }
          const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
          commands.push({ kind: "dispatch", step, pipeline, group });
        } finally {
          outcomes.push({ step, error: device.popErrorScope() });
        }
      }
      await awaitDevice(gpu, "compile a plan", async () => {
        const errors = await Promise.all(outcomes.map(({ error }) => error));
        const bad = errors.findIndex((error) => error !== null);
        if (bad >= 0) throw await compileError(gpu, outcomes[bad]!.step, errors[bad]!);
      });
    } catch (error) {
      uniforms?.destroy();
      throw error;
    }
    return new Plan(gpu, commands, uniforms, arena);
  }

  /** Number of dispatches. */
  get dispatchCount(): number {
    return this.#commands.filter((command) => command.kind === "dispatch").length;
  }

  /** Floating-point operations of one run, as the ops declared them. */
  get flops(): number {
    return this.#commands.reduce(
      (sum, command) => sum + (command.kind === "dispatch" ? command.step.flops : 0),
      0,
    );
  }

  /**
   * The dispatches that `keep` picks and nothing else, as a plan on the same memory: what they take without the rest. It is
   * freed with this one.
   */
  select(keep: (dispatch: { label: string; kernel: string }) => boolean): Plan {
    const commands = this.#commands.filter((command) =>
      command.kind === "dispatch" && keep({ label: command.step.label, kernel: command.step.kernel.name })
    );
    return new Plan(this.#gpu, commands, undefined, this.#arena);
  }

  /** Submits every command once. Does not wait; errors surface at the next {@linkcode Gpu.check}. */
  run(): void {
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder();
    let pass: GPUComputePassEncoder | undefined;
    let current: GPUComputePipeline | undefined;
    for (const command of this.#commands) {
      if (command.kind === "dispatch") {
        pass ??= encoder.beginComputePass();
        if (command.pipeline !== current) pass.setPipeline(command.pipeline);
        current = command.pipeline;
        pass.setBindGroup(0, command.group);
        pass.dispatchWorkgroups(...command.step.workgroups);
      } else {
        pass?.end();
        pass = current = undefined;
        encodeTransfer(encoder, command);
      }
    }
    pass?.end();
    device.queue.submit([encoder.finish()]);
  }

  /**
   * Runs once with every dispatch in a pass of its own between two timestamps, and sums the time by label, longest first.
   * Without timestamp queries each dispatch is submitted and awaited alone, which adds the cost of a submission.
   */
  async profile(): Promise<OpTiming[]> {
    const totals = new Map<string, OpTiming>();
    const add = (step: Step & { kind: "dispatch" }, milliseconds: number): void => {
      const total = totals.get(step.label) ?? { label: step.label, count: 0, milliseconds: 0, flops: 0 };
      total.count += 1;
      total.milliseconds += milliseconds;
      total.flops += step.flops;
      totals.set(step.label, total);
    };
    const chunk = 2048; // a query set holds at most 4096 timestamps
    for (let start = 0; start < this.#commands.length; start += chunk) {
      const commands = this.#commands.slice(start, start + chunk);
      if (this.#gpu.timestamps) await this.#timeWithQueries(commands, add);
      else await this.#timeOneByOne(commands, add);
    }
    return [...totals.values()].sort((a, b) => b.milliseconds - a.milliseconds);
  }

  async #timeWithQueries(
    commands: Command[],
    add: (step: Step & { kind: "dispatch" }, ms: number) => void,
  ): Promise<void> {
    const { device } = this.#gpu;
    const dispatches = commands.filter((command) => command.kind === "dispatch");
    if (dispatches.length === 0) return this.#replay(commands);
    const count = dispatches.length * 2;
    const querySet = device.createQuerySet({ type: "timestamp", count });
    const resolved = device.createBuffer({ size: count * 8, usage: 0x200 | 0x4 }); // QUERY_RESOLVE | COPY_SRC
    const staging = device.createBuffer({ size: count * 8, usage: 0x1 | 0x8 });
    const encoder = device.createCommandEncoder();
    let query = 0;
    for (const command of commands) {
      if (command.kind === "dispatch") {
        const timestampWrites = {
          querySet,
          beginningOfPassWriteIndex: query++,
          endOfPassWriteIndex: query++,
        };
        encodeDispatch(encoder.beginComputePass({ timestampWrites }), command);
      } else encodeTransfer(encoder, command);
    }
    encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, count * 8);
    device.queue.submit([encoder.finish()]);
    try {
      await awaitDevice(this.#gpu, "time a plan", () => staging.mapAsync(1));
      const times = new BigUint64Array(staging.getMappedRange().slice(0));
      for (const [i, { step }] of dispatches.entries()) {
        add(step, Number(times[i * 2 + 1]! - times[i * 2]!) / 1e6);
      }
    } finally {
      for (const resource of [querySet, resolved, staging]) resource.destroy();
    }
  }

  async #timeOneByOne(
    commands: Command[],
    add: (step: Step & { kind: "dispatch" }, ms: number) => void,
  ): Promise<void> {
    for (const command of commands) {
      const start = performance.now();
      this.#replay([command]);
      await this.#gpu.device.queue.onSubmittedWorkDone();
      if (command.kind === "dispatch") add(command.step, performance.now() - start);
    }
  }

  #replay(commands: Command[]): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    for (const command of commands) {
      if (command.kind === "dispatch") encodeDispatch(encoder.beginComputePass(), command);
      else encodeTransfer(encoder, command);
    }
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Bytes of the parameters of all dispatches; the rest of a plan's memory is its arena's. */
  get parameterBytes(): number {
    return this.#uniforms?.size ?? 0;
  }

  /** Frees the parameters; the arena is freed by whoever made it, or with `{ arena: true }` here. */
  destroy(options: { arena?: boolean } = {}): void {
    this.#uniforms?.destroy();
    if (options.arena) this.#arena.destroy();
  }
}

/** One uniform buffer for the parameters of all dispatches: its distinct blocks, and where each step's lies. */
export function layOutParameters(gpu: Gpu, steps: readonly Step[]): {
  blocks: { offset: number; params: ArrayBuffer }[];
  places: number[];
  sizeBytes: number;
} {
  const stride = gpu.device.limits.minUniformBufferOffsetAlignment;
  const offsets = new Map<string, number>();
  const blocks: { offset: number; params: ArrayBuffer }[] = [];
  let sizeBytes = 0;
  const places = steps.map((step) => {
    if (step.kind !== "dispatch" || step.params === undefined) return 0;
    const { params } = step;
    const key = new Uint32Array(params).join();
    let offset = offsets.get(key);
    if (offset === undefined) {
      offset = sizeBytes;
      offsets.set(key, offset);
      blocks.push({ offset, params });
      sizeBytes += Math.ceil(params.byteLength / stride) * stride;
    }
    return offset;
  });
  return { blocks, places, sizeBytes };
}

/** Names the kernel, with the compiler's messages. */
async function compileError(
  gpu: Gpu,
  step: Step & { kind: "dispatch" },
  error: GPUError,
): Promise<DeviceError> {
  const module = gpu.modules.get(step.kernel.code);
  const messages = (await module?.getCompilationInfo())?.messages.map((m) => `${m.lineNum}: ${m.message}`) ??
    [];
  return new DeviceError(
    `Cannot compile ${step.label} (${step.kernel.name}.wgsl): ${error.message} ${messages.join("; ")}`
      .trimEnd(),
  );
}

function bindingOf(tensor: Tensor): GPUBufferBinding {
  const buffer = bufferOf(tensor);
  // Kernels see vec4 arrays, whose length counts whole vectors: the padding of the last one belongs to the window.
  const size = Math.min(alignBytes(tensor.sizeBytes), buffer.size - tensor.offsetBytes);
  return { buffer, offset: tensor.offsetBytes, size };
}

function encodeDispatch(pass: GPUComputePassEncoder, command: Command & { kind: "dispatch" }): void {
  pass.setPipeline(command.pipeline);
  pass.setBindGroup(0, command.group);
  pass.dispatchWorkgroups(...command.step.workgroups);
  pass.end();
}

function encodeTransfer(encoder: GPUCommandEncoder, command: Exclude<Step, { kind: "dispatch" }>): void {
  if (command.kind === "copy") {
    const { from, to } = command;
    encoder.copyBufferToBuffer(
      bufferOf(from),
      from.offsetBytes,
      bufferOf(to),
      to.offsetBytes,
      from.sizeBytes,
    );
  } else {
    encoder.clearBuffer(bufferOf(command.tensor), command.tensor.offsetBytes, command.tensor.sizeBytes);
  }
}
