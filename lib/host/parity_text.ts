/**
 * Parity of text encoders: the hidden states of every layer, at every position that is not padding.
 *
 * @module
 */

import { openSafetensors, type SafetensorsFile } from "../format/safetensors.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { readF32 } from "../gpu/tensor.ts";
import { loadTextModel } from "../models/load.ts";
import { textHiddenStates } from "../models/text.ts";
import { createTextInputs, destroyTextInputs, packTexts } from "../models/text_batch.ts";
import { openFile, openFileFolder } from "./files.ts";
import { compare, FORWARD, type ParityRow } from "./parity_rows.ts";

/**
 * The texts of a case: `input_ids` [B, T] up to where `attention_mask` [B, T] ends, or all of them where there is none.
 *
 * @throws {RangeError} when a mask has holes
 */
export async function readTexts(inputs: SafetensorsFile): Promise<number[][]> {
  const ids = await inputs.readI32("input_ids");
  const T = inputs.tensors.get("input_ids")!.shape[1]!;
  const mask = inputs.tensors.has("attention_mask") ? await inputs.readI32("attention_mask") : undefined;
  return Array.from({ length: ids.length / T }, (_, b) => {
    const row = mask?.subarray(b * T, (b + 1) * T) ?? new Int32Array(T).fill(1);
    const length = row.reduce((sum, seen) => sum + seen, 0);
    if (row.indexOf(0) >= 0 && row.indexOf(0) !== length) {
      throw new RangeError(
        `Cannot run "${inputs.name}": "attention_mask" of text ${b} hides tokens before others; ` +
          "expected padding behind the text",
      );
    }
    return [...ids.subarray(b * T, b * T + length)];
  });
}

/** Runs the case in `folder`: `model/`, `inputs.safetensors`, `expected.safetensors`. */
export async function runTextEncoder(gpu: Gpu, folder: string): Promise<ParityRow[]> {
  const open = async (name: string): Promise<SafetensorsFile> =>
    await openSafetensors(await openFile(`${folder}/${name}`));
  const [inputs, expected] = [await open("inputs.safetensors"), await open("expected.safetensors")];
  const { config, weights } = await loadTextModel(gpu, await openFileFolder(`${folder}/model`));
  const length = inputs.tensors.get("input_ids")!.shape[1]!;
  const batch = packTexts(await readTexts(inputs), { config, length });
  const texts = createTextInputs(gpu, batch);
  const r = new Recorder(gpu);
  const states = textHiddenStates(r, weights, texts, { config }).map((state) => r.keep(state));
  const plan = await r.compile();
  plan.run();
  const D = config.hiddenSize;
  const seen = (values: Float32Array): Float32Array =>
    values.filter((_, i) => batch.keyMask[Math.floor(i / D)] === 1);
  const rows: ParityRow[] = [];
  for (const [layer, state] of states.entries()) {
    const name = `hidden_states.${layer}`;
    const pair = [await readF32(gpu, state), await expected.readF32(name)] as const;
    rows.push(compare(name, [seen(pair[0]), seen(pair[1])], { tolerance: FORWARD }));
  }
  plan.destroy({ arena: true });
  weights.destroy();
  destroyTextInputs(texts);
  return rows;
}
