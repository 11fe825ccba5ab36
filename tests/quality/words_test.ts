import assert from "node:assert/strict";
import { matchObjects, normalizeWords, readObjectNames, wordsOf } from "../../lib/quality/words.ts";

Deno.test("words are lower case without punctuation, in any script", () => {
  assert.equal(normalizeWords("  A dog's red-ball, (twice)!"), "a dog s red ball twice");
  assert.deepEqual(wordsOf("Ein Bär, zwei Äpfel."), ["ein", "bär", "zwei", "äpfel"]);
  assert.deepEqual(wordsOf(" …! "), []);
});

Deno.test("objects come as list, as text, or printed by JSON or Python", () => {
  for (
    const cell of [
      ["Dog", "fire hydrant"],
      "dog; fire hydrant",
      "dog,fire hydrant,",
      '["dog", "fire hydrant"]',
      "['dog', 'Fire Hydrant']",
    ]
  ) assert.deepEqual(readObjectNames(cell), ["dog", "fire hydrant"], JSON.stringify(cell));
  assert.deepEqual(readObjectNames([]), []);
  assert.deepEqual(readObjectNames(""), []);
  assert.deepEqual(readObjectNames([" ", "!", "cat"]), ["cat"]);
  for (const cell of [undefined, null, 7, { bbox: [1] }, [[1, 2]], [{ id: 1 }]]) {
    assert.equal(readObjectNames(cell), undefined, JSON.stringify(cell));
  }
  assert.equal(readObjectNames(Array.from({ length: 5000 }, () => "x1"))!.length, 1000);
});

Deno.test("an object is found in singular and plural, as a whole word", () => {
  const matched = (caption: string, objects: string[]) =>
    matchObjects(normalizeWords(caption), objects).matched;
  assert.equal(matched("Four red buses in the snow.", ["bus"]), 1);
  assert.equal(matched("A bus", ["buses"]), 1);
  assert.equal(matched("Two ponies and a box", ["pony", "boxes"]), 2);
  assert.equal(matched("People at tables with knives", ["person", "table", "knife"]), 3);
  assert.equal(matched("Two fire hydrants", ["fire hydrant"]), 1);
  assert.equal(matched("A carpet", ["car"]), 0);
  assert.equal(matched("A glass", ["glas"]), 0, "a singular is not cut twice");
  assert.deepEqual(matchObjects("a cat", ["cat", "dog"]).missing, ["dog"]);
  assert.deepEqual(matchObjects("", ["cat"]), { matched: 0, total: 1, missing: ["cat"] });
});
