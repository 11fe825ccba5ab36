import assert from "node:assert/strict";
import { captionDiversity } from "../../../lib/text/metrics/diversity.ts";

Deno.test("shares of different words, of repeated triples and of equal captions", () => {
  const found = captionDiversity(
    ["a dog a dog a dog", "a cat", "a cat", ""].map((text) => text.match(/\w+/g) ?? []),
  );
  assert.equal(found.vocabulary, 3);
  assert.equal(found.distinct1, 3 / 10);
  assert.equal(found.distinct2, 3 / 7);
  assert.equal(found.repetition, 0.5);
  assert.equal(found.duplicates, 0.25);
  assert.deepEqual([found.minLength, found.meanLength, found.maxLength], [0, 2.5, 6]);
});

Deno.test("no captions and empty captions give zeros", () => {
  for (const captions of [[], [[]]]) {
    for (const value of Object.values(captionDiversity(captions))) assert.equal(value, 0);
  }
});
