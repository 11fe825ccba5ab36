import assert from "node:assert/strict";
import { ptbTokens } from "../../../lib/text/metrics/ptb_tokenizer.ts";
import { goldenImages } from "./golden.ts";

Deno.test("captions are cut as CoreNLP's tokenizer cuts them", () => {
  for (const { candidate, references, tokens } of goldenImages) {
    assert.equal(ptbTokens(candidate).join(" "), tokens.ptb.candidate);
    assert.deepEqual(references.map((text) => ptbTokens(text).join(" ")), tokens.ptb.references);
  }
});
