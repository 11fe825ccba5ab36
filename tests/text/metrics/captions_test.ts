import assert from "node:assert/strict";
import { isExactMatch, namesObjects, rougeL, scoreCaptions } from "../../../lib/text/metrics/captions.ts";
import { rougeWords } from "../../../lib/text/metrics/rouge.ts";

// Stemmed words and the F-measure that rouge_score gives them (best of the references).
const REFERENCE_SCORES: [string, string[], number][] = [
  ["a brown dog leap across a grassi field toward a stone wall", [
    "a brown dog is jump through a field of green grass by a rock wall",
    "the dog run across the grass",
    "a brown dog jump over a grassi meadow near a rock wall",
  ], 0.5833333333],
  ["red sport auto", ["a red sport car park on the street", "a shini red car"], 0.3636363636],
  ["a neon sign read glow abov a shop at night", [
    "a neon sign that read glow over a store at night",
    "glow japanes neon sign",
  ], 0.7619047619],
  ["a stop sign at the corner of a street", [
    "a stop sign at the corner of a street",
    "a stop sign on a street corner",
  ], 1],
  ["a dog wait and wait for its owner", ["a dog is wait for its owner", "the dog wait and wait"], 0.8],
];

Deno.test("ROUGE-L agrees with rouge_score on the same words", () => {
  for (const [candidate, references, expected] of REFERENCE_SCORES) {
    assert.ok(Math.abs(rougeL(candidate, references) - expected) < 1e-9, candidate);
  }
});

Deno.test("words are cut as rouge_score does: accents, hyphens and underscores separate", () => {
  assert.deepEqual(rougeWords("Crème_brûlée, T-shirt 42!"), ["cr", "me", "br", "l", "e", "t", "shirt", "42"]);
  assert.deepEqual(rougeWords(" …"), []);
});

Deno.test("an empty side scores 0 and missing references are refused", () => {
  assert.equal(rougeL("", ["a dog"]), 0);
  assert.equal(rougeL("a dog", ["…"]), 0);
  assert.throws(() => rougeL("a dog", []), RangeError);
  assert.throws(() => isExactMatch("a dog", []), RangeError);
  assert.throws(() => scoreCaptions([]), RangeError);
});

Deno.test("exact match ignores white space and byte order marks only", () => {
  assert.ok(isExactMatch("\uFEFFA  dog.\n", ["A cat.", "A dog."]));
  assert.ok(!isExactMatch("A dog", ["A dog."]));
  assert.ok(!isExactMatch("a dog.", ["A dog."]));
});

Deno.test("objects count in singular and plural, as whole words", () => {
  assert.ok(namesObjects("Two people beside three buses.", ["person", "bus"]));
  assert.ok(namesObjects("Berries under a traffic light", ["berry", "traffic light"]));
  assert.ok(!namesObjects("A catalogue", ["cat"]));
  assert.ok(!namesObjects("A cat.", ["cat", "dog"]));
});

Deno.test("an object of the vocabulary that is not there makes a caption wrong", () => {
  const vocabulary = ["cat", "dog", "light", "traffic light"];
  assert.ok(!namesObjects("A cat beside a dog.", ["cat"], { vocabulary }));
  assert.ok(namesObjects("A cat beside a sofa.", ["cat"], { vocabulary }));
  assert.ok(namesObjects("A traffic light.", ["traffic light"], { vocabulary }));
});

Deno.test("means are taken over all captions, objects over those that list them", () => {
  const scores = scoreCaptions([
    { candidate: "A cat.", references: ["A cat."], objects: ["cat"] },
    { candidate: "A cat.", references: ["A dog."], objects: ["dog"] },
    { candidate: "x", references: ["y"] },
  ]);
  assert.equal(scores.count, 3);
  assert.ok(Math.abs(scores.rougeL - 0.5) < 1e-12);
  assert.ok(Math.abs(scores.exactMatch - 1 / 3) < 1e-12);
  assert.equal(scores.objectAccuracy, 0.5);
  assert.equal("objectAccuracy" in scoreCaptions([{ candidate: "x", references: ["y"] }]), false);
});
