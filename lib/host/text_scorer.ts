/**
 * Encoders of texts, opened: RoBERTa and BERT for BERTScore, and the text towers of CLIP and SigLIP where nothing else is at hand.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { TextStates } from "../evaluate/encoders.ts";
import type { TokenStates } from "../evaluate/similarity.ts";
import { type FileFolder, readText } from "../format/byte_source.ts";
import { parseJsonObject } from "../format/json.ts";
import type { Gpu } from "../gpu/device.ts";
import { loadTextModel, loadTwoTowerModel } from "../models/load.ts";
import { maxTextTokens, type TextConfig } from "../models/text.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import { openTokenizer, tokensOf } from "./clip_scorer.ts";
import { EMBEDDED_DECODER, EMBEDDED_ENCODER, openModelFolder } from "./model_folders.ts";

/** An encoder that gives the states of a text's tokens. */
export interface TextScorer extends Disposable {
  /** Its family, by which the scale of its scores is told. */
  readonly family: TextConfig["family"];
  /** The layer whose states are given. */
  readonly layer: number;
  /** States of each text, with what begins and ends it. */
  states(texts: readonly string[]): Promise<TokenStates[]>;
}

/**
 * Opens a RoBERTa or BERT, or if `towers` says so the text tower of a CLIP or SigLIP, whose last layer is taken.
 *
 * @param options The layer whose states are compared; of a text tower the last
 * @throws {UserError} If its folder lacks a file, it has no such layer, or two towers that are not wanted
 */
export async function openTextScorer(
  gpu: Gpu,
  options: { model: string; layer: number; batchSize?: number; towers?: boolean },
): Promise<TextScorer> {
  const folder = await openModelFolder(options.model);
  const isTower = await hasTwoTowers(folder);
  if (isTower && !options.towers) {
    throw new UserError(
      `Cannot compute BERTScore with "${options.model}": it is a model of images and texts; name a RoBERTa or BERT`,
    );
  }
  const tokenizer = await openTokenizer(
    // The embedded tower learnt from the tokens of the embedded decoder.
    options.model === EMBEDDED_ENCODER ? await openModelFolder(EMBEDDED_DECODER) : folder,
  );
  const model = isTower ? await loadTower(gpu, folder) : await loadTextModel(gpu, folder);
  const layer = isTower ? model.config.layers : options.layer;
  if (layer > model.config.layers) {
    model.weights.destroy();
    throw new UserError(
      `Cannot compare the states of layer ${layer}: "${options.model}" has ${model.config.layers}; choose one with --bert-layer`,
    );
  }
  const { batchSize } = options;
  const encoder = new TextStates(gpu, model, {
    layer,
    ...(batchSize !== undefined && { batchSize }),
    // Towers that do not hide padding learnt from texts of full length.
    ...(isTower && { length: maxTextTokens(model.config) }),
  });
  return {
    family: model.config.family,
    layer,
    async states(texts) {
      const tokens = texts.map((text) => tokensOf(text, tokenizer, model.config));
      const states = await encoder.states(tokens);
      if (!isTower) return states;
      // These towers' texts only end with a token of its own.
      return states.map((one, i) => ({ ...one, weights: towerWeights(tokens[i]!, model.config, tokenizer) }));
    },
    [Symbol.dispose]() {
      encoder.destroy();
      model.weights.destroy();
    },
  };
}

/** Every token counts but those that only begin or end a text. */
function towerWeights(ids: readonly number[], config: TextConfig, tokenizer: CaptionTokenizer): number[] {
  const silent = new Set([config.endId ?? tokenizer.eosId, tokenizer.eosId, tokenizer.bosId]);
  return ids.map((id) => silent.has(id) ? 0 : 1);
}

async function hasTwoTowers(folder: FileFolder): Promise<boolean> {
  const config = await folder.open("config.json");
  return config !== undefined && "vision_config" in parseJsonObject(await readText(config), config.name);
}

async function loadTower(gpu: Gpu, folder: FileFolder) {
  const { config, weights } = await loadTwoTowerModel(gpu, folder);
  return { config: config.text, weights };
}
