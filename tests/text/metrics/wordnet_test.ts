import assert from "node:assert/strict";
import { meteorScore, meteorText } from "../../../lib/text/metrics/meteor.ts";
import { PARTS_OF_SPEECH, WordNet } from "../../../lib/text/metrics/wordnet.ts";

/** A database of a few words, in WordNet's own format: licence, then lines at the bytes that the index names. */
function tinyWordNet(change: (files: Map<string, string>) => void = () => {}): WordNet {
  const synsets: Record<string, string[][]> = {
    noun: [["couch", "sofa"], ["dog", "domestic_dog", "Canis_familiaris"], ["goose"]],
    verb: [["run", "scat"]],
    adj: [["galore(ip)", "abundant"]],
    adv: [["quickly", "speedily"]],
  };
  const files = new Map<string, string>();
  for (const part of PARTS_OF_SPEECH) {
    let data = "  1 This is the licence.\n";
    const index = new Map<string, number[]>();
    for (const names of synsets[part]!) {
      const offset = data.length;
      const at = String(offset).padStart(8, "0");
      data += `${at} 05 n ${names.length.toString(16).padStart(2, "0")} ${
        names.map((name) => `${name} 0`).join(" ")
      } 000 | a gloss  \n`;
      for (const name of names) {
        const lemma = name.toLowerCase().replace(/\(.*/, "");
        index.set(lemma, [...(index.get(lemma) ?? []), offset]);
      }
    }
    files.set(`data.${part}`, data);
    files.set(
      `index.${part}`,
      `  1 This is the licence.\n${
        [...index].map(([lemma, offsets]) =>
          `${lemma} n ${offsets.length} 1 @ ${offsets.length} 0 ${
            offsets.map((offset) => String(offset).padStart(8, "0")).join(" ")
          }  \n`
        ).join("")
      }`,
    );
    files.set(`${part}.exc`, part === "noun" ? "geese goose\n" : part === "verb" ? "ran run\n" : "");
  }
  change(files);
  return new WordNet((name) => files.get(name));
}

Deno.test("synonyms are the one-word names of all synsets, without markers", () => {
  const wordNet = tinyWordNet();
  assert.deepEqual([...wordNet.synonyms("sofas")].sort(), ["couch", "sofa"]);
  assert.deepEqual([...wordNet.synonyms("dog")], ["dog"]);
  assert.deepEqual([...wordNet.synonyms("abundant")], ["galore", "abundant"]);
  assert.deepEqual([...wordNet.synonyms("zebra")], []);
  assert.deepEqual([...wordNet.synonyms("")], []);
});

Deno.test("base forms come from the exceptions, else from the endings, repeated while nothing is found", () => {
  const wordNet = tinyWordNet();
  assert.ok(wordNet.hasExceptions);
  assert.deepEqual(wordNet.baseForms("geese", "noun"), ["goose"]);
  assert.deepEqual(wordNet.baseForms("couches", "noun"), ["couch"]);
  assert.deepEqual(wordNet.baseForms("ran", "verb"), ["run"]);
  assert.deepEqual(wordNet.baseForms("ran", "noun"), []);
  const without = tinyWordNet((files) => files.delete("noun.exc"));
  assert.ok(!without.hasExceptions);
  assert.deepEqual(without.baseForms("geese", "noun"), []);
});

Deno.test("METEOR matches synonyms, from stem to stem", () => {
  const [candidate, reference] = [meteorText(["a", "sofa"]), meteorText(["a", "couch"])];
  const alone = meteorScore(candidate, [reference]);
  const together = meteorScore(candidate, [reference], { synonyms: tinyWordNet() });
  assert.ok(Math.abs(together - (1 - 0.5 / 8)) < 1e-12, `${together}`);
  assert.ok(alone < together);
});

Deno.test("an incomplete or damaged database is refused", () => {
  assert.throws(() => tinyWordNet((files) => files.delete("data.verb")), /no file "data.verb"/);
  assert.throws(
    () => tinyWordNet((files) => files.set("index.noun", "dog n 3 0 3 0 00000001\n")),
    /line of "dog" is damaged/,
  );
  const shifted = tinyWordNet((files) => files.set("data.noun", `x${files.get("data.noun")}`));
  assert.throws(() => shifted.synonyms("dog"), /no synset at byte/);
});
