import assert from "node:assert/strict";
import type { Gpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { tensorFrom } from "../../lib/gpu/tensor.ts";
import { attention } from "../../lib/ops/attention.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, portableGpu, randomValues, runOnce, testGpu } from "../support/gpu.ts";

interface Case {
  B: number;
  S: number;
  H: number;
  K: number;
  Dh: number;
  causal: boolean;
  /** Which keys of each sample may be attended, [first, past the last); absent: all, without a mask. */
  keys?: [number, number][];
}

type Values = ArrayLike<number>;

function keyMask({ B, S, keys }: Case): Uint32Array<ArrayBuffer> | undefined {
  if (keys === undefined) return undefined;
  return Uint32Array.from({ length: B * S }, (_, i) => {
    const [first, end] = keys[Math.floor(i / S)]!;
    return i % S >= first && i % S < end ? 1 : 0;
  });
}

/** Plain loops in f64; with `dy` also the gradients. */
function reference(c: Case, q: Values, k: Values, v: Values, dy?: Values) {
  const { B, S, H, K, Dh, causal } = c;
  const mask = keyMask(c);
  const y = new Float64Array(B * S * H * Dh);
  const [dq, dk, dv] = [q, k, v].map((x) => new Float64Array(x.length)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < H; h++) {
      const row = (i: number): number => ((b * S + i) * H + h) * Dh;
      const keyRow = (j: number): number => ((b * S + j) * K + Math.floor(h / (H / K))) * Dh;
      const dot = (x: Values, at: number, z: Values, from: number): number => {
        let sum = 0;
        for (let d = 0; d < Dh; d++) sum += x[at + d]! * z[from + d]!;
        return sum;
      };
      for (let i = 0; i < S; i++) {
        const keys: number[] = [];
        for (let j = 0; j < (causal ? i + 1 : S); j++) {
          if (mask === undefined || mask[b * S + j]) keys.push(j);
        }
        const scores = keys.map((j) => dot(q, row(i), k, keyRow(j)) / Math.sqrt(Dh));
        const highest = Math.max(...scores);
        const total = scores.reduce((sum, s) => sum + Math.exp(s - highest), 0);
        const p = scores.map((s) => Math.exp(s - highest) / total);
        for (const [n, j] of keys.entries()) {
          for (let d = 0; d < Dh; d++) y[row(i) + d]! += p[n]! * v[keyRow(j) + d]!;
        }
        if (dy === undefined) continue;
        const delta = dot(dy, row(i), y, row(i));
        for (const [n, j] of keys.entries()) {
          const ds = p[n]! * (dot(dy, row(i), v, keyRow(j)) - delta) / Math.sqrt(Dh);
          for (let d = 0; d < Dh; d++) {
            dq[row(i) + d]! += ds * k[keyRow(j) + d]!;
            dk[keyRow(j) + d]! += ds * q[row(i) + d]!;
            dv[keyRow(j) + d]! += p[n]! * dy[row(i) + d]!;
          }
        }
      }
    }
  }
  return { y, dq, dk, dv };
}

function inputsOf({ B, S, H, K, Dh }: Case) {
  return {
    q: { data: randomValues(B * S * H * Dh, 1, 2), shape: [B, S, H * Dh] },
    k: { data: randomValues(B * S * K * Dh, 2, 2), shape: [B, S, K * Dh] },
    v: { data: randomValues(B * S * K * Dh, 3), shape: [B, S, K * Dh] },
    dy: randomValues(B * S * H * Dh, 4),
  };
}

function attend(gpu: Gpu, c: Case) {
  const mask = keyMask(c);
  const mine = mask && tensorFrom(gpu, mask, { shape: [c.B, c.S], label: "keyMask" });
  const { q, k, v, dy } = inputsOf(c);
  return forwardBackward(
    gpu,
    { q, k, v },
    (r, t) =>
      attention(r, t.q!, t.k!, t.v!, {
        heads: c.H,
        kvHeads: c.K,
        headDim: c.Dh,
        causal: c.causal,
        keyMask: mine,
      }),
    () => dy,
    0.5,
  );
}

const devices: [string, () => Promise<Gpu>][] = [["portable", portableGpu], ["preferred", testGpu]];

// Few head widths, because each is compiled: 12, 64 and 72 take one, two and three vec4 of a row in each of eight lanes.
const cases: Case[] = [
  { B: 1, S: 1, H: 1, K: 1, Dh: 1, causal: true },
  { B: 2, S: 7, H: 2, K: 1, Dh: 5, causal: false },
  { B: 1, S: 33, H: 3, K: 3, Dh: 12, causal: true },
  { B: 3, S: 37, H: 2, K: 2, Dh: 12, causal: false, keys: [[0, 37], [3, 4], [0, 0]] },
  { B: 2, S: 65, H: 7, K: 1, Dh: 12, causal: true, keys: [[0, 65], [20, 61]] },
  { B: 1, S: 1, H: 2, K: 1, Dh: 12, causal: true },
  { B: 1, S: 63, H: 9, K: 3, Dh: 64, causal: true },
  { B: 1, S: 64, H: 4, K: 1, Dh: 64, causal: false },
  { B: 2, S: 65, H: 3, K: 3, Dh: 64, causal: true },
  { B: 2, S: 31, H: 2, K: 2, Dh: 72, causal: false },
  { B: 1, S: 9, H: 2, K: 1, Dh: 256, causal: true },
];

