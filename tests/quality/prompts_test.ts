import assert from "node:assert/strict";
import { parseCsv } from "../../lib/format/csv.ts";
import { nounKind } from "../../lib/quality/grammar.ts";
import { formatPrompts } from "../../lib/quality/prompt_formats.ts";
import { generatePrompts, oneOf, SCENE_CATEGORIES } from "../../lib/quality/prompts.ts";
import { findProtectedTerms } from "../../lib/quality/protected_terms.ts";

const RARE = [
  { object: "elephant", count: 3 },
  { object: "apple", count: 2 },
  { object: "scissors", count: 1 },
  { object: "bread", count: 2 },
  { object: "wine glass", count: 1 },
  { object: "hourglass", count: 2 },
  { object: "fire hydrant", count: 60 },
];

Deno.test("prompts are neutral, different, and the same for the same seed", () => {
  const { prompts, objects } = generatePrompts(RARE, { maxCount: 50 });
  assert.equal(objects.length, 6);
  assert.equal(prompts.length, 6 * 5 + 12);
  assert.equal(new Set(prompts.map(({ prompt }) => prompt)).size, prompts.length);
  assert.equal(new Set(prompts.map(({ id }) => id)).size, prompts.length);
  for (const { prompt, caption, category, seed, objects } of prompts) {
    assert.deepEqual(findProtectedTerms(prompt), []);
    assert.ok(prompt.startsWith(caption));
    assert.match(caption, /^\p{Lu}/u);
    assert.ok(SCENE_CATEGORIES.includes(category));
    assert.ok(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 31);
    assert.ok(objects.every((object) => caption.toLowerCase().includes(object.replace(/glass$/, "glass"))));
  }
  assert.deepEqual(generatePrompts(RARE, { maxCount: 50 }).prompts, prompts);
  assert.notDeepEqual(generatePrompts(RARE, { maxCount: 50, seed: 7 }).prompts, prompts);
});

Deno.test("articles, plurals and what is not counted are right", () => {
  const { prompts } = generatePrompts(RARE, { promptsPerObject: 20 });
  const captions = prompts.map(({ caption }) => caption.toLowerCase()).join("\n");
  assert.doesNotMatch(
    captions,
    /\ba (?:elephant|apple|hourglass|scissors|bread)|\ban (?:wine|fire)|\b(?:scissorses|breads)\b/,
  );
  assert.match(captions, /an elephant/);
  assert.match(captions, /several elephants/);
  assert.match(captions, /a pair of scissors/);
  assert.match(captions, /several wine glasses/);
  assert.equal(oneOf("sheep"), "a sheep");
  assert.equal(nounKind("glasses"), "pair");
});

Deno.test("objects of protected words become neutral, and what is no name is left out", () => {
  const { prompts, objects, skipped } = generatePrompts([
    { object: "man", count: 4 },
    { object: "Woman", count: 2 },
    { object: "=cmd()|' /C calc'!A0", count: 1 },
    { object: "<img src=x>", count: 1 },
    { object: "lesbian", count: 1 },
  ], { includeCombinations: false });
  assert.deepEqual(objects, [{ object: "person", count: 7 }]);
  assert.equal(skipped.length, 2);
  assert.equal(prompts.length, 5);
  assert.ok(prompts.every(({ objects }) => objects.join() === "person"));
});

Deno.test("fewer prompts are made where there are no more different ones, and combinations need two objects", () => {
  const one = generatePrompts([{ object: "kite", count: 1 }], { promptsPerObject: 100_000 });
  assert.ok(one.prompts.length > 100 && one.prompts.length < 100_000);
  assert.ok(one.prompts.every(({ type }) => type === "single_object"));
  const none = generatePrompts(RARE, { promptsPerObject: 0, combinationCount: 3 });
  assert.deepEqual(none.prompts.map(({ type }) => type), Array(3).fill("combination"));
  assert.deepEqual(generatePrompts([], {}).prompts, []);
  assert.throws(() => generatePrompts(RARE, { promptsPerObject: 1.5 }), /promptsPerObject is 1.5/);
});

Deno.test("prompts are written as generators take them", () => {
  const { prompts } = generatePrompts(RARE);
  const lines = (format: Parameters<typeof formatPrompts>[1]["format"]) =>
    formatPrompts(prompts, { format }).trimEnd().split("\n");
  assert.deepEqual(lines("jsonl").map((line) => JSON.parse(line)), prompts);
  assert.deepEqual(JSON.parse(formatPrompts(prompts, { format: "json" })), prompts);
  assert.deepEqual(lines("txt"), prompts.map(({ prompt }) => prompt));
  const [header, ...records] = parseCsv(formatPrompts(prompts, { format: "csv" }));
  assert.deepEqual(header!.fields.slice(0, 4), ["prompt", "objects", "type", "original_count"]);
  assert.equal(records.length, prompts.length);
  assert.ok(
    lines("stable-diffusion").every((line) =>
      /^--prompt "[^"\\]+" --seed \d+ --width 512 --height 512$/.test(line)
    ),
  );
  const [request] = lines("dall-e").map((line) => JSON.parse(line));
  assert.deepEqual(request, {
    custom_id: "p00001",
    method: "POST",
    url: "/v1/images/generations",
    body: { model: "dall-e-3", prompt: prompts[0]!.prompt, n: 1, size: "1024x1024" },
  });
});
