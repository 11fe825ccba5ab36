import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { distance, findNearPairs, Groups } from "../../lib/quality/near_pairs.ts";
import { countDuplicates, embeddingGroups, ImagePrints } from "../../lib/quality/near_duplicates.ts";

const hexOf = (rng: Rng, digits: number) =>
  Array.from({ length: digits }, () => rng.int(16).toString(16)).join("");

Deno.test("codes within the distance are all found, and no others", () => {
  const rng = new Rng(3);
  const count = 3000;
  const codes = Uint32Array.from({ length: 2 * count }, () => rng.int(2 ** 32));
  // Every tenth code is a copy of the one before with up to six bits turned.
  for (let i = 1; i < count; i += 10) {
    codes.copyWithin(2 * i, 2 * (i - 1), 2 * i);
    for (let turn = rng.int(7); turn > 0; turn--) codes[2 * i + rng.int(2)]! ^= 1 << rng.int(32);
  }
  const wanted = new Set<string>();
  for (let a = 0; a < count; a++) {
    for (let b = a + 1; b < count; b++) {
      if (distance(codes, 2 * a, 2 * b, 2) <= 4) wanted.add(`${a} ${b}`);
    }
  }
  const found = new Set<string>();
  findNearPairs(codes, {
    wordsPerCode: 2,
    bands: [[0, 13], [13, 13], [26, 13], [39, 13], [52, 12]],
    maxDistance: 4,
    onPair: (a, b) => found.add(`${Math.min(a, b)} ${Math.max(a, b)}`),
  });
  assert.deepEqual([...found].sort(), [...wanted].sort());
  assert.ok(wanted.size > 100);
});

Deno.test("groups are joined over others", () => {
  const groups = new Groups(7);
  groups.join(5, 3);
  groups.join(0, 6);
  groups.join(3, 1);
  groups.join(1, 5);
  assert.deepEqual(groups.list(), [[1, 3, 5], [0, 6]]);
  assert.deepEqual(new Groups(0).list(), []);
});

Deno.test("a picture in other colours has the same hash and is no duplicate", () => {
  const rng = new Rng(5);
  const prints = new ImagePrints();
  const [hash, thumb] = [hexOf(rng, 16), "80".repeat(48)];
  prints.add(hash, thumb);
  prints.add(hash, "84".repeat(48));
  prints.add(hash, "ff0000".repeat(16));
  for (let i = 0; i < 2000; i++) prints.add(hexOf(rng, 16), hexOf(rng, 96));
  assert.deepEqual(prints.groups(), [[0, 1]]);
  assert.equal(prints.size, 2003);
});

Deno.test("many equal images are one group", () => {
  const prints = new ImagePrints();
  for (let i = 0; i < 5000; i++) prints.add("0123456789abcdef", "10".repeat(48));
  assert.deepEqual(prints.groups().map(({ length }) => length), [5000]);
});

Deno.test("embeddings of cosine 0.97 and more are found among thousands that share a direction", () => {
  const rng = new Rng(11);
  const [count, width] = [3000, 64];
  const vectors = Array.from({ length: count }, () => {
    const vector = Array.from({ length: width }, (_, c) => rng.next() - 0.5 + (c === 0 ? 3 : 0));
    return vector;
  });
  for (let i = 1; i < count; i += 20) {
    vectors[i] = vectors[i - 1]!.map((value) => value + 0.1 * (rng.next() - 0.5));
  }
  const unit = vectors.map((vector) => {
    const norm = Math.hypot(...vector);
    return vector.map((value) => value / norm);
  });
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, c) => sum + value * b[c]!, 0);
  const minCosine = 0.995;
  let wanted = 0;
  for (let i = 1; i < count; i += 20) if (dot(unit[i]!, unit[i - 1]!) >= minCosine) wanted++;
  const groups = embeddingGroups({ count, width, minCosine, read: (i) => unit[i]! });
  assert.equal(wanted, 150);
  assert.ok(groups.length >= 0.97 * wanted, `${groups.length} of ${wanted}`);
  for (const group of groups) assert.ok(dot(unit[group[0]!]!, unit[group[1]!]!) >= minCosine);
  assert.deepEqual(embeddingGroups({ count: 1, width, minCosine, read: () => unit[0]! }), []);
});

Deno.test("what lies in several splits is counted as leaked", () => {
  const splits = ["train", "test", "train", "train", "train", "validation"];
  assert.deepEqual(countDuplicates([[0, 1, 2], [3, 4]], (i) => splits[i]!), {
    groups: 2,
    surplus: 3,
    leakedGroups: 1,
    leakedTrainImages: 2,
  });
});
