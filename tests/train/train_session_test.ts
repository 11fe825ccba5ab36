import { ok, strictEqual } from "node:assert/strict";
import { openTrainModels } from "../../lib/host/train_models.ts";
import { TrainSession } from "../../lib/host/train_session.ts";
import { countBuffers, testGpu } from "../support/gpu.ts";

const LORA = { rank: 8, alpha: 8, dropout: 0.1, targetModules: ["q_proj", "v_proj"] };

const REWARDED = { policyWeight: 0.5, clipModel: "embedded:siglip" };

for (
  const { unfrozenVisionLayers, rewarded, name } of [
    { unfrozenVisionLayers: 0, rewarded: {}, name: "vision frozen" },
    { unfrozenVisionLayers: 1, rewarded: {}, name: "a vision layer trained" },
    { unfrozenVisionLayers: 0, rewarded: REWARDED, name: "with rewards" },
    { unfrozenVisionLayers: 1, rewarded: REWARDED, name: "a vision layer trained with rewards" },
  ]
) {
  Deno.test({
    name: `the memory told beforehand is what is allocated, ${name}`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const gpu = await testGpu();
      const models = await openTrainModels({
        encoderModel: "embedded:siglip",
        decoderModel: "embedded:llama",
        projection: { type: "linear" },
        lora: LORA,
        unfrozenVisionLayers,
        maxLength: 9,
        appendEos: true,
        seed: 1,
      });
      let told = 0;
      let toldWhenMade = NaN;
      let session: TrainSession | undefined;
      const { leftBytes } = await countBuffers(gpu, async () => {
        session = await TrainSession.open(gpu, {
          models,
          batchSize: 3,
          textLength: 7,
          accumulation: 2,
          maxGradNorm: 1,
          weightDecay: 0.01,
          seed: 1,
          cacheFeatures: false,
          maxCacheBytes: 0,
          pruneCache: false,
          autotune: "off",
          ...rewarded,
          onMemoryEstimate: (bytes) => told = bytes,
        });
        toldWhenMade = session.memoryBytes;
      });
      using opened = session!;
      strictEqual(told, leftBytes);
      strictEqual(toldWhenMade, leftBytes);
      ok(opened.engine.memoryBytes < told, "generator and encoder take memory of their own");
    },
  });
}
