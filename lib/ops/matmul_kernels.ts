/**
 * The matmul kernels: which can compute a problem, which is expected to be fastest, and how each is dispatched.
 *
 * @module
 */

import plainCode from "../../kernels/matmul.wgsl" with { type: "text" };
import fewRowsCode from "../../kernels/matmul_few_rows.wgsl" with { type: "text" };
import fewRowsSubgroupCode from "../../kernels/matmul_few_rows_subgroup.wgsl" with { type: "text" };
import subgroupCode from "../../kernels/matmul_subgroup.wgsl" with { type: "text" };
import subgroupNtCode from "../../kernels/matmul_subgroup_nt.wgsl" with { type: "text" };
import tileCode from "../../kernels/matmul_tile.wgsl" with { type: "text" };
import { type Choice, tunedChoice } from "../gpu/autotune.ts";
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";

/**
 * Which operand is stored transposed: `NT` C[M,N] = A[M,K] B[N,K]ᵗ, `NN` C = A[M,K] B[K,N], `TN` C = A[K,M]ᵗ B[K,N].
 */
export type MatmulLayout = "NT" | "NN" | "TN";

/** A product as the kernels see it. */
export interface MatmulProblem {
  /** Which operand is stored transposed. */
  layout: MatmulLayout;
  /** Rows of C. */
  M: number;
  /** Columns of C. */
  N: number;
  /** Length of the sums. */
  K: number;
  /** Rank of the low-rank term, 0 without. */
  R: number;
  /** Type of B. */
  bType: "f32" | "bf16" | "f16";
  /** Elements between rows of C. */
  cStride: number;
  /** Column of C where the product starts. */
  cStart: number;
}

/** One dispatch of a problem, without the operands. */
export interface MatmulDispatch {
  /** The kernel with its constants. */
  kernel: Kernel;
  /** Its entry point. */
  entry: string;
  /** The kernel's variable for B. */
  operandB: "b" | "bPacked";
  /** Parameters that depend on the kernel. */
  params: Record<string, number>;
  /** Workgroup counts. */
  workgroups: [number, number, number];
  /** Parts of K, each a product of its own that is yet to be summed; 1 when K is whole. */
  parts: number;
}

const B_TYPES = { f32: 0, bf16: 1, f16: 2 } as const;

interface Family {
  kernel: Kernel;
  /** Whether the kernel can compute the problem on this device. */
  fits(gpu: Gpu, problem: MatmulProblem): boolean;
  /** Constants worth measuring, the expected winner first. */
  candidates(gpu: Gpu, problem: MatmulProblem): Record<string, number>[];
  params(problem: MatmulProblem): Record<string, number>;
  /** Rows and columns of C that a workgroup computes. */
  tile(problem: MatmulProblem, constants: Record<string, number>): [rows: number, columns: number];
  /** Whether rows or columns of tiles come first in the grid. */
  rowsFirst: boolean;
  /** Whether packed operands have an entry and a binding of their own. */
  splitByType?: boolean;
  /** Constants that follow from the problem. */
  fixed(problem: MatmulProblem): Record<string, number>;
}

const hasLanes = (gpu: Gpu): boolean => gpu.software && gpu.subgroupSize === 8;
const isMultiple = (n: number, of: number): boolean => n % of === 0;
const width = (problem: MatmulProblem): number => problem.bType === "f32" ? 4 : 8;

/** Tiles for GPUs, from the one with the most work per load to the one with the most workgroups. */
const TILES = [
  { BM: 128, BN: 128, BK: 8, TM: 8, TN: 8 },
  { BM: 64, BN: 64, BK: 16, TM: 8, TN: 4 },
  { BM: 32, BN: 32, BK: 16, TM: 4, TN: 4 },
];
/** Workgroups below which a smaller tile is expected to win: GPUs have tens of units to fill. */
const BUSY = 96;
/** Rows of A up to which a product is bound by reading B; measured on lavapipe, where three rows take as long either way. */
const FEW_ROWS = 2;
const hasFewRows = (problem: MatmulProblem): boolean =>
  problem.layout === "NT" && problem.M <= FEW_ROWS && isMultiple(problem.K, width(problem)) &&
  isMultiple(problem.R, 4);
