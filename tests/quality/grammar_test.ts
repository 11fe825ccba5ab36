import assert from "node:assert/strict";
import { indefiniteArticle, nounKind, pluralOf, pluralVerb } from "../../lib/quality/grammar.ts";

Deno.test("articles follow the sound", () => {
  const an = "apple hour honest umbrella igloo x-ray 8-ball uncle onion elephant LCD heirloom uninhabited";
  const a = "unicorn uniform user euro one-way banana house university utensil UFO hotel 9-ball ukulele";
  for (const word of an.split(" ")) assert.equal(indefiniteArticle(word), "an", word);
  for (const word of a.split(" ")) assert.equal(indefiniteArticle(word), "a", word);
});

Deno.test("plurals", () => {
  const cases = {
    "wine glass": "wine glasses",
    bus: "buses",
    person: "people",
    knife: "knives",
    baby: "babies",
    toy: "toys",
    sheep: "sheep",
    salesperson: "salespeople",
    box: "boxes",
    scissors: "scissors",
    bread: "bread",
    dress: "dresses",
    "hot dog": "hot dogs",
  };
  for (const [one, several] of Object.entries(cases)) assert.equal(pluralOf(one), several);
});

Deno.test("nouns are counted, not counted, several, or pairs", () => {
  const kinds = {
    broccoli: "uncountable",
    scissors: "pair",
    shoes: "plural",
    people: "plural",
    bus: "countable",
  };
  for (const [noun, kind] of Object.entries({ ...kinds, dress: "countable", "wine glass": "countable" })) {
    assert.equal(nounKind(noun), kind, noun);
  }
});

Deno.test("verbs of several", () => {
  const cases = {
    runs: "run",
    is: "are",
    was: "were",
    has: "have",
    carries: "carry",
    lies: "lie",
    watches: "watch",
    goes: "go",
    kisses: "kiss",
    closes: "close",
    jumped: "jumped",
  };
  for (const [one, several] of Object.entries(cases)) assert.equal(pluralVerb(one), several);
});
