/** Hashes of models: what they depend on, and that a tensor is read once. */
import assert from "node:assert/strict";
import { writeSafetensors } from "../../lib/format/safetensors.ts";
import { hashedDecoder, hashedEncoder, hashModels } from "../../lib/host/hash_models.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import { SMALL_LLAMA, SMALL_SIGLIP } from "../support/captioner_folders.ts";
import { CountedFolder } from "../support/mutate.ts";
import { drawWeights, storeWeights } from "../support/weights.ts";

const decoder = decoderSpecs(parseDecoder(new JsonConfig(SMALL_LLAMA, "decoder")));
const encoder = visionSpecs(parseVision(new JsonConfig(SMALL_SIGLIP, "encoder")));

/** Folders of a decoder and of an encoder with a text tower beside it, after one value of a tensor was changed. */
function folders(changed?: string): { decoder: CountedFolder; encoder: CountedFolder } {
  const make = (name: string, config: object, specs: typeof decoder): CountedFolder => {
    const values = drawWeights(specs);
    const tensor = changed === undefined ? undefined : values.get(changed);
    if (tensor !== undefined) tensor[tensor.length - 1]! += 1;
    const files = [
      ["config.json", new TextEncoder().encode(JSON.stringify(config))],
      ["model.safetensors", writeSafetensors(storeWeights(specs, values))],
    ] as const;
    return new CountedFolder(name, new Map(files));
  };
  const tower = { name: "text_model.final_layer_norm.weight", shape: [5] };
  return { decoder: make("d", SMALL_LLAMA, decoder), encoder: make("e", SMALL_SIGLIP, [...encoder, tower]) };
}

async function hashesOf(
  { decoder, encoder }: ReturnType<typeof folders>,
  options: Parameters<typeof hashModels>[1] = {},
): Promise<string[]> {
  return await hashModels([await hashedEncoder(encoder), await hashedDecoder(decoder)], options);
}

Deno.test("a model's hash depends on every tensor that is used, and on no other", async () => {
  const [encoderHash, decoderHash] = await hashesOf(folders());
  assert.match(encoderHash!, /^[0-9a-f]{64}$/);
  assert.deepEqual(await hashesOf(folders()), [encoderHash, decoderHash]);
  for (const { name } of encoder) {
    const [first, second] = await hashesOf(folders(name));
    assert.notEqual(first, encoderHash, name);
    assert.equal(second, decoderHash);
  }
  for (const { name } of decoder) {
    const [first, second] = await hashesOf(folders(name));
    assert.equal(first, encoderHash);
    assert.notEqual(second, decoderHash, name);
  }
  assert.deepEqual(await hashesOf(folders("text_model.final_layer_norm.weight")), [encoderHash, decoderHash]);
});

Deno.test("every tensor is read once, progress is counted in bytes, and an abort ends it", async () => {
  const pair = folders();
  const seen: [number, number][] = [];
  await hashesOf(pair, { onProgress: (done, total) => seen.push([done, total]) });
  const bytes = (specs: typeof decoder): number =>
    specs.reduce((sum, { shape }) => sum + 4 * shape.reduce((product, n) => product * n, 1), 0);
  const total = bytes(decoder) + bytes(encoder);
  assert.deepEqual(seen.at(-1), [total, total]);
  assert.equal(seen.length, decoder.length + encoder.length);
  for (const [folder, specs] of [[pair.decoder, decoder], [pair.encoder, encoder]] as const) {
    const size = folder.files.get("model.safetensors")!.length;
    // The header is read besides, and its length twice.
    assert.ok(folder.asked.get("model.safetensors")! <= size + 8);
    assert.ok(folder.asked.get("model.safetensors")! >= bytes(specs));
  }
  const stop = new AbortController();
  const aborted = hashesOf(folders(), { signal: stop.signal, onProgress: () => stop.abort() });
  await assert.rejects(aborted, { name: "AbortError" });
});
