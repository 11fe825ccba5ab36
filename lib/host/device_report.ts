/**
 * What there is to know about the graphics device: adapter, driver, limits, features and a measured matmul rate.
 *
 * @module
 */

import { encodeBf16 } from "../base/half.ts";
import { Rng } from "../base/rng.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, tensorFrom } from "../gpu/tensor.ts";
import { matmul } from "../ops/matmul.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";
import { formatBytes, formatTable } from "./terminal.ts";

/** Rate of one product. */
export interface MatmulRate {
  /** Type of the weights. */
  weights: "f32" | "bf16";
  /** Best of several dispatches, each timed on the device. */
  gflops: number;
}

/** A device, ready to be printed or written as JSON. */
export interface DeviceReport {
  vendor: string;
  architecture: string;
  device: string;
  /** The driver's own words, with its version where it tells. */
  description: string;
  /** True for drivers that compute on the processor. */
  software: boolean;
  /** Lanes of a subgroup when fixed and granted, else 0. */
  subgroupSize: number;
  /** Those of the adapter's limits that decide what fits and which kernels run. */
  limits: Record<string, number>;
  /** Everything the adapter lists, and `subgroups` where it is granted without being listed. */
  features: string[];
  /** Rates of {@linkcode MATMUL_SHAPE}. */
  matmul: MatmulRate[];
  runtime: { deno: string; os: string; arch: string; cores: number };
}

/** Forward product of an MLP in SmolLM-135M: 4 captions of 226 tokens, [M, K] by [N, K] transposed. */
export const MATMUL_SHAPE = { M: 904, N: 1536, K: 576 } as const;

const LIMITS = [
  "maxStorageBufferBindingSize",
  "maxBufferSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupsPerDimension",
  "minStorageBufferOffsetAlignment",
] as const;
const REPEATS = 12;

/**
 * Opens the device, measures it and closes it again; takes a second or two.
 *
 * @throws {NoAdapterError} when there is no adapter
 */
export async function reportDevice(): Promise<DeviceReport> {
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  try {
    const features = new Set<string>(adapter?.features ?? []);
    if (gpu.subgroupSize > 0) features.add("subgroups");
    return {
      ...gpu.info,
      software: gpu.software,
      subgroupSize: gpu.subgroupSize,
      limits: Object.fromEntries(
        LIMITS.map((name) => [name, adapter?.limits[name] ?? gpu.device.limits[name]]),
      ),
      features: [...features].sort(),
      matmul: [await measureRate(gpu, "f32"), await measureRate(gpu, "bf16")],
      runtime: {
        deno: Deno.version.deno,
        os: Deno.build.os,
        arch: Deno.build.arch,
        cores: navigator.hardwareConcurrency,
      },
    };
  } finally {
    gpu.destroy();
  }
}

async function measureRate(gpu: Gpu, weights: "f32" | "bf16"): Promise<MatmulRate> {
  const { M, N, K } = MATMUL_SHAPE;
  const rng = new Rng(1);
  const values = (count: number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: count }, () => rng.next() - 0.5);
  const a = tensorFrom(gpu, values(M * K), { shape: [M, K] });
  const b = weights === "f32"
    ? tensorFrom(gpu, values(N * K), { shape: [N, K] })
    : tensorFrom(gpu, encodeBf16(values(N * K)), { shape: [N, K], dtype: "bf16" });
  const out = createTensor(gpu, [M, N]);
  const recorder = new Recorder(gpu);
  for (let i = 0; i < REPEATS; i++) matmul(recorder, "NT", a, b, { out, label: `repeat ${i}` });
  const plan = await recorder.compile();
  plan.run(); // compiles and warms up
  const timings = await plan.profile();
  gpu.check();
  plan.destroy({ arena: true });
  for (const tensor of [a, b, out]) destroyTensor(tensor);
  return {
    weights,
    gflops: 2 * M * N * K / Math.min(...timings.map(({ milliseconds }) => milliseconds)) / 1e6,
  };
}

/** A report for people. */
export function formatDeviceReport(report: DeviceReport): string {
  const { M, N, K } = MATMUL_SHAPE;
  const { runtime, limits } = report;
  const lanes = report.subgroupSize === 0 ? "size not fixed, or not granted" : `${report.subgroupSize} lanes`;
  const isSize = (name: string): boolean => /BufferBindingSize|BufferSize|StorageSize/.test(name);
  const rows = [
    ["adapter", report.description || report.device || report.vendor],
    ["vendor", [report.vendor, report.architecture, report.device].filter((text) => text !== "").join(" ")],
    ["kind", report.software ? `software, on ${runtime.cores} processor cores` : "hardware"],
    ["subgroups", lanes],
    ["runtime", `Deno ${runtime.deno}, ${runtime.os} ${runtime.arch}`],
    ...Object.entries(limits).map(([name, value]) => [
      name,
      isSize(name) ? `${value} (${formatBytes(value)})` : String(value),
    ]),
    ...wrap(report.features, 84).map((line, i) => [i === 0 ? "features" : "", line]),
    ...report.matmul.map(({ weights, gflops }) => [`matmul, ${weights}`, `${gflops.toFixed(1)} GFLOP/s`]),
  ];
  return `${formatTable(rows)}

The rate is that of ${M} x ${N} x ${K}, the forward product of an MLP of SmolLM-135M at 4 captions of 226 tokens, with f32 and
with bf16 weights: the best of ${REPEATS} dispatches. A training step is mostly such products, so its speed follows this rate.`;
}

/** Words in lines of at most `width` characters, separated by commas. */
function wrap(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line === undefined || line.length + word.length + 2 > width) lines.push(word);
    else lines[lines.length - 1] = `${line}, ${word}`;
  }
  return lines;
}
