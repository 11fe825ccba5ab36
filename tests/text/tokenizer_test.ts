import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { generateScene, sceneCaption } from "../../lib/datasets/scenes.ts";
import { normalizeCaption } from "../../lib/text/normalize.ts";
import { IGNORED_LABEL, loadTokenizer } from "../../lib/text/tokenizer.ts";
import { describeTokenizer, trainBpe } from "../../lib/text/train_bpe.ts";

async function readJson(name: string): Promise<unknown> {
  return JSON.parse(await Deno.readTextFile(new URL(`../../data/tiny/llama/${name}`, import.meta.url)));
}
const tokenizerJson = await readJson("tokenizer.json");
const tokenizerConfigJson = await readJson("tokenizer_config.json");
const tokenizer = loadTokenizer(tokenizerJson, tokenizerConfigJson);

Deno.test("the embedded tokenizer names its special tokens and has an odd vocabulary", () => {
  assert.deepEqual(
    [tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosId, tokenizer.padId],
    [509, 0, 0, 1],
  );
});

Deno.test("every word of a scene's caption is one token and decodes to itself", () => {
  const rng = new Rng(99);
  for (let i = 0; i < 500; i++) {
    const { altText } = sceneCaption(generateScene(rng));
    const ids = tokenizer.encode(altText);
    assert.equal(ids.length, altText.split(" ").length + 1, altText);
    assert.equal(tokenizer.decode(ids), altText);
  }
});

Deno.test("any text survives encoding and decoding", () => {
  for (
    const text of ["Café 🙂", "  two  spaces ", "it's 42%, isn't it?", "tab\tand\nline", "日本語", "ǅ\u0301"]
  ) {
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

Deno.test("decoding nothing, special tokens and spare rows gives no text", () => {
  assert.equal(tokenizer.decode([]), "");
  assert.equal(tokenizer.decode([0, 1]), "");
  assert.equal(tokenizer.decode([0], { skipSpecialTokens: false }), "<|endoftext|>");
  assert.equal(tokenizer.decode(Int32Array.of(509, 700)), "");
  assert.throws(() => tokenizer.decode([IGNORED_LABEL]), RangeError);
});

Deno.test("a caption longer than the limit is cut and keeps its end token", () => {
  const text = "A red house beside two green trees on the grass under a yellow sun.";
  const whole = tokenizer.encodeCaption(text, { maxLength: 30 });
  assert.equal(whole.length, 16);
  assert.equal(whole.at(-1), tokenizer.eosId);
  const cut = tokenizer.encodeCaption(text, { maxLength: 7 });
  assert.deepEqual(cut, [...whole.slice(0, 6), tokenizer.eosId]);
  assert.deepEqual(tokenizer.encodeCaption(text, { maxLength: 7, appendEos: false }), whole.slice(0, 7));
});

Deno.test("a byte order mark and stray white space do not change a caption's tokens", () => {
  const options = { maxLength: 30 };
  assert.deepEqual(
    tokenizer.encodeCaption("\uFEFF A  red\r\nball.\u00A0", options),
    tokenizer.encodeCaption("A red ball.", options),
  );
  assert.equal(normalizeCaption("\uFEFFCafe\u0301 \u200B\t x "), "Café x");
});

Deno.test("empty captions and limits without room are refused", () => {
  for (const text of ["", "  \n", "\uFEFF"]) {
    assert.throws(() => tokenizer.encodeCaption(text, { maxLength: 30 }), /empty caption/);
  }
  assert.throws(() => tokenizer.encodeCaption("A", { maxLength: 1 }), RangeError);
  assert.throws(() => tokenizer.encodeCaption("A", { maxLength: 2.5 }), RangeError);
});

Deno.test("a batch is padded on the right and padding carries no label", () => {
  const batch = tokenizer.padBatch([[5, 6, 0], [7, 0]], { length: 4 });
  assert.deepEqual([...batch.inputIds], [5, 6, 0, 1, 7, 0, 1, 1]);
  assert.deepEqual([...batch.labels], [5, 6, 0, -100, 7, 0, -100, -100]);
  assert.deepEqual([...batch.lengths], [3, 2]);
  assert.equal(tokenizer.padBatch([[5, 6, 0], [7, 0]]).length, 3);
  assert.throws(() => tokenizer.padBatch([]), RangeError);
  assert.throws(() => tokenizer.padBatch([[1, 2, 3]], { length: 2 }), RangeError);
});

Deno.test("files that are no tokenizer, or lack the named tokens, are refused", () => {
  assert.throws(() => loadTokenizer([]), TypeError);
  assert.throws(() => loadTokenizer({}), TypeError);
  assert.throws(() => loadTokenizer({ model: { type: "Nonsense" } }), TypeError);
  assert.throws(() => loadTokenizer(tokenizerJson, { eos_token: "<missing>" }), /"<missing>"/);
});

Deno.test("training merges the most frequent pairs first and is deterministic", () => {
  const texts = ["ab ab ab abc", "abc abc"];
  const options = { vocabSize: 260, specialTokens: ["<end>"] };
  const trained = trainBpe(texts, options);
  assert.deepEqual(trained.merges, [["a", "b"], ["Ġ", "ab"], ["Ġab", "c"]]);
  assert.deepEqual(trainBpe([...texts].reverse(), options), trained);
  assert.equal(Object.keys(trained.vocab).length, 260);
  const loaded = loadTokenizer(describeTokenizer(trained), { eos_token: "<end>" });
  assert.deepEqual(loaded.encode("ab abc"), [257, 259]);
});

Deno.test("training refuses vocabularies that the texts cannot fill", () => {
  assert.throws(() => trainBpe(["a"], { vocabSize: 256, specialTokens: ["<end>"] }), RangeError);
  assert.throws(() => trainBpe(["ab"], { vocabSize: 300, specialTokens: ["<end>"] }), /more varied text/);
});

Deno.test("special tokens are put around a text where the tokenizer has a template for them", () => {
  assert.deepEqual(tokenizer.encodeWithSpecials("a dog"), tokenizer.encode("a dog"));
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const framed = loadTokenizer({
    ...tokenizerJson as object,
    post_processor: {
      type: "TemplateProcessing",
      single: [special("<|endoftext|>"), { Sequence: { id: "A", type_id: 0 } }, special("<|endoftext|>")],
      pair: [],
      special_tokens: { "<|endoftext|>": { id: "<|endoftext|>", ids: [0], tokens: ["<|endoftext|>"] } },
    },
  }, tokenizerConfigJson);
  assert.deepEqual(framed.encodeWithSpecials("a dog"), [0, ...tokenizer.encode("a dog"), 0]);
  assert.deepEqual(framed.encode("a dog"), tokenizer.encode("a dog"));
});
