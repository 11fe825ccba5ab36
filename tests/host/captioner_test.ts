import assert from "node:assert/strict";
import { Captioner } from "../../lib/host/captioner.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { testGpu } from "../support/gpu.ts";

const image = (name: string): Promise<Uint8Array> => Deno.readFile(projectPath(`data/sample/test/${name}`));

Deno.test("the embedded captioner captions alone as in a batch, and greedily as with one beam", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const images = await Promise.all(["0000.png", "0001.png", "0002.png"].map(image));
  const together = await captioner.captionAll(images, { batchSize: 3 });
  for (const [i, bytes] of images.entries()) {
    const alone = await captioner.caption(bytes);
    assert.equal(alone.caption, together[i]!.caption);
    assert.ok(Math.abs(alone.logProb - together[i]!.logProb) < 1e-3);
  }
  const greedy = await captioner.caption(images[0]!, { numBeams: 1 });
  assert.ok(greedy.logProb <= together[0]!.logProb + 1 || greedy.caption === together[0]!.caption);
});

Deno.test("captions are told while they grow, and what the other beams found comes with them", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const told: string[] = [];
  const bytes = await image("0000.png");
  const greedy = await captioner.caption(bytes, { numBeams: 1, onText: ([text]) => told.push(text!) });
  assert.equal(told.length, greedy.tokens);
  for (const [i, text] of told.entries()) {
    assert.ok(greedy.caption.startsWith(text), text);
    assert.ok(text.startsWith(told[i - 1] ?? ""));
  }
  assert.equal(told.at(-1), greedy.caption);
  assert.deepEqual(greedy.others, []);
  const { caption, logProb, others } = await captioner.caption(bytes, { numBeams: 3 });
  assert.equal(others.length, 2);
  assert.equal(new Set([caption, ...others.map((other) => other.caption)]).size, 3);
  assert.ok(others.every((other) => other.logProb < logProb));
});

Deno.test("a drawing is not called a photograph, and noise is", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const drawn = await captioner.caption(await image("0000.png"));
  assert.equal(drawn.outOfDomain, false);
  const width = 24;
  const header = new DataView(new ArrayBuffer(54));
  // A BMP of pseudo-random pixels: the plainest file with texture everywhere.
  header.setUint16(0, 0x424d);
  header.setUint32(2, 54 + width * width * 3, true);
  header.setUint32(10, 54, true);
  header.setUint32(14, 40, true);
  header.setInt32(18, width, true);
  header.setInt32(22, width, true);
  header.setUint16(26, 1, true);
  header.setUint16(28, 24, true);
  const bytes = new Uint8Array(54 + width * width * 3);
  bytes.set(new Uint8Array(header.buffer));
  for (let i = 54; i < bytes.length; i++) bytes[i] = Math.imul(i, 2654435761) >>> 24;
  assert.equal((await captioner.caption(bytes)).outOfDomain, true);
});

Deno.test("sampling is repeatable by seed and refuses nothing but a second beam", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const bytes = await image("0003.png");
  const options = { temperature: 1.5, topP: 0.95, seed: 7 };
  const first = await captioner.caption(bytes, options);
  const again = await captioner.caption(bytes, options);
  assert.equal(first.caption, again.caption);
  assert.equal(first.logProb, again.logProb);
});

