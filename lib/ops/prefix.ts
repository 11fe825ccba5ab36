/**
 * Image tokens in front of text tokens, and the positions that predict the text.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { moveRows } from "./move_rows.ts";
import { takeRows } from "./take_rows.ts";

/**
 * Records [B, P+T, D]: `prefix` [B, P, D] followed by `text` [B, T, D]. Gradients go to both.
 *
 * @throws {TypeError} when batch or width differ
 */
export function assemblePrefix(r: Recorder, prefix: Tensor, text: Tensor): Tensor {
  const [B, P, D] = [prefix.dim(0), prefix.dim(1), prefix.dim(2)];
  const T = text.dim(1);
  if (text.dim(0) !== B || text.dim(2) !== D) {
    throw new TypeError(
      `Cannot put a prefix [${prefix.shape}] before text [${text.shape}]: batch or width differs`,
    );
  }
  const sequence = r.tensor([B, P + T, D], "sequence");
  moveRows(r, [prefix, sequence], { rows: P });
  moveRows(r, [text, sequence], { rows: T, toStart: P });
  r.onBackward(sequence, [prefix, text], (dSequence) => {
    r.accumulate(prefix, (dPrefix, add) => moveRows(r, [dSequence, dPrefix], { rows: P, add }));
    r.accumulate(text, (dText, add) => moveRows(r, [dSequence, dText], { rows: T, fromStart: P, add }));
  });
  return sequence;
}

/**
 * Records the rows of `hidden` [B, S, D] that predict text: P-1 … S-2 of every sample, as [B·T, D] with T = S - P.
 * The last prefix position predicts the first text token, the last text token predicts nothing.
 *
 * @throws {RangeError} when there is no prefix token or no text token
 */
export function gatherTextRows(r: Recorder, hidden: Tensor, options: { prefixTokens: number }): Tensor {
  const { prefixTokens: P } = options;
  const [B, S, D] = [hidden.dim(0), hidden.dim(1), hidden.dim(2)];
  const T = S - P;
  if (!Number.isInteger(P) || P < 1 || T < 1) {
    throw new RangeError(
      `Cannot gather text rows of "${hidden.label}" [${hidden.shape}]: ${P} prefix tokens, expected 1 to ${
        S - 1
      }`,
    );
  }
  return takeRows(r, hidden, { start: P - 1, count: T }).reshape(B * T, D);
}