/** k that a part of a split product has at least. */
const PART = 64;

const FAMILIES: Record<string, Family> = {
  // One pipeline for everything; serves what the others cannot.
  plain: {
    kernel: new Kernel("matmul", plainCode),
    fits: () => true,
    candidates: () => [{}],
    params: ({ layout, M, N, K, R, bType }) => {
      const [aRow, aStep] = layout === "TN" ? [1, M] : [K, 1];
      const [bColumn, bStep] = layout === "NT" ? [K, 1] : [1, N];
      const [loraColumn, loraStep] = layout === "NT" ? [R, 1] : [1, N];
      return { M, N, K, R, aRow, aStep, bColumn, bStep, loraColumn, loraStep, bType: B_TYPES[bType] };
    },
    tile: () => [32, 32],
    rowsFirst: false,
    fixed: () => ({}),
  },
  tile: {
    kernel: new Kernel("matmul_tile", tileCode),
    fits: (gpu, problem) => {
      const { layout, M, N, K, R } = problem;
      const contiguous = { NT: [K, R], NN: [K, N, R], TN: [M, N] }[layout];
      return !gpu.software && contiguous.every((n) => isMultiple(n, 4));
    },
    candidates: (_gpu, { M, N, K, R }) => {
      const count = ({ BM, BN }: typeof TILES[number]): number => Math.ceil(M / BM) * Math.ceil(N / BN);
      const expected = TILES.find((tile) => count(tile) >= BUSY) ?? TILES.at(-1)!;
      // Where not even the smallest tile makes work for all (products with a small rank), K is split.
      const SPLIT = R > 0 ? 1 : Math.min(Math.ceil(BUSY / count(expected)), Math.floor(K / PART));
      const whole = [expected, ...TILES.filter((tile) => tile !== expected)];
      return SPLIT < 2 ? whole : [{ ...expected, SPLIT }, ...whole];
    },
    params: ({ M, N, K, R }) => ({ M, N, K, R }),
    tile: (_problem, { BM = 64, BN = 64 }) => [BM, BN],
    rowsFirst: false,
    splitByType: true,
    fixed: ({ bType, layout }) => ({ B_TYPE: B_TYPES[bType], LAYOUT: ["NT", "NN", "TN"].indexOf(layout) }),
  },
  // Measured on lavapipe: three blocks of 8 rows win where there are that many rows.
  subgroupNt: {
    kernel: new Kernel("matmul_subgroup_nt", subgroupNtCode),
    fits: (gpu, problem) =>
      hasLanes(gpu) && problem.layout === "NT" && isMultiple(problem.K, width(problem)) &&
      isMultiple(problem.R, 4),
    candidates: (_gpu, { M }) => {
      const expected = Math.min(3, Math.ceil(M / 8));
      return [expected, ...[3, 2].filter((RA) => RA < expected)].map((RA) => ({ RA }));
    },
    params: ({ M, N, K, R }) => ({ M, N, K, R }),
    tile: (_problem, { RA = 3 }) => [8 * RA, 32],
    rowsFirst: true,
    fixed: ({ bType }) => ({ B_TYPE: B_TYPES[bType] }),
  },
  subgroup: {
    kernel: new Kernel("matmul_subgroup", subgroupCode),
    fits: (gpu, problem) =>
      hasLanes(gpu) && problem.layout !== "NT" && isMultiple(problem.cStride, 4) &&
      isMultiple(problem.cStart, 4) &&
      isMultiple(problem.N, width(problem)) && isMultiple(problem.R, 4) &&
      isMultiple(problem.layout === "TN" ? problem.M : problem.K, 4),
    candidates: () => [{}],
    params: ({ M, N, K, R }) => ({ M, N, K, R }),
    tile: ({ bType }) => bType === "f32" ? [32, 32] : [16, 64],
    rowsFirst: false,
    fixed: ({ bType, layout }) => ({ B_TYPE: B_TYPES[bType], TN: layout === "TN" ? 1 : 0 }),
  },
  fewRows: {
    kernel: new Kernel("matmul_few_rows", fewRowsCode),
    fits: (_gpu, problem) => hasFewRows(problem),
    candidates: (gpu, { M }) => [{ ROWS: M, WORKGROUP: gpu.software ? 8 : 32 }],
    params: ({ N, K, R }) => ({ N, K, R }),
    tile: () => [FEW_ROWS, 16],
    rowsFirst: true,
    fixed: ({ bType }) => ({ B_TYPE: B_TYPES[bType] }),
  },
  // Decoding one caption on lavapipe: less than half the time of the one above, three quarters of subgroupNt's (bench/decode_candidates.ts).
  fewRowsSubgroup: {
    kernel: new Kernel("matmul_few_rows_subgroup", fewRowsSubgroupCode),
    fits: (gpu, problem) => hasLanes(gpu) && hasFewRows(problem),
    candidates: (_gpu, { M }) => [{ ROWS: M }],
    params: ({ N, K, R }) => ({ N, K, R }),
    tile: () => [FEW_ROWS, 16],
    rowsFirst: true,
    fixed: ({ bType }) => ({ B_TYPE: B_TYPES[bType] }),
  },
};

