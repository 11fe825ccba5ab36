/**
 * What error messages are made of. A message says what was being done, what was found, what was wanted and what to do,
 * without a full stop. `TypeError` is for a wrong kind or shape, `RangeError` for a wrong value, `SyntaxError` for
 * malformed bytes, {@linkcode UserError} for a mistake that needs no stack trace.
 *
 * @module
 */

/** A mistake of whoever runs the program: shown as one line, without a stack trace. */
export class UserError extends Error {
  /** Always `"UserError"`. */
  override name = "UserError";
}

/** A shape as messages show it: `[2, 576]`. */
export function describeShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

/**
 * Quoted names, the first `limit` of them (8 unless told), and how many were left out: `"a", "b" and 12 more`.
 */
export function describeNames(names: readonly string[], limit = 8): string {
  const shown = names.slice(0, limit).map((name) => JSON.stringify(name)).join(", ");
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}

/** What a caught value says: the message of an `Error`, else the value as text. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Calls a function that reads what a file or folder holds without knowing its name; its errors are given the name.
 *
 * @throws {RangeError} With what the function threw as its cause
 */
export function naming<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new RangeError(`Cannot load "${name}": ${describeError(cause)}`, { cause });
  }
}

/**
 * The candidate spelled nearest to `word`, ignoring case, or `undefined` when none is near: at most one edit (insert, delete,
 * replace, swap of neighbours) per three letters of the longer word. The first of equally near ones wins.
 */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const allowed = Math.ceil(Math.max(word.length, candidate.length) / 3);
    // A difference in length alone already costs that many edits, so most candidates need no table.
    if (Math.abs(word.length - candidate.length) > allowed) continue;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= allowed && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Optimal string alignment distance: Levenshtein's, with a swap of neighbours as one edit. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      let cost = Math.min(
        row[j]! + 1,
        next[j - 1]! + 1,
        row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, before[j - 2]! + 1);
      }
      next.push(cost);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}
