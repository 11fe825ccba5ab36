import { deepStrictEqual, notStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { loadTrainData, longestCaption, trainingRows } from "../../lib/host/train_data.ts";
import type { CaptionTokenizer } from "../../lib/text/tokenizer.ts";
import { loadTokenizer } from "../../lib/text/tokenizer.ts";

const OPTIONS = { maxBadRows: 0.5, seed: 1 };

async function withFolder(test: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    await test(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** Folders train and validation of images that are bytes of their own number, with captions. */
async function writeDataset(path: string, captions: string[]): Promise<void> {
  for (const split of ["train", "validation"]) {
    await Deno.mkdir(`${path}/${split}`, { recursive: true });
    const rows = captions.map((caption, i) => JSON.stringify({ file_name: `${i}.png`, caption }));
    for (const i of captions.keys()) await Deno.writeFile(`${path}/${split}/${i}.png`, Uint8Array.of(i));
    await Deno.writeTextFile(`${path}/${split}/metadata.jsonl`, rows.join("\n"));
  }
}

async function tokenizer(): Promise<CaptionTokenizer> {
  const read = async (name: string) =>
    JSON.parse(await Deno.readTextFile(new URL(`../../data/tiny/llama/${name}`, import.meta.url)));
  return loadTokenizer(await read("tokenizer.json"), await read("tokenizer_config.json"));
}

Deno.test("rows come with path and hash; the data's hash changes with captions and images", () =>
  withFolder(async (path) => {
    await writeDataset(path, ["A red car.", "A blue house."]);
    const load = () => loadTrainData({ ...OPTIONS, datasets: [path] });
    const first = await load();
    deepStrictEqual(first.rows.train.map(({ image }) => image), ["train/0.png", "train/1.png"]);
    strictEqual(first.rows.validation[1]!.path, `${path}/validation/1.png`);
    strictEqual(
      first.rows.train[0]!.sha256,
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    );
    strictEqual((await load()).hash, first.hash);
    await Deno.writeFile(`${path}/train/1.png`, Uint8Array.of(9));
    const second = await load();
    notStrictEqual(second.hash, first.hash);
    await writeDataset(path, ["A red car.", "A green house."]);
    notStrictEqual((await load()).hash, first.hash);
  }));

Deno.test("a missing image is a bad row; too many stop the run", () =>
  withFolder(async (path) => {
    await writeDataset(path, ["A red car.", "A blue house."]);
    await Deno.remove(`${path}/train/0.png`);
    const data = await loadTrainData({ ...OPTIONS, datasets: [path] });
    deepStrictEqual(data.rows.train.map(({ image }) => image), ["train/1.png"]);
    strictEqual(data.badRows.count, 1);
    await rejects(loadTrainData({ ...OPTIONS, maxBadRows: 0.1, datasets: [path] }), {
      name: "UserError",
      message: /1 of 4 rows are bad/,
    });
  }));

Deno.test("the sample limits every split; several data sets are joined", () =>
  withFolder(async (path) => {
    await writeDataset(`${path}/a`, ["A red car.", "A blue house."]);
    await writeDataset(`${path}/b`, ["A dog."]);
    const data = await loadTrainData({ ...OPTIONS, sample: 1, datasets: [`${path}/a`, `${path}/b`] });
    deepStrictEqual(data.rows.train.map(({ captions }) => captions[0]), ["A red car.", "A dog."]);
  }));

Deno.test("a data set that is not there is refused with what works", async () => {
  await rejects(loadTrainData({ ...OPTIONS, datasets: ["flicker"] }), {
    name: "UserError",
    message: /"flicker".*"sample".*Hugging Face hub.*Did you mean "flickr"/,
  });
});

Deno.test("an empty data set is refused", () =>
  withFolder(async (path) => {
    await Deno.writeTextFile(`${path}/metadata.jsonl`, "\n");
    await rejects(loadTrainData({ ...OPTIONS, datasets: [path] }), { name: "UserError", message: /no rows/ });
  }));

Deno.test("batches hold the captions of the epoch, padded; long ones are cut and end with the end token", () =>
  withFolder(async (path) => {
    await writeDataset(path, ["A red car.", "A blue house beside two red cars."]);
    const data = await loadTrainData({ ...OPTIONS, datasets: [path] });
    const tokens = { tokenizer: await tokenizer(), maxLength: 6, appendEos: true };
    strictEqual(longestCaption(data.rows.train, { ...tokens, maxLength: 30 }), 9);
    strictEqual(longestCaption(data.rows.train, tokens), 6);
    const rows = trainingRows(data.rows.train, {
      ...tokens,
      seed: 1,
      loadInputs: (some) =>
        Promise.resolve({ features: Float32Array.from(some, ({ sha256 }) => sha256.length) }),
    });
    const { inputIds, labels } = rows.tokens([1, 0], { epoch: 0, length: 6 });
    strictEqual(inputIds[5], tokens.tokenizer.eosId);
    strictEqual(tokens.tokenizer.decode(inputIds.slice(6)), "A red car.");
    deepStrictEqual([...labels.slice(11)], [-100]);
    ok(!labels.slice(0, 11).includes(-100));
    deepStrictEqual(rows.references(1), ["A blue house beside two red cars."]);
    deepStrictEqual((await rows.loadInputs([0, 1])).features, Float32Array.of(64, 64));
  }));
