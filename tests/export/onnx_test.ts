/** Captioners of every family as ONNX: the engine's logits and tokens, run by onnxruntime-web. */
import assert from "node:assert/strict";
import { scoreCaptions, searchCaptions } from "../../lib/generate/search.ts";
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
      scores = await stepper.step({ tokens: Uint32Array.of(next), parents: Uint32Array.of(0), live: [true] });
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

Deno.test("beams and batches over onnxruntime are what they are over the kernels", async () => {
  const folders = captionerFolders(LLAMA);
  const options = { batchSize: 3, numBeams: 3, maxNewTokens: TOKENS };
  // Two images of a batch for three, whose captions end at different lengths.
  const images = randomValues(2 * PIXELS.length, 99, 1.5);
  const { generator, destroy } = await kernelGenerator(folders, options);
  const want = await searchCaptions(generator, images, { eosIds: [2, 41], count: 2 });
  destroy();
  assert.notDeepEqual(want[0], want[1]);
  for (const layout of ONNX_LAYOUTS) {
    const stepper = await onnxStepper(folders, { layout, ...options });
    const got = await searchCaptions(stepper, images, { eosIds: [2, 41], count: 2 });
    for (const [b, hypotheses] of got.entries()) {
      assert.deepEqual(hypotheses.map(({ ids }) => ids), want[b]!.map(({ ids }) => ids), layout);
      for (const [i, { logProb }] of hypotheses.entries()) {
        assert.ok(Math.abs(logProb - want[b]![i]!.logProb) < 1e-3);
      }
    }
  }
});

Deno.test("beams change places in a cache of half precision", async () => {
  const folders = captionerFolders(LLAMA);
  const options = { layout: "web-llava", numBeams: 3, maxNewTokens: TOKENS } as const;
  const [want] = await searchCaptions(await onnxStepper(folders, options), PIXELS, { eosIds: [2], count: 1 });
  const half = await onnxStepper(folders, { ...options, dtype: "fp16" });
  const [got] = await searchCaptions(half, PIXELS, { eosIds: [2], count: 1 });
  assert.deepEqual(got!.map(({ ids }) => ids), want!.map(({ ids }) => ids));
});

Deno.test("captions given token by token score what their own search found", async () => {
  const folders = captionerFolders(LLAMA);
  const images = randomValues(2 * PIXELS.length, 99, 1.5);
  const options = { batchSize: 2, maxNewTokens: TOKENS };
  const stepper = await onnxStepper(folders, { layout: "parts", ...options });
  const found = await searchCaptions(stepper, images, { eosIds: [2], count: 2 });
  const captions = found.map(([best]) => best!.ids);
  // Cut and changed: what follows another beginning need not agree.
  captions[1] = [...captions[1]!.slice(0, 3), (captions[1]![3]! + 1) % 61];
  const [whole, changed] = await scoreCaptions(stepper, images, captions);
  assert.equal(whole!.agreeing, captions[0]!.length);
  assert.ok(Math.abs(whole!.logProb - found[0]![0]!.logProb) < 1e-6);
  assert.equal(changed!.agreeing, 3);
  const { generator, destroy } = await kernelGenerator(folders, options);
  const kernels = await scoreCaptions(generator, images, captions);
  destroy();
  assert.equal(kernels[1]!.agreeing, 3);
  assert.ok(Math.abs(kernels[1]!.logProb - changed!.logProb) < 1e-3);
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
