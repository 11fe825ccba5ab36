/**
 * The linear layer, with an optional low-rank adapter, forward and backward.
 *
 * @module
 */

import columnSumCode from "../../kernels/column_sum.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { dropout, type DropoutSite } from "./dropout.ts";
import { type LowRankTerm, matmul } from "./matmul.ts";

const columnSum = new Kernel("column_sum", columnSumCode);
const COLUMNS = 32;

/** A low-rank adapter of a linear layer: y += scale · dropout(x) · aᵗ · bᵗ. */
export interface Lora {
  /** f32 [R, K]. */
  a: Tensor;
  /** f32 [N, R]. */
  b: Tensor;
  /** Factor of the update, usually alpha / R. */
  scale: number;
  /** Dropout of the adapter's input while training. @default {none} */
  dropout?: DropoutSite | undefined;
}

/** Options of {@linkcode linear}. */
export interface LinearOptions {
  /** f32 [N]. */
  bias?: Tensor | undefined;
  /** Low-rank adapter. */
  lora?: Lora | undefined;
  /** Name in timings. @default {"linear"} */
  label?: string;
}

/**
 * Records y [..., N] = x [..., K] · weightᵗ + bias + lora.scale · dropout(x) · lora.aᵗ · lora.bᵗ. `weight` [N, K] is f32, or frozen
 * bf16 or f16. Gradients of `x`, `weight`, `bias`, `lora.a` and `lora.b` are recorded when asked for.
 *
 * Source: Hu et al. 2021, arXiv:2106.09685, eq. 3 (LoRA).
 *
 * @throws {TypeError} when shapes do not fit, or a packed weight is to be trained
 */
export function linear(r: Recorder, x: Tensor, weight: Tensor, options: LinearOptions = {}): Tensor {
  const { bias, lora, label = "linear" } = options;
  const [N, K] = [weight.dim(0), weight.size / weight.dim(0)];
  if (x.dim(-1) !== K) {
    throw new TypeError(
      `Cannot apply "${weight.label}" [${weight.shape}] to "${x.label}" [${x.shape}]: ` +
        `its rows have ${x.dim(-1)} elements, expected ${K}`,
    );
  }
  const w = weight.reshape(N, K);
  const M = x.size / K;
  const y = r.tensor([...x.shape.slice(0, -1), N], label);
  if (r.training && weight.requiresGrad && weight.dtype !== "f32") {
    throw new TypeError(
      `Cannot train "${weight.label}": it is ${weight.dtype}, expected f32; load it as f32 or train an adapter`,
    );
  }
  let u: Tensor | undefined;
  // What the adapter sees: x itself when nothing is dropped.
  let seen = x;
  if (lora !== undefined) {
    if (lora.dropout !== undefined) seen = dropout(r, x, lora.dropout);
    u = r.tensor([M, lora.a.dim(0)], `${label}.u`);
    matmul(r, "NT", seen, lora.a, { out: u, label: `${label}.loraA` });
  }
  const term = lora && u && { u, b: lora.b, scale: lora.scale };
  matmul(r, "NT", x, w, { out: y, bias, lora: term, label });

  const inputs = [x, weight, bias, lora?.a, lora?.b].filter((tensor) => tensor !== undefined);
  r.onBackward(y, inputs, (dy) => {
    const dy2 = dy.reshape(M, N);
    let back: LowRankTerm | undefined;
    if (lora !== undefined && u !== undefined) {
      const { a, b, scale } = lora;
      r.accumulate(b, (db, add) => {
        matmul(r, "TN", dy2, u, { out: db, add, scale, label: `${label}.dLoraB` });
      });
      if (x.requiresGrad || a.requiresGrad) {
        const du = r.tensor(u.shape, `${label}.du`);
        matmul(r, "NN", dy2, b, { out: du, scale, label: `${label}.dLora` });
        r.accumulate(a, (da, add) => {
          // Dropped again from the same counters: kept from the forward, these would be most of a step's memory.
          const again = lora.dropout === undefined ? x : dropout(r, x, lora.dropout);
          matmul(r, "TN", du, again.reshape(M, K), { out: da, add, label: `${label}.dLoraA` });
        });
        if (seen === x) back = { u: du, b: a, scale: 1 };
        else {
          // The dropout's own backward, recorded next, hands this on to x.
          r.accumulate(seen, (dSeen, add) => {
            matmul(r, "NN", du, a, { out: dSeen, add, label: `${label}.dSeen` });
          });
        }
      }
    }
    r.accumulate(weight, (dw, add) => {
      matmul(r, "TN", dy2, x.reshape(M, K), { out: dw, add, label: `${label}.dWeight` });
    });
    if (bias !== undefined) r.accumulate(bias, (dBias, add) => sumColumns(r, dy2, dBias, add));
    r.accumulate(x, (dx, add) => {
      matmul(r, "NN", dy2, w, { out: dx, add, lora: back, label: `${label}.dx` });
    });
  });
  return y;
}

/** Records y[c] = or += the sum of column c of `x` [N, C]. */
function sumColumns(r: Recorder, x: Tensor, y: Tensor, add: boolean): void {
  const C = x.dim(-1);
  r.dispatch(columnSum, "main", {
    bind: { x, y },
    params: { N: x.size / C, C, add },
    workgroups: [Math.ceil(C / COLUMNS)],
  });
}
