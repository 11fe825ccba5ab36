/** Captioners of every family as ONNX: the engine's logits and tokens, run by onnxruntime-web. */
import assert from "node:assert/strict";
import { searchCaptions } from "../../lib/generate/search.ts";
import type { Stepper } from "../../lib/generate/stepper.ts";
import { ONNX_LAYOUTS } from "../../lib/models/onnx_layouts.ts";
import { captionerFolders } from "../support/captioner_folders.ts";
import { EVERY_FAMILY, LLAMA } from "../support/every_family.ts";
import { randomValues } from "../support/gpu.ts";
import { kernelGenerator, onnxFeatures, onnxStepper } from "../support/onnx_captioner.ts";

const PIXELS = randomValues(3 * 15 * 15, 99, 1.5);
const TOKENS = 9;

/** Logits of the prefill and of `TOKENS` steps along the tokens that `stepper` itself finds likeliest, or along given ones. */
async function walk(
  stepper: Stepper,
  along?: readonly number[],
): Promise<{ ids: number[]; logits: Float32Array[] }> {
  const ids: number[] = [];
  const logits: Float32Array[] = [];
  let scores = await stepper.prefill(PIXELS, 1);
  for (let n = 0; n < TOKENS; n++) {
    const [row] = await scores.logits();
    logits.push(row!);
    const token = row!.indexOf(Math.max(...row!));
    ids.push(token);
    const next = along?.[n] ?? token;
    if (n + 1 < TOKENS) {
      scores = await stepper.step({ tokens: Uint32Array.of(next), parents: Uint32Array.of(0) });
    }
  }
  return { ids, logits };
}

function largestDifference(got: readonly Float32Array[], want: readonly Float32Array[]): number {
  return Math.max(...got.flatMap((row, i) => Array.from(row, (value, j) => Math.abs(value - want[i]![j]!))));
}

for (const [name, options] of EVERY_FAMILY) {
  Deno.test(`${name}: every layout in fp32 gives the engine's logits and tokens`, async () => {
    const folders = captionerFolders(options);
    const { generator, features, destroy } = await kernelGenerator(folders, { maxNewTokens: TOKENS });
    const want = await walk(generator);
    const wantFeatures = await features(PIXELS);
    destroy();
    assert.ok(new Set(want.ids).size > 1);
    const found = await onnxFeatures(folders, PIXELS);
    assert.equal(found.length, wantFeatures.length);
    assert.ok(largestDifference([found], [wantFeatures]) < 1e-4, "features");
    for (const layout of ONNX_LAYOUTS) {
      const got = await walk(await onnxStepper(folders, { layout, maxNewTokens: TOKENS }));
      const difference = largestDifference(got.logits, want.logits);
      assert.ok(difference < 2e-4, `${layout} differs by ${difference}`);
      assert.deepEqual(got.ids, want.ids, layout);
    }
  });
}

Deno.test("beam search over onnxruntime finds what it finds over the kernels", async () => {
  const folders = captionerFolders(LLAMA);
  const options = { numBeams: 3, maxNewTokens: TOKENS };
  const { generator, destroy } = await kernelGenerator(folders, options);
  const [want] = await searchCaptions(generator, PIXELS, { eosIds: [2], count: 1 });
  destroy();
  for (const layout of ONNX_LAYOUTS) {
    const [got] = await searchCaptions(await onnxStepper(folders, { layout, ...options }), PIXELS, {
      eosIds: [2],
      count: 1,
    });
    assert.deepEqual(got!.map(({ ids }) => ids), want!.map(({ ids }) => ids), layout);
    for (const [i, { logProb }] of got!.entries()) assert.ok(Math.abs(logProb - want![i]!.logProb) < 1e-3);
  }
});

/** Root mean square of the difference, over that of what was wanted. */
function relativeError(got: readonly Float32Array[], want: readonly Float32Array[]): number {
  let [error, size] = [0, 0];
  for (const [i, row] of got.entries()) {
    for (const [j, value] of row.entries()) {
      error += (value - want[i]![j]!) ** 2;
      size += want[i]![j]! ** 2;
    }
  }
  return Math.sqrt(error / size);
}

for (const [name, options] of EVERY_FAMILY) {
  Deno.test(`${name}: fewer bits cost little in every layout`, async () => {
    const folders = captionerFolders(options);
    const { generator, destroy } = await kernelGenerator(folders, { maxNewTokens: TOKENS });
    const want = await walk(generator);
    destroy();
    for (const [dtype, limit] of [["fp16", 0.005], ["q8", 0.1], ["q4", 0.5]] as const) {
      for (const layout of ONNX_LAYOUTS) {
        const stepper = await onnxStepper(folders, { layout, dtype, maxNewTokens: TOKENS });
        const error = relativeError((await walk(stepper, want.ids)).logits, want.logits);
        assert.ok(error > 1e-5 && error < limit, `${layout} in ${dtype} is ${error} off`);
      }
    }
  });
}
