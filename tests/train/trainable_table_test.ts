import assert from "node:assert/strict";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { countTrainable, formatTrainable } from "../../lib/host/trainable_table.ts";
import type { CaptionerConfig } from "../../lib/models/captioner.ts";
import { defaultLoraTargets, parseDecoder } from "../../lib/models/decoder_families.ts";
import { knownModel, PRESETS } from "../../lib/models/presets.ts";
import { parseVision } from "../../lib/models/vision.ts";

function presetConfig(preset: keyof typeof PRESETS): CaptionerConfig {
  const parse = (id: string): JsonConfig => new JsonConfig(knownModel(id).config, id);
  const decoder = parseDecoder(parse(PRESETS[preset].decoder));
  return {
    vision: parseVision(parse(PRESETS[preset].encoder)),
    decoder,
    projection: { type: "linear" },
    lora: { rank: 16, alpha: 16, dropout: 0.1, targetModules: defaultLoraTargets(decoder.family) },
    unfrozenVisionLayers: 0,
  };
}

Deno.test("SigLIP-B/16 with SmolLM-135M trains as many numbers as PEFT counts", () => {
  const { trained, trainable, all } = countTrainable(presetConfig("default"));
  assert.deepEqual(trained, { projection: 442_944, lora: 1_843_200, vision: 0 });
  assert.equal(trainable, 2_286_144);
  // SmolLM-135M has 134,515,008; the tower is counted here without its pooling head.
  const tower = 768 * 3 * 256 + 768 + 196 * 768 +
    12 * (4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 4 * 768) + 2 * 768;
  assert.equal(all - trainable, 134_515_008 + tower);
});

Deno.test("unfrozen layers are counted once", () => {
  const config = presetConfig("default");
  const frozen = countTrainable(config);
  const open = countTrainable({ ...config, unfrozenVisionLayers: 2 });
  assert.equal(open.all, frozen.all);
  assert.equal(open.trained.vision, 2 * 7_087_872);
  assert.match(formatTrainable(open), /encoder layers +14,175,744 +6\.\d\d %/);
  assert.doesNotMatch(formatTrainable(frozen), /encoder layers/);
});

Deno.test("every preset's models are ones that can be loaded, of the sizes listed", () => {
  for (const [name, { encoder, decoder }] of Object.entries(PRESETS)) {
    const config = presetConfig(name as keyof typeof PRESETS);
    const { all, trainable } = countTrainable(config);
    const listed = knownModel(encoder).millions + knownModel(decoder).millions;
    assert.ok(
      Math.abs((all - trainable) / 1e6 - listed) < 0.02 * listed + 1,
      `${name}: ${all - trainable}, listed ${listed} M`,
    );
  }
});
