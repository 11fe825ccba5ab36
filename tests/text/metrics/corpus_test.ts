import assert from "node:assert/strict";
import { type CandidateRow, type MetricName, scoreCorpus } from "../../../lib/text/metrics/corpus.ts";
import { porterStem } from "../../../lib/text/metrics/porter.ts";
import { RougeIndex, rougeScores, rougeTokens } from "../../../lib/text/metrics/rouge.ts";
import { readWordNet } from "../../../lib/host/wordnet.ts";
import { goldenCorpus, goldenImages } from "./golden.ts";

const TOLERANCE = 1e-6;
const near = (actual: number, expected: number, what: string): void =>
  assert.ok(Math.abs(actual - expected) <= TOLERANCE, `${what}: ${actual}, expected ${expected}`);

for (const tokenizer of ["ptb", "simple"] as const) {
  Deno.test(`BLEU, ROUGE, CIDEr and METEOR equal the reference implementations, tokenizer ${tokenizer}`, async () => {
    const { values, images } = await scoreCorpus(goldenImages, { tokenizer });
    const check = (
      actual: Readonly<Record<MetricName, number>>,
      golden: Pick<typeof goldenImages[number], "pycocoevalcap" | "rouge_score" | "nltk_meteor">,
      what: string,
    ) => {
      const coco = golden.pycocoevalcap[tokenizer];
      for (const [n, bleu] of coco.bleu.entries()) {
        near(actual[`bleu_${n + 1}` as MetricName], bleu, `${what} BLEU-${n + 1}`);
      }
      near(actual.rouge_l, coco.rouge_l, `${what} ROUGE-L of COCO`);
      near(actual.cider_d, coco.cider_d, `${what} CIDEr-D`);
      near(actual.cider, coco.cider_plain, `${what} CIDEr`);
      for (const name of ["rouge1", "rouge2", "rougeL", "rougeLsum"] as const) {
        near(actual[name], golden.rouge_score.max[name], `${what} ${name}`);
      }
      const meteor = golden.nltk_meteor[tokenizer === "ptb" ? "word_tokenize" : "simple"];
      near(actual.meteor, meteor.no_synonyms, `${what} METEOR`);
    };
    for (const [i, image] of images.entries()) check(image.values, goldenImages[i]!, image.id);
    check(values, goldenCorpus, "corpus");
  });
}

Deno.test("against the first reference alone ROUGE and METEOR equal the reference implementations", async () => {
  const rows = goldenImages.map((image) => ({ ...image, references: image.references.slice(0, 1) }));
  const { images } = await scoreCorpus(rows);
  for (const [i, { values }] of images.entries()) {
    const golden = goldenImages[i]!;
    for (const name of ["rouge1", "rouge2", "rougeL", "rougeLsum"] as const) {
      near(values[name], golden.rouge_score.first[name], `${golden.id} ${name}`);
    }
    near(values.meteor, golden.nltk_meteor.word_tokenize.first_no_synonyms, `${golden.id} METEOR`);
  }
});

const wordNet = await readWordNet();
Deno.test({
  name: `METEOR with synonyms equals NLTK${wordNet ? "" : " (skipped: no WordNet is installed)"}`,
  ignore: wordNet === undefined,
  fn: async () => {
    for (const tokenizer of ["ptb", "simple"] as const) {
      const { values, images } = await scoreCorpus(goldenImages, { tokenizer, synonyms: wordNet });
      const column = tokenizer === "ptb" ? "word_tokenize" : "simple";
      for (const [i, image] of images.entries()) {
        near(image.values.meteor, goldenImages[i]!.nltk_meteor[column].synonyms, image.id);
      }
      near(values.meteor, goldenCorpus.nltk_meteor[column].synonyms, "corpus");
    }
  },
});

Deno.test("words and stems are those of rouge_score", () => {
  for (const { candidate, references, tokens } of goldenImages) {
    assert.equal(rougeTokens(candidate).join(" "), tokens.rouge.candidate);
    assert.deepEqual(references.map((text) => rougeTokens(text).join(" ")), tokens.rouge.references);
  }
  const stems = {
    skies: "sky",
    dying: "die",
    dies: "die",
    flies: "fli",
    enjoy: "enjoy",
    happily: "happili",
    is: "is",
  };
  for (const [word, stem] of Object.entries(stems)) assert.equal(porterStem(word), stem);
});

const dog: CandidateRow = { id: "1", candidate: "a dog runs", references: ["a dog runs"] };

Deno.test("empty candidates and references have defined scores", async () => {
  const { images, values } = await scoreCorpus([
    dog,
    { id: "2", candidate: "", references: ["a cat"] },
    { id: "3", candidate: "a cat", references: [""] },
    { id: "4", candidate: "...", references: ["", "?"] },
    { id: "5", candidate: "", references: [""] },
  ]);
  for (const { id, values } of images) {
    for (const [name, value] of Object.entries(values)) {
      assert.ok(value >= 0 && value <= 10, `${id} ${name} is ${value}`);
    }
  }
  assert.equal(images[1]!.values.bleu_1, 0);
  assert.equal(images[1]!.values.meteor, 0);
  assert.equal(images[2]!.values.rouge1, 0);
  // Two captions without a word are equal to the COCO evaluation, and to nobody else.
  assert.equal(images[4]!.values.rouge_l, 1);
  assert.equal(images[4]!.values.rougeL, 0);
  assert.ok(Object.values(values).every(Number.isFinite));
});

Deno.test("no captions, captions twice and captions without references are refused", async () => {
  await assert.rejects(scoreCorpus([]), /there are none/);
  await assert.rejects(scoreCorpus([dog, dog]), /there twice.*"1"/);
  await assert.rejects(scoreCorpus([{ ...dog, references: [] }]), /no references.*"1"/);
});

Deno.test("a single image has no CIDEr, for no n-gram is rare", async () => {
  const { values } = await scoreCorpus([dog]);
  assert.equal(values.cider_d, 0);
  near(values.meteor, 1 - 0.5 / 27, "METEOR");
});

Deno.test("other scripts are scored", async () => {
  const { images } = await scoreCorpus([
    { id: "ja", candidate: "犬が走る", references: ["犬が走る"] },
    { id: "ru", candidate: "собака бежит по траве", references: ["собака бежит по снегу"] },
    { id: "ar", candidate: "كلب يركض", references: ["كلب يركض"] },
    { id: "emoji", candidate: "🐕", references: ["🐕"] },
  ]);
  near(images[0]!.values.bleu_1, 1, "one CJK run is one word");
  near(images[1]!.values.bleu_1, 0.75, "three of four words");
  near(images[2]!.values.bleu_1, 1, "Arabic");
  assert.equal(images[3]!.values.bleu_1, 0, "emoji are no words");
});

Deno.test("captions of 10 000 words are scored without a table of all pairs", async () => {
  const words = (shift: number) =>
    Array.from({ length: 10_000 }, (_, i) => `w${(i * 7 + shift) % 5000}`).join(" ");
  const { values } = await scoreCorpus([
    dog,
    { id: "long", candidate: words(0), references: [words(3)] },
    { id: "unspaced", candidate: "x,".repeat(10_000), references: ["x.".repeat(10_000)] },
  ]);
  assert.ok(values.rouge_l > 0.3);
  const long = words(0).split(" ").slice(0, 2000).join(" ");
  const rouge = new RougeIndex();
  const lines = rougeScores(rouge.text(`${long}\n${long}`), rouge.text(`${long}\nanother line`));
  assert.ok(lines.rougeLsum > 0.6);
});
