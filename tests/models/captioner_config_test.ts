import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import { JsonConfig } from "../../lib/format/json_config.ts";
import {
  type CaptionerFolderConfig,
  formatCaptionerConfig,
  parseCaptionerConfig,
} from "../../lib/models/captioner_config.ts";

const CONFIG: CaptionerFolderConfig = {
  encoder: { reference: "google/siglip-base-patch16-224" },
  decoder: { reference: "HuggingFaceTB/SmolLM-135M" },
  projection: { type: "mlp", hiddenSize: 2048, dropout: 0.1 },
  lora: { rank: 16, alpha: 32, dropout: 0.05, targetModules: ["q_proj", "v_proj"] },
  unfrozenVisionLayers: 2,
  maxLength: 30,
  appendEos: true,
};

function parse(text: string): CaptionerFolderConfig {
  return parseCaptionerConfig(JsonConfig.parse(text, "run/config.json"));
}

Deno.test("a configuration comes back as it was written", () => {
  deepStrictEqual(parse(formatCaptionerConfig(CONFIG)), CONFIG);
  const plain: CaptionerFolderConfig = {
    ...CONFIG,
    projection: { type: "linear" },
    lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] },
    appendEos: false,
  };
  deepStrictEqual(parse(formatCaptionerConfig(plain)), plain);
  strictEqual(JSON.parse(formatCaptionerConfig(plain)).lora, null);
});

Deno.test("what is missing or impossible is refused with the file's name and the value", () => {
  const changed = (changes: Record<string, unknown>) =>
    JSON.stringify({ ...JSON.parse(formatCaptionerConfig(CONFIG)), ...changes });
  for (
    const [changes, message] of [
      [{ model_type: "llama" }, /run\/config\.json.*model_type.*"llama"/],
      [{ layout_version: 2 }, /layout_version" is 2/],
      [{ encoder: {} }, /encoder\.reference" is missing/],
      [{ projection: { type: "conv" } }, /projection\.type" is "conv"/],
      [{ unfrozen_vision_layers: -1 }, /run\/config\.json.*unfrozen vision layers is -1/],
      [{ max_length: 1 }, /max length is 1, expected a whole number of at least 2/],
      [{ lora: { r: 4, alpha: 4, dropout: 1, target_modules: ["a"] } }, /LoRA dropout is 1/],
      [{ lora: { r: 4, alpha: 4, dropout: 0, target_modules: [] } }, /no target modules/],
    ] as const
  ) throws(() => parse(changed(changes)), { message });
});
