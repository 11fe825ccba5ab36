import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, tensorFrom, writeTensor } from "../../lib/gpu/tensor.ts";
import { attention } from "../../lib/ops/attention.ts";
import { attentionDecode, writeCache } from "../../lib/ops/attention_decode.ts";
import { assertClose } from "../support/close.ts";
import { portableGpu, randomValues, runOnce, testGpu } from "../support/gpu.ts";

interface Case {
  lengths: number[];
  M: number;
  slots: number;
  H: number;
  K: number;
  Dh: number;
}

/** Plain loops in f64. */
function reference(
  { lengths, M, H, K, Dh }: Case,
  q: Float32Array,
  keys: Float32Array,
  values: Float32Array,
  table: Uint32Array,
): Float64Array {
  const y = new Float64Array(q.length);
  for (const [row, length] of lengths.entries()) {
    for (let h = 0; h < H; h++) {
      const at = (row * H + h) * Dh;
      const starts = Array.from(
        { length },
        (_, j) => ((table[row * M + j]! * M + j) * K + Math.floor(h / (H / K))) * Dh,
      );
      const scores = starts.map((start) => {
        let sum = 0;
        for (let d = 0; d < Dh; d++) sum += q[at + d]! * keys[start + d]!;
        return sum / Math.sqrt(Dh);
      });
      const highest = Math.max(...scores);
      const total = scores.reduce((sum, s) => sum + Math.exp(s - highest), 0);
      for (const [j, start] of starts.entries()) {
        const p = Math.exp(scores[j]! - highest) / total;
        for (let d = 0; d < Dh; d++) y[at + d]! += p * values[start + d]!;
      }
    }
  }
  return y;
}

const cases: Case[] = [
  { lengths: [1], M: 1, slots: 1, H: 1, K: 1, Dh: 1 },
  { lengths: [3, 0, 9], M: 9, slots: 4, H: 2, K: 1, Dh: 5 },
  { lengths: [63, 64, 65], M: 70, slots: 3, H: 9, K: 3, Dh: 64 },
  { lengths: [255, 256, 257], M: 300, slots: 5, H: 7, K: 1, Dh: 12 },
  { lengths: [31, 32, 33, 24, 8], M: 33, slots: 3, H: 12, K: 12, Dh: 12 },
  { lengths: [226, 1], M: 230, slots: 2, H: 2, K: 2, Dh: 72 },
  { lengths: [17], M: 40, slots: 2, H: 10, K: 2, Dh: 256 },
  { lengths: [600], M: 601, slots: 3, H: 4, K: 4, Dh: 7 },
];

const devices = [["portable", portableGpu], ["preferred", testGpu]] as const;

for (const [kind, device] of devices) {
  for (const c of cases) {
    Deno.test(`decoding agrees with its reference, lengths ${c.lengths}, heads ${c.H}/${c.K} x ${c.Dh}, ${kind}`, async () => {
      const gpu = await device();
      const { lengths, M, slots, H, K, Dh } = c;
      const rows = lengths.length;
      const q = randomValues(rows * H * Dh, 1, 2);
      const keys = randomValues(slots * M * K * Dh, 2, 2);
      const values = randomValues(slots * M * K * Dh, 3);
      // Positions past a row's end name a slot that does not exist: nobody may read them.
      const table = Uint32Array.from(
        randomValues(rows * M, 4),
        (x, i) => i % M < lengths[Math.floor(i / M)]! ? Math.floor((x + 1) / 2 * slots) : 1e6,
      );
      const { y } = await runOnce(gpu, (r) => ({
        y: attentionDecode(
          r,
          tensorFrom(gpu, q, { shape: [rows, H * Dh] }),
          tensorFrom(gpu, keys, { shape: [slots, M, K * Dh] }),
          tensorFrom(gpu, values, { shape: [slots, M, K * Dh] }),
          {
            heads: H,
            kvHeads: K,
            headDim: Dh,
            table: tensorFrom(gpu, table, { shape: [rows, M] }),
            lengths: tensorFrom(gpu, Uint32Array.from(lengths)),
          },
        ),
      }));
      assertClose(y, reference(c, q, keys, values, table), { label: "y" });
    });
  }
}

