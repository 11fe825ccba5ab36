/**
 * Trains the tokenizer of the embedded models on captions of drawn scenes.
 *
 * deno task make-tokenizer [--output-dir data/tiny/llama] [--vocab-size 509] [--captions 40000] [--seed 2026]
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { generateScene, sceneCaption, sceneKey, splitOfKey } from "../lib/datasets/scenes.ts";
import { createCommand, parseInteger, runTask } from "../lib/host/arguments.ts";
import { loadTokenizer } from "../lib/text/tokenizer.ts";
import { describeTokenizer, trainBpe } from "../lib/text/train_bpe.ts";

const END_OF_TEXT = "<|endoftext|>";
const PAD = "<pad>";

await runTask(async () => {
  const count = parseInteger({ min: 1 });
  const { outputDir, vocabSize, captions, seed } = createCommand(
    "make-tokenizer",
    "Train a byte-level BPE tokenizer on captions of drawn scenes",
  )
    .option("--output-dir <folder>", "where tokenizer.json and tokenizer_config.json go", "data/tiny/llama")
    .option("--vocab-size <count>", "size of the vocabulary", count, 509)
    .option("--captions <count>", "captions to learn from", count, 40_000)
    .option("--seed <number>", "seed of the scenes", parseInteger({ min: 0 }), 2026)
    .parse().opts();

  // One less neutral caption in forty: the words of the neutral ones should become tokens first.
  const texts: string[] = [];
  const captionWords = new Set<string>();
  const rng = new Rng(seed);
  for (let drawn = 0; drawn < captions;) {
    const scene = generateScene(rng);
    if (splitOfKey(sceneKey(scene)) !== "train") continue;
    const { altText, originalAltText } = sceneCaption(scene);
    texts.push(altText);
    if (drawn % 40 === 0) texts.push(originalAltText);
    for (const [word] of altText.matchAll(/ ?[A-Za-z]+/g)) captionWords.add(word);
    drawn++;
  }

  const trained = trainBpe(texts, { vocabSize, specialTokens: [END_OF_TEXT, PAD] });
  const tokenizerJson = describeTokenizer(trained);
  const tokenizerConfigJson = {
    add_bos_token: false,
    add_prefix_space: false,
    bos_token: END_OF_TEXT,
    clean_up_tokenization_spaces: false,
    eos_token: END_OF_TEXT,
    model_max_length: 128,
    pad_token: PAD,
    tokenizer_class: "GPT2TokenizerFast",
    unk_token: END_OF_TEXT,
  };

  const tokenizer = loadTokenizer(tokenizerJson, tokenizerConfigJson);
  const split = [...captionWords].filter((word) => tokenizer.encode(word).length > 1);
  await Deno.mkdir(outputDir, { recursive: true });
  await Deno.writeTextFile(`${outputDir}/tokenizer.json`, JSON.stringify(tokenizerJson, null, 1) + "\n");
  await Deno.writeTextFile(
    `${outputDir}/tokenizer_config.json`,
    JSON.stringify(tokenizerConfigJson, null, 2) + "\n",
  );
  console.log(
    `Wrote ${outputDir}/tokenizer.json: ${tokenizer.vocabSize} tokens; ` +
      `${captionWords.size - split.length} of ${captionWords.size} caption words are one token` +
      (split.length > 0 ? ` (not: ${split.join(",")})` : ""),
  );
});
