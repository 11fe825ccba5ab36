/**
 * Tokenizer and image processor of a model's folder, checked against the sizes of the models that they feed.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { type FileFolder, readText } from "../format/byte_source.ts";
import { parseJsonObject } from "../format/json.ts";
import { outputSize, parseProcessorConfig, type ProcessorConfig } from "../image/processor.ts";
import type { DecoderConfig } from "./decoder.ts";
import type { VisionConfig } from "./vision.ts";
import { type CaptionTokenizer, loadTokenizer } from "../text/tokenizer.ts";

/** Files of a tokenizer and of an image processor. */
export type ModelTextName = "tokenizer.json" | "tokenizer_config.json" | "preprocessor_config.json";

/** A file of a model's folder as text. */
export interface ModelText {
  /** The folder, for messages. */
  folder: string;
  /** The file's name. */
  name: ModelTextName;
  /** What it holds. */
  text: string;
}

/** Reads one of the files. @throws {UserError} If the folder has it not */
export async function readModelText(folder: FileFolder, name: ModelTextName): Promise<ModelText> {
  const file = await folder.open(name);
  if (file === undefined) throw new UserError(`Cannot use "${folder.name}": it has no "${name}"`);
  return { folder: folder.name, name, text: await readText(file) };
}

const parse = ({ folder, name, text }: ModelText) => parseJsonObject(text, `${folder}/${name}`);

/**
 * Makes the tokenizer of a decoder.
 *
 * @throws {SyntaxError} If a file is not JSON
 * @throws {UserError} If it is not a tokenizer, or has ids that the decoder's embedding has no rows for
 */
export function parseTokenizer(
  files: { tokenizer: ModelText; config: ModelText },
  decoder: DecoderConfig,
): CaptionTokenizer {
  const { folder } = files.tokenizer;
  const [description, config] = [parse(files.tokenizer), parse(files.config)];
  const tokenizer = blame(files.tokenizer, () => loadTokenizer(description, config));
  if (tokenizer.vocabSize > decoder.vocabSize) {
    throw new UserError(
      `Cannot use "${folder}/tokenizer.json": it has ${tokenizer.vocabSize} ids, the decoder's embedding ` +
        `${decoder.vocabSize} rows ("vocab_size"); use the tokenizer of the same model`,
    );
  }
  return tokenizer;
}

/**
 * Makes the image processor of an encoder.
 *
 * @throws {SyntaxError} If the file is not JSON
 * @throws {UserError} If it is no image processor's, or gives pictures of another size than the encoder takes
 */
export function parseProcessor(
  file: ModelText,
  { imageSize }: Pick<VisionConfig, "imageSize">,
): ProcessorConfig {
  const fields = parse(file);
  const processor = blame(file, () => parseProcessorConfig(fields));
  const size = outputSize(processor);
  if (size?.width === imageSize && size.height === imageSize) return processor;
  const given = size === undefined ? "pictures of any size" : `${size.width}x${size.height} pixels`;
  throw new UserError(
    `Cannot use "${file.folder}/${file.name}": it gives ${given}, the encoder takes ${imageSize}x${imageSize}; use the image ` +
      "processor of the same model, as with --feature-extractor-model",
  );
}

/** Names the folder in what a parser says of a file. */
function blame<T>({ folder, name }: ModelText, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw new UserError(`Cannot use "${folder}/${name}": ${describeError(error)}`, { cause: error });
  }
}
