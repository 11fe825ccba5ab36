import assert from "node:assert/strict";
import { splitSentences } from "../../../lib/text/metrics/punkt.ts";
import { wordTokens } from "../../../lib/text/metrics/word_tokenize.ts";
import { goldenImages } from "./golden.ts";

Deno.test("captions are cut as NLTK's word_tokenize cuts them", () => {
  for (const { candidate, references, tokens } of goldenImages) {
    assert.equal(wordTokens(candidate).join(" "), tokens.word_tokenize.candidate);
    assert.deepEqual(references.map((text) => wordTokens(text).join(" ")), tokens.word_tokenize.references);
  }
});

Deno.test("periods of abbreviations, initials and numbers end no sentence", () => {
  assert.deepEqual(splitSentences("Mr. Smith sits. The dog of J. Brown runs!  Yes? (Really.) no"), [
    "Mr. Smith sits.",
    "The dog of J. Brown runs!",
    "Yes?",
    "(Really.)",
    "no",
  ]);
  assert.deepEqual(splitSentences("It closes at 5 p.m. It opens at 9 a.m. on Monday"), [
    "It closes at 5 p.m.",
    "It opens at 9 a.m. on Monday",
  ]);
  assert.deepEqual(splitSentences(""), []);
  assert.deepEqual(splitSentences("  \n "), []);
});