Deno.test("captions and given texts are judged alike, whatever the search and the batch", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const images = await Promise.all(["0000.png", "0001.png", "0003.png"].map(image));
  const captions = await captioner.captionAll(images);
  const close = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-3, `${a}, ${b}`);
  for (const [i, { caption, confidence, logProb, tokens }] of captions.entries()) {
    assert.equal(confidence!.logProb, logProb);
    assert.equal(confidence!.logProbPerToken, logProb / tokens);
    const [given] = await captioner.scoreText([images[i]!], caption);
    assert.equal(given!.tokens, tokens);
    close(given!.confidence.logProb, logProb);
    close(given!.confidence.imageGain, confidence!.imageGain);
  }
  // Right captions are owed to their images; the others' captions are not what these show.
  const others = await captioner.scoreText(images, captions[0]!.caption);
  assert.ok(others[0]!.confidence.logProbPerToken > -0.1 && others[0]!.confidence.imageGainPerToken > 1);
  for (const { confidence } of others.slice(1)) assert.ok(confidence.logProbPerToken < -1);
  // Greedy search takes what the penalty leaves, which the model itself finds unlikely.
  const [changed] = await captioner.captionAll(images.slice(2), { numBeams: 1, repetitionPenalty: 5 });
  assert.notEqual(changed!.caption, captions[2]!.caption);
  assert.ok(changed!.confidence!.logProb < changed!.logProb - 1);
  const [silent] = await captioner.captionAll(images.slice(0, 1), { confidence: false });
  assert.equal(silent!.confidence, undefined);
  assert.equal(silent!.caption, captions[0]!.caption);
});

Deno.test("texts that cannot be scored are refused before an image is looked at", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const bad: [string, RegExp][] = [
    ["", /without visible characters/],
    [" \u200b\n", /without visible characters/],
    ["red ".repeat(40), /text of \d+ tokens, its end included: the captioner was trained for 30/],
    ["x".repeat(10_001), /text of 10001 characters: expected at most 10000/],
  ];
  for (const [text, message] of bad) {
    await assert.rejects(captioner.scoreText([new Uint8Array()], text), { name: "RangeError", message });
  }
});

Deno.test("a damaged tokenizer or image processor is named with its folder, before a device is opened", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const from = projectPath("data/tiny/captioner");
    const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"];
    const load = async (name: string, text: string) => {
      for (const file of names) await Deno.copyFile(`${from}/${file}`, `${folder}/${file}`);
      await Deno.writeTextFile(`${folder}/${name}`, text);
      return await Captioner.load(folder);
    };
    const message = (pattern: RegExp) => (error: Error) =>
      /^Cannot \w+ "/.test(error.message) && error.message.includes(`"${folder}/`) &&
      pattern.test(error.message);
    await assert.rejects(load("tokenizer.json", "{"), message(/tokenizer\.json": it is not JSON/));
    await assert.rejects(
      load("tokenizer.json", "[]"),
      message(/tokenizer\.json": it holds an array, expected a JSON object/),
    );
    await assert.rejects(
      load("preprocessor_config.json", '{"size":"x"}'),
      message(/preprocessor_config\.json/),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("calls at the same time caption as calls one after the other, whatever their options", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const images = await Promise.all(["0000.png", "0001.png", "0002.png", "0003.png"].map(image));
  const optionsOf = (i: number) => ({ numBeams: 1 + i % 2, maxNewTokens: 10 + i });
  const inTurn: string[] = [];
  for (const [i, bytes] of images.entries()) {
    inTurn.push((await captioner.caption(bytes, optionsOf(i))).caption);
  }
  for (const bytes of images) inTurn.push((await captioner.caption(bytes)).caption);
  const together = await Promise.all([
    ...images.map((bytes, i) => captioner.caption(bytes, optionsOf(i))),
    ...images.map((bytes) => captioner.caption(bytes)),
  ]);
  assert.deepEqual(together.map(({ caption }) => caption), inTurn);
  assert.equal(new Set(inTurn.slice(images.length)).size, images.length);
});

Deno.test("options out of their bounds are refused before anything is decoded", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const wrong = [
    { numBeams: 1000 },
    { numBeams: 1.5 },
    { batchSize: 0 },
    { temperature: -1 },
    { topP: 2 },
    { repetitionPenalty: 0 },
    { maxNewTokens: NaN },
  ];
  for (const options of wrong) {
    const name = Object.keys(options)[0]!;
    await assert.rejects(
      captioner.caption(new Uint8Array(), options),
      (error: Error) => error instanceof RangeError && error.message.includes(`${name} is`),
    );
  }
});
