/**
 * Longest common subsequences of words, in memory that grows with one side only.
 *
 * @module
 */

/** A text, as words or as their numbers. */
type Words = readonly (string | number)[];

/** Shorter texts are compared word by word. */
const SHORT = 64;

/**
 * Length of the longest common subsequence.
 *
 * Cost: |a| |b| steps, two rows of |b| numbers.
 */
export function commonLength(a: Words, b: Words): number {
  const [first, second] = b.length < SHORT ? [a, b] : numbered(a, b);
  let row = new Uint32Array(b.length + 1);
  let next = new Uint32Array(b.length + 1);
  for (let i = 0; i < first.length; i++) {
    nextRow(row, next, { word: first[i]!, words: second });
    [row, next] = [next, row];
  }
  return row[b.length]!;
}

/**
 * Positions in `a`, ascending, of one longest common subsequence. Of several, the one found backwards from the ends of both, which
 * leaves out a word of `b` only if that is better than leaving out one of `a`.
 *
 * Cost: 2 |a| |b| steps and sqrt(|a|) rows of |b| numbers: of the table only some rows are kept, those between are made again.
 */
export function commonPositions(a: Words, b: Words): number[] {
  const [first, second] = numbered(a, b);
  const step = Math.max(16, Math.ceil(Math.sqrt(a.length)));
  const kept: Uint32Array[] = [new Uint32Array(b.length + 1)];
  const rowsFrom = (start: number, count: number): Uint32Array[] => {
    const rows = [kept[start / step]!];
    for (let i = 0; i < count; i++) {
      const row = new Uint32Array(b.length + 1);
      nextRow(rows[i]!, row, { word: first[start + i]!, words: second });
      rows.push(row);
    }
    return rows;
  };
  for (let start = 0; start + step < a.length; start += step) kept.push(rowsFrom(start, step)[step]!);
  const positions: number[] = [];
  let j = b.length;
  for (let start = (kept.length - 1) * step; start >= 0; start -= step) {
    const rows = rowsFrom(start, Math.min(step, a.length - start));
    for (let i = rows.length - 1; i > 0 && j > 0;) {
      if (first[start + i - 1] === second[j - 1]) {
        positions.push(start + i - 1);
        i--;
        j--;
      } else if (rows[i]![j - 1]! > rows[i - 1]![j]!) j--;
      else i--;
    }
  }
  return positions.reverse();
}

function nextRow(
  row: Uint32Array,
  next: Uint32Array,
  { word, words }: { word: string | number; words: ArrayLike<string | number> },
): void {
  next[0] = 0;
  for (let j = 0; j < words.length; j++) {
    const up = row[j + 1]!;
    const left = next[j]!;
    next[j + 1] = word === words[j] ? row[j]! + 1 : up > left ? up : left;
  }
}

/** Words of both sides as numbers, which compare faster. */
function numbered(a: Words, b: Words): [Uint32Array, Uint32Array] {
  const numbers = new Map<string | number, number>();
  const numberOf = (word: string | number): number => {
    const known = numbers.get(word);
    if (known !== undefined) return known;
    numbers.set(word, numbers.size);
    return numbers.size - 1;
  };
  return [Uint32Array.from(a, numberOf), Uint32Array.from(b, numberOf)];
}
