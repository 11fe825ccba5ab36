/**
 * Latency of one caption, from pixels to tokens: vision tower, prefill, and one decoding step for every token.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { CaptionScorer } from "../lib/generate/confidence.ts";
import { ForcedDecoder } from "../lib/generate/forced_decoder.ts";
import { CaptionGenerator } from "../lib/generate/generator.ts";
import type { Gpu } from "../lib/gpu/device.ts";
import { destroyTensor } from "../lib/gpu/tensor.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { compare, type Cost, timeOnce, timeSubmitted } from "./measure.ts";
import { type BenchModel, CAPTION_TOKENS, randomCaptioner } from "./models.ts";

/** One caption of 30 tokens. */
export interface CaptionResult {
  model: string;
  numBeams: number;
  /** From pixel values on the host to token ids on the host. */
  caption: Cost;
  /** What it takes to say how sure the model is of the caption: all tokens once more, after the blank image that was run before. */
  confidence: Cost;
  /** One decoding step without the way back to the host. */
  decode: Cost;
  /** The step's matmuls alone. */
  decodeMatmul: Cost;
  tokens: number;
  dispatchesPerToken: number;
}

/** Measures greedy captions of `model`, or searched ones. */
export async function measureCaption(
  gpu: Gpu,
  { name, config }: BenchModel,
  options: { repeat: number; numBeams: number },
): Promise<CaptionResult> {
  const { numBeams, repeat } = options;
  const weights = randomCaptioner(gpu, config);
  const maxNewTokens = CAPTION_TOKENS;
  const generator = await CaptionGenerator.create(gpu, {
    config,
    weights,
    batchSize: 1,
    numBeams,
    maxNewTokens,
    features: false,
  });
  const { channels, imageSize } = config.vision;
  const rng = new Rng(4);
  const pixelValues = Float32Array.from({ length: channels * imageSize ** 2 }, () => rng.next() * 2 - 1);
  let ids: readonly number[] = [];
  const plan = generator.decodePlan;
  const products = plan.select(({ kernel }) => kernel.startsWith("matmul"));
  const [caption] = await compare([() =>
    timeOnce(async () => {
      // No token ends the caption, so that every one has all its tokens.
      const [hypotheses] = await generator.generate(pixelValues, 1, { eosIds: [] });
      ids = hypotheses![0]!.ids;
    })], repeat);
  const forced = await ForcedDecoder.create(gpu, { config, weights, maxNewTokens });
  const scorer = new CaptionScorer(forced, { blank: new Float32Array(pixelValues.length) });
  const [confidence] = await compare([() => timeOnce(() => scorer.scoreBlank([ids]))], repeat);
  forced.destroy();
  const [decode, decodeMatmul] = await compare(
    [plan, products].map((each) => () => timeSubmitted(gpu, () => each.run())),
    4 * repeat,
  );
  const dispatchesPerToken = plan.dispatchCount;
  generator.destroy();
  for (const each of [weights.vision, weights.decoder, weights.trainable]) each.destroy();
  if (weights.rope !== undefined) destroyTensor(weights.rope);
  gpu.check();
  return {
    model: name,
    numBeams,
    caption: caption!,
    confidence: confidence!,
    decode: decode!,
    decodeMatmul: decodeMatmul!,
    tokens: ids.length,
    dispatchesPerToken,
  };
}

/** The results as a table. */
export function formatCaptions(results: readonly CaptionResult[]): string {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const ms = (value: number): string => `${value.toFixed(1)} ms`;
  return formatTable(
    results.map((result) => [
      `${result.model}, ${result.numBeams === 1 ? "greedy" : `${result.numBeams} beams`}`,
      String(result.tokens),
      seconds(result.caption.wallMs),
      seconds(result.caption.cpuMs),
      seconds(result.confidence.wallMs),
      seconds(result.confidence.cpuMs),
      ms(result.decode.wallMs),
      ms(result.decode.cpuMs),
      ms(result.decodeMatmul.cpuMs),
      String(result.dispatchesPerToken),
    ]),
    {
      header: [
        "one caption",
        "tokens",
        "clock",
        "processor",
        "confidence, clock",
        "processor",
        "token, clock",
        "processor",
        "its matmuls",
        "dispatches",
      ],
      right: [1, 2, 3, 4, 5, 6, 7, 8, 9],
    },
  );
}