Deno.test("a plan recorded once decodes token after token as attention over the whole sequence does", async () => {
  const gpu = await testGpu();
  const [B, S, prefix, H, K, Dh] = [2, 11, 6, 6, 3, 16];
  const [wide, narrow, M] = [H * Dh, K * Dh, 12];
  const q = randomValues(B * S * wide, 1);
  const k = randomValues(B * S * narrow, 2);
  const v = randomValues(B * S * narrow, 3);
  const { whole } = await runOnce(gpu, (r) => ({
    whole: attention(
      r,
      tensorFrom(gpu, q, { shape: [B, S, wide] }),
      tensorFrom(gpu, k, { shape: [B, S, narrow] }),
      tensorFrom(gpu, v, { shape: [B, S, narrow] }),
      { heads: H, kvHeads: K, headDim: Dh, causal: true },
    ),
  }));
  const slice = (x: Float32Array, width: number, from: number, to: number): Float32Array<ArrayBuffer> => {
    const part = new Float32Array(B * (to - from) * width);
    for (let b = 0; b < B; b++) {
      part.set(x.subarray((b * S + from) * width, (b * S + to) * width), b * (to - from) * width);
    }
    return part;
  };
  const kCache = createTensor(gpu, [B, M, narrow], { label: "kCache" });
  const vCache = createTensor(gpu, [B, M, narrow], { label: "vCache" });
  const slots = tensorFrom(gpu, Uint32Array.of(1, 0));
  const table = tensorFrom(gpu, Uint32Array.from({ length: B * M }, (_, i) => i < M ? 1 : 0), {
    shape: [B, M],
  });
  await runOnce(gpu, (r) => {
    const positions = tensorFrom(gpu, Uint32Array.of(0, 0));
    const kPrefix = tensorFrom(gpu, slice(k, narrow, 0, prefix), { shape: [B, prefix, narrow] });
    const vPrefix = tensorFrom(gpu, slice(v, narrow, 0, prefix), { shape: [B, prefix, narrow] });
    writeCache(r, kPrefix, kCache, { slots, positions });
    writeCache(r, vPrefix, vCache, { slots, positions });
    return {};
  });
  const positions = createTensor(gpu, [B], { dtype: "u32" });
  const lengths = createTensor(gpu, [B], { dtype: "u32" });
  const qNew = createTensor(gpu, [B, wide]);
  const kNew = createTensor(gpu, [B, 1, narrow]);
  const vNew = createTensor(gpu, [B, 1, narrow]);
  const r = new Recorder(gpu);
  writeCache(r, kNew, kCache, { slots, positions });
  writeCache(r, vNew, vCache, { slots, positions });
  const options = { heads: H, kvHeads: K, headDim: Dh, table, lengths };
  const y = r.keep(attentionDecode(r, qNew, kCache, vCache, options));
  const plan = await r.compile();
  for (let i = prefix; i < S; i++) {
    writeTensor(gpu, positions, Uint32Array.of(i, i));
    writeTensor(gpu, lengths, Uint32Array.of(i + 1, i + 1));
    writeTensor(gpu, qNew, slice(q, wide, i, i + 1));
    writeTensor(gpu, kNew, slice(k, narrow, i, i + 1));
    writeTensor(gpu, vNew, slice(v, narrow, i, i + 1));
    plan.run();
    assertClose(await readF32(gpu, y), slice(whole, wide, i, i + 1), { label: `token ${i}` });
  }
  plan.destroy({ arena: true });
});

Deno.test("the cache takes each row's entries at its own slot and position, and nothing outside", async () => {
  const gpu = await testGpu();
  const cache = tensorFrom(gpu, new Float32Array(3 * 4 * 2).fill(-1), { shape: [3, 4, 2] });
  const x = tensorFrom(gpu, Float32Array.from({ length: 16 }, (_, i) => i), { shape: [4, 2, 2] });
  await runOnce(gpu, (r) => {
    // The third row runs past the end of its slot, the fourth names a slot that does not exist.
    const slots = tensorFrom(gpu, Uint32Array.of(2, 0, 1, 3));
    const positions = tensorFrom(gpu, Uint32Array.of(1, 0, 3, 0));
    writeCache(r, x, cache, { slots, positions });
    return {};
  });
  const o = -1;
  assert.deepEqual(
    [...await readF32(gpu, cache)],
    [4, 5, 6, 7, o, o, o, o, o, o, o, o, o, o, 8, 9, o, o, 0, 1, 2, 3, o, o],
  );
});

Deno.test("decoding refuses what does not fit", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const q = r.tensor([2, 12], "q");
  const cache = r.tensor([2, 9, 4], "cache");
  const table = r.tensor([2, 9], "table", "u32");
  const options = { heads: 3, kvHeads: 1, headDim: 4, table, lengths: r.tensor([2], "lengths", "u32") };
  assert.throws(() => attentionDecode(r, q, cache, cache, { ...options, kvHeads: 2 }), RangeError);
  assert.throws(() => attentionDecode(r, q, cache, cache, { ...options, headDim: 0 }), RangeError);
  const short = r.tensor([2, 8], "table", "u32");
  assert.throws(
    () => attentionDecode(r, q, cache, cache, { ...options, table: short }),
    /table.*expected u32 \[2,9\]/,
  );
  const { lengths: slots } = options;
  assert.throws(
    () => writeCache(r, r.tensor([2, 1, 5], "x"), cache, { slots, positions: slots }),
    /expected f32 \[2,9,5\]/,
  );
});
