import assert from "node:assert/strict";
import { parsePredictions } from "../../lib/evaluate/predictions.ts";

const parse = (text: string) => parsePredictions(text, { name: "p" });
const row = { id: "1", candidate: "a dog", references: ["the dog"] };
const annotations = {
  name: "ann",
  text: JSON.stringify({
    images: [{ id: 7, file_name: "7.jpg" }],
    annotations: [{ image_id: 7, caption: "x" }, { image_id: 7, caption: "y" }, {
      image_id: 8,
      caption: "z",
    }],
  }),
};

Deno.test("JSON arrays, wrapped arrays, single objects and JSON lines are read", () => {
  assert.deepEqual(parse(JSON.stringify([row])), [row]);
  assert.deepEqual(parse(JSON.stringify({ predictions: [row] }, null, 2)), [row]);
  assert.deepEqual(parse(JSON.stringify(row)), [row]);
  assert.deepEqual(parse(`${JSON.stringify(row)}\n\n${JSON.stringify({ ...row, id: 2 })}\n`), [row, {
    ...row,
    id: "2",
  }]);
});

Deno.test("other names of the fields are understood", () => {
  const [read] = parse(
    '[{"image_id": 5, "caption": "a", "reference": "b", "image": "5.jpg", "time_ms": 12}]',
  );
  assert.deepEqual(read, { id: "5", candidate: "a", references: ["b"], image: "5.jpg", timeMs: 12 });
});

Deno.test("COCO results find their references in the annotations", () => {
  const results = '[{"image_id": 7, "caption": "a"}, {"image_id": 8, "caption": ""}]';
  assert.deepEqual(parsePredictions(results, { name: "p", annotations }), [
    { id: "7", candidate: "a", references: ["x", "y"], image: "7.jpg" },
    { id: "8", candidate: "", references: ["z"] },
  ]);
  assert.throws(
    () => parsePredictions('[{"image_id": 9, "caption": "a"}]', { name: "p", annotations }),
    /"ann" has no captions of image "9"/,
  );
  assert.throws(() => parse(results), /--references/);
  assert.throws(
    () => parsePredictions(results, { name: "p", annotations: { name: "ann", text: "[]" } }),
    /expected COCO annotations/,
  );
});

Deno.test("what cannot be scored is named", () => {
  assert.throws(() => parse("[]"), /no rows/);
  assert.throws(() => parse(""), /no rows/);
  assert.throws(() => parse("{"), /not JSON/);
  assert.throws(() => parse(`${JSON.stringify(row)}\n{"id": 2,\n`), /"p", line 2: it is not JSON/);
  assert.throws(() => parse("[1]"), /row 1: found the number 1/);
  assert.throws(() => parse(JSON.stringify([row, row])), /row 2: the id "1" is that of row 1/);
  assert.throws(() => parse(JSON.stringify([{ ...row, id: undefined }])), /"id" is null/);
  assert.throws(() => parse(JSON.stringify([{ ...row, candidate: 3 }])), /"candidate" is the number 3/);
  assert.throws(() => parse(JSON.stringify([{ ...row, references: [] }])), /a list of 0/);
  assert.throws(() => parse(JSON.stringify([{ ...row, references: [null] }])), /reference 1 is null/);
  assert.throws(
    () => parse(JSON.stringify([{ ...row, candidate: "x".repeat(1_000_001) }])),
    /1000001 characters/,
  );
});

Deno.test("NaN, as Python writes it, does no harm where a number is not needed, and is refused as a caption", () => {
  const [read] = parse(
    '[{"id": "1", "candidate": "a: NaN, b", "references": ["r"], "score": NaN, "time_ms": NaN}]',
  );
  assert.equal(read!.candidate, "a: NaN, b");
  assert.deepEqual(read!.references, ["r"]);
  assert.equal(read!.timeMs, undefined);
  assert.throws(() => parse('[{"id": "1", "candidate": NaN, "references": ["r"]}]'), /"candidate" is null/);
  assert.throws(() => parse('[{"id": NaN, "candidate": "a", "references": ["r"]}]'), /"id" is null/);
});

Deno.test("rows bring their confidence along when all its figures are numbers", () => {
  const figures = '"log_probability":-4,"log_probability_per_token":-0.5,"image_gain":8';
  const row = (rest: string) => `{"id":"1","candidate":"a","references":["b"],${figures},${rest}}`;
  const [whole] = parsePredictions(row('"image_gain_per_token":1'), { name: "p.json" });
  assert.deepEqual(whole!.confidence, {
    logProb: -4,
    logProbPerToken: -0.5,
    imageGain: 8,
    imageGainPerToken: 1,
  });
  for (const rest of ['"image_gain_per_token":NaN', '"image_gain_per_token":"1"', '"other":1']) {
    const [partial] = parsePredictions(row(rest), { name: "p.json" });
    assert.ok(!("confidence" in partial!), rest);
  }
});