const variants = new Map<string, Kernel>();

/** How `choice` computes `problem`. */
export function matmulDispatch(problem: MatmulProblem, choice: Choice): MatmulDispatch {
  const family = FAMILIES[choice.kernel];
  if (family === undefined) throw new RangeError(`Cannot multiply: there is no kernel "${choice.kernel}"`);
  const constants = { ...choice.constants, ...family.fixed(problem) };
  const key = `${choice.kernel} ${JSON.stringify(constants)}`;
  let kernel = variants.get(key);
  if (kernel === undefined) {
    kernel = family.kernel.with(constants);
    variants.set(key, kernel);
  }
  const [rows, columns] = family.tile(problem, constants);
  const grid: [number, number] = [Math.ceil(problem.M / rows), Math.ceil(problem.N / columns)];
  if (!family.rowsFirst) grid.reverse();
  const parts = constants.SPLIT ?? 1;
  if (parts > 1 && problem.R > 0) {
    throw new RangeError(`Cannot split K into ${parts} parts of a product with a low-rank term`);
  }
  const split = family.splitByType === true;
  const isPacked = problem.bType !== "f32";
  return {
    kernel,
    entry: split && isPacked ? "packed" : "main",
    operandB: split && isPacked ? "bPacked" : "b",
    params: family.params(problem),
    workgroups: [...grid, parts],
    parts,
  };
}

/** Every kernel and set of constants that can compute the problem, the one used untuned first. */
export function matmulCandidates(gpu: Gpu, problem: MatmulProblem): Choice[] {
  // Object order: what comes later is faster where it fits.
  return Object.entries(FAMILIES).toReversed().filter(([, family]) => family.fits(gpu, problem))
    .flatMap(([kernel, family]) =>
      family.candidates(gpu, problem).map((constants) => ({ kernel, constants }))
    );
}

/** Name of a problem in the table of tuned choices: M counts in powers of two, as batches differ. */
export function matmulKey({ layout, M, N, K, bType }: MatmulProblem): string {
  return `matmul ${layout} ${bType} ${2 ** Math.ceil(Math.log2(M))}x${N}x${K}`;
}

/** The kernel for a problem: as measured on this device, else as expected. */
export function chooseMatmul(gpu: Gpu, problem: MatmulProblem): Choice {
  const candidates = matmulCandidates(gpu, problem);
  const tuned = JSON.stringify(tunedChoice(gpu, matmulKey(problem)));
  // A saved table may be of another version or for a neighbouring M: only what is a candidate here is used.
  return candidates.find((candidate) => JSON.stringify(candidate) === tuned) ?? candidates[0]!;
}