for (const c of cases) {
  const name = `B=${c.B} S=${c.S} heads ${c.H}/${c.K} x ${c.Dh}, ${c.causal ? "causal" : "full"}` +
    (c.keys ? `, keys ${c.keys.map((range) => range.join(" to "))}` : "");
  for (const [kind, device] of devices) {
    Deno.test(`attention agrees with its reference, ${name}, ${kind}`, async () => {
      const { output, grads } = await attend(await device(), c);
      const { q, k, v, dy } = inputsOf(c);
      const want = reference(c, q.data, k.data, v.data, dy);
      assertClose(output, want.y, { label: "y" });
      for (const input of ["q", "k", "v"] as const) {
        assertClose(grads[input]!, want[`d${input}`], { relative: 1e-5, absolute: 2e-6, label: `d${input}` });
      }
    });
  }
}

Deno.test("the reference's gradients agree with central differences", () => {
  for (const c of cases.filter((c) => c.B * c.S * c.H * c.Dh < 3000)) {
    const { q, k, v, dy } = inputsOf(c);
    const { dq, dk, dv } = reference(c, q.data, k.data, v.data, dy);
    const picks = (x: Values): number[] =>
      Array.from({ length: 9 }, (_, i) => Math.floor(i * (x.length - 1) / 8));
    const agree = (name: string, f: (x: Float64Array) => Values, x: Values, got: Float64Array): void => {
      const at = picks(x);
      const want = numericalGradient(f, x, dy, at);
      assertClose(at.map((i) => got[i]!), want, { relative: 1e-6, absolute: 1e-8, label: name });
    };
    agree("dq", (x) => reference(c, x, k.data, v.data).y, q.data, dq);
    agree("dk", (x) => reference(c, q.data, x, v.data).y, k.data, dk);
    agree("dv", (x) => reference(c, q.data, k.data, x).y, v.data, dv);
  }
});

for (const [kind, device] of devices) {
  Deno.test(`a query without keys gives zeros and no gradient, ${kind}`, async () => {
    const c: Case = { B: 1, S: 10, H: 2, K: 1, Dh: 12, causal: true, keys: [[0, 0]] };
    const { output, grads } = await attend(await device(), c);
    for (const values of [output, grads.q!, grads.k!, grads.v!]) assert.ok(values.every((x) => x === 0));
  });

  Deno.test(`scores far beyond exp's range stay finite, ${kind}`, async () => {
    const gpu = await device();
    const shape = [1, 40, 12];
    const big = tensorFrom(gpu, randomValues(480, 5, 100), { shape, label: "big" });
    const v = tensorFrom(gpu, randomValues(480, 6), { shape, label: "v" });
    const { y } = await runOnce(
      gpu,
      (r) => ({ y: attention(r, big, big, v, { heads: 1, kvHeads: 1, headDim: 12, causal: false }) }),
    );
    const c: Case = { B: 1, S: 40, H: 1, K: 1, Dh: 12, causal: false };
    const x = randomValues(480, 5, 100);
    assertClose(y, reference(c, x, x, randomValues(480, 6)).y, { relative: 1e-3 });
  });

  Deno.test(`a key gradient alone is recorded when values are frozen, ${kind}`, async () => {
    const gpu = await device();
    const c: Case = { B: 1, S: 14, H: 2, K: 1, Dh: 12, causal: true };
    const { q, k, v, dy } = inputsOf(c);
    const frozen = tensorFrom(gpu, v.data, { shape: v.shape, label: "v" });
    const frozenQ = tensorFrom(gpu, q.data, { shape: q.shape, label: "q" });
    const { grads } = await forwardBackward(
      gpu,
      { k },
      (r, t) => attention(r, frozenQ, t.k!, frozen, { heads: 2, kvHeads: 1, headDim: 12, causal: true }),
      () => dy,
    );
    assertClose(grads.k!, reference(c, q.data, k.data, v.data, dy).dk, { label: "dk", absolute: 2e-6 });
  });
}

Deno.test("attention refuses heads and shapes that do not fit", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const q = r.tensor([1, 4, 12], "q");
  const k = r.tensor([1, 4, 8], "k");
  const options = { heads: 3, kvHeads: 2, headDim: 4, causal: true };
  assert.throws(() => attention(r, q, k, k, options), /3 heads do not share 2 key\/value heads/);
  assert.throws(
    () => attention(r, q, k, k, { ...options, kvHeads: 1 }),
    /keys "k" are \[1,4,8\], expected \[1,4,4\]/,
  );
  assert.throws(() => attention(r, q, k, k, { ...options, heads: 2, headDim: 257 }), /head width 257/);
});
