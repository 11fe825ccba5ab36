import assert from "node:assert/strict";
import { Rng } from "../../../lib/base/rng.ts";
import { commonLength, commonPositions } from "../../../lib/text/metrics/subsequence.ts";

/** The whole table, walked backwards: left only if that is better, else up. */
function referencePositions(a: string[], b: string[]): number[] {
  const table = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      table[i]![j] = a[i - 1] === b[j - 1]
        ? table[i - 1]![j - 1]! + 1
        : Math.max(table[i - 1]![j]!, table[i]![j - 1]!);
    }
  }
  const positions: number[] = [];
  for (let i = a.length, j = b.length; i > 0 && j > 0;) {
    if (a[i - 1] === b[j - 1]) positions.push(--i), j--;
    else if (table[i]![j - 1]! > table[i - 1]![j]!) j--;
    else i--;
  }
  return positions.reverse();
}

Deno.test("subsequences are those of the whole table, across every cut of it", () => {
  const rng = new Rng(5);
  for (
    const [m, n] of [[0, 0], [0, 3], [1, 1], [15, 16], [16, 5], [17, 33], [64, 64], [200, 70], [300, 300]]
  ) {
    for (let round = 0; round < 4; round++) {
      const [a, b] = [m!, n!].map((length) =>
        Array.from({ length }, () => "abcdefgh"[rng.int(2 + 2 * round)]!)
      ) as [
        string[],
        string[],
      ];
      const expected = referencePositions(a, b);
      assert.equal(commonLength(a, b), expected.length);
      assert.deepEqual(commonPositions(a, b), expected);
    }
  }
});
