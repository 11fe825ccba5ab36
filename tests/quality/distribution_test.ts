import assert from "node:assert/strict";
import {
  entropyBits,
  gini,
  lorenzCurve,
  mostCommon,
  rareClasses,
  topShare,
} from "../../lib/quality/distribution.ts";

const counts = (values: Record<string, number>) => new Map(Object.entries(values));

/** Gini by its definition: half the mean absolute difference over the mean. */
function giniByPairs(values: readonly number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  let sum = 0;
  for (const a of values) for (const b of values) sum += Math.abs(a - b);
  return sum / (2 * values.length ** 2 * mean);
}

Deno.test("entropy, Gini and shares follow their definitions", () => {
  const even = counts({ a: 5, b: 5, c: 5, d: 5 });
  assert.equal(entropyBits(even), 2);
  assert.ok(Math.abs(gini(even)) < 1e-12);
  assert.equal(topShare(even, 1), 0.25);
  const values = [1, 2, 3, 10, 100, 100, 7];
  const uneven = new Map(values.map((value, i) => [`c${i}`, value]));
  assert.ok(Math.abs(gini(uneven) - giniByPairs(values)) < 1e-12);
  assert.ok(Math.abs(topShare(uneven, 2) - 200 / 223) < 1e-12);
  assert.equal(topShare(uneven, 99), 1);
});

Deno.test("nothing counted is 0 everywhere, and one class has no inequality", () => {
  const none = new Map<string, number>();
  assert.deepEqual([entropyBits(none), gini(none), topShare(none, 5)], [0, 0, 0]);
  assert.deepEqual(lorenzCurve(none).at(-1), { classes: 1, mentions: 1 });
  const one = counts({ a: 9 });
  assert.deepEqual([entropyBits(one), gini(one)], [0, 0]);
});

Deno.test("the Lorenz curve lies below the diagonal, ends at 1, and the area gives Gini", () => {
  const values = counts({ a: 1, b: 1, c: 4, d: 14 });
  const curve = lorenzCurve(values);
  assert.deepEqual(curve[0], { classes: 0, mentions: 0 });
  assert.deepEqual(curve.at(-1), { classes: 1, mentions: 1 });
  let area = 0;
  for (let i = 1; i < curve.length; i++) {
    assert.ok(curve[i]!.mentions <= curve[i]!.classes + 1e-12);
    area += (curve[i]!.classes - curve[i - 1]!.classes) * (curve[i]!.mentions + curve[i - 1]!.mentions) / 2;
  }
  assert.ok(Math.abs(1 - 2 * area - gini(values)) < 1e-12);
  const many = new Map(Array.from({ length: 10_000 }, (_, i) => [`c${i}`, i + 1]));
  assert.ok(lorenzCurve(many).length <= 202);
  assert.deepEqual(lorenzCurve(many).at(-1), { classes: 1, mentions: 1 });
});

Deno.test("common and rare classes are sorted", () => {
  const values = counts({ a: 3, b: 50, c: 49, d: 50 });
  assert.deepEqual(mostCommon(values).map(([name]) => name), ["b", "d", "c", "a"]);
  assert.deepEqual(rareClasses(values, 50), [["a", 3], ["c", 49]]);
});
