/**
 * The token that stands for an image's positions in a prompt, in layouts whose models take one.
 *
 * @module
 */

import { formatJson, type JsonObject, type JsonValue, parseJsonObject } from "../format/json.ts";

/** Text of the token. */
export const IMAGE_TOKEN = "<image>";

/** A tokenizer with the token in it. */
export interface WithImageToken {
  /** Its `tokenizer.json`. */
  tokenizerJson: string;
  /** Id of the token: a row that the embedding has already, unless growing was allowed. */
  imageTokenId: number;
}

interface AddedToken extends JsonObject {
  id: number;
  content: string;
  special: boolean;
}

/**
 * Finds a place for the token without growing the embedding: a spare row behind the tokenizer's last id, else a special token that
 * captions never hold, renamed.
 *
 * @param options.reserved ids that end, begin or pad texts
 * @param options.mayGrow takes the first id behind the embedding where there is no place in it
 * @throws {RangeError} when there is no place
 */
export function placeImageToken(
  tokenizerJson: string,
  options: { vocabSize: number; tokenizerSize: number; reserved: readonly number[]; mayGrow?: boolean },
): WithImageToken {
  const { vocabSize, tokenizerSize, reserved, mayGrow = false } = options;
  const json = parseJsonObject(tokenizerJson, "tokenizer.json");
  const added = (json["added_tokens"] ?? []) as unknown as AddedToken[];
  const existing = added.find(({ content }) => content === IMAGE_TOKEN);
  if (existing !== undefined) return { tokenizerJson, imageTokenId: existing.id };
  const append = (): WithImageToken => {
    const token: AddedToken = { id: tokenizerSize, content: IMAGE_TOKEN, ...PLAIN, special: true };
    const added_tokens = [...added, token] as unknown as JsonValue;
    return { tokenizerJson: formatJson({ ...json, added_tokens }), imageTokenId: tokenizerSize };
  };
  if (tokenizerSize < vocabSize) return append();
  const spare = added.toReversed().find(({ id, special }) => special && !reserved.includes(id));
  if (spare === undefined) {
    if (mayGrow) return append();
    throw new RangeError(
      "Cannot place an image token: the embedding has no spare row, and the tokenizer no special token that is not in use",
    );
  }
  const { content } = spare;
  const model = json["model"] as JsonObject;
  const vocab = Object.fromEntries(
    Object.entries(model["vocab"] as JsonObject).map((
      [text, id],
    ) => [id === spare.id ? IMAGE_TOKEN : text, id]),
  );
  const added_tokens = added.map((token) =>
    token.content === content ? { ...token, content: IMAGE_TOKEN } : token
  ) as unknown as JsonValue;
  return {
    tokenizerJson: formatJson({ ...json, added_tokens, model: { ...model, vocab } }),
    imageTokenId: spare.id,
  };
}

const PLAIN = { single_word: false, lstrip: false, rstrip: false, normalized: false };
