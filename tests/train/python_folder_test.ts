/** A folder of the Python project, with tokenizer and image processor beside it: captioned with by the command line, and trained on from. */
import assert from "node:assert/strict";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { openFile } from "../../lib/host/files.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import { runTraining } from "../../lib/host/train_run.ts";
import { describeTokenizer } from "../../lib/text/train_bpe.ts";
import { testGpu } from "../support/gpu.ts";
import { withModels } from "../support/tiny_run.ts";

const CHECKPOINT = projectPath("tests/golden/parity/siglip-llama/python_checkpoint");
const IMAGE = projectPath("data/sample/test/0000.png");

/** The golden checkpoint with a tokenizer of letters, whose special tokens are the decoder's, and a processor for pictures of 32. */
async function makeFolder(folder: string): Promise<void> {
  await Deno.mkdir(folder);
  for (const { name } of Deno.readDirSync(CHECKPOINT)) {
    await Deno.copyFile(`${CHECKPOINT}/${name}`, `${folder}/${name}`);
  }
  const special = ["<s>", "<pad>", "</s>"];
  // In GPT-2's alphabet of bytes, Ġ is the space.
  const letters = [..."Ġ.,abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const write = (name: string, value: unknown): Promise<void> =>
    Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(value));
  const vocab = Object.fromEntries([...special, ...letters].map((token, id) => [token, id]));
  await write("tokenizer.json", describeTokenizer({ vocab, merges: [], specialTokens: special }));
  await write("tokenizer_config.json", {
    bos_token: "<s>",
    eos_token: "</s>",
    pad_token: "<pad>",
    tokenizer_class: "PreTrainedTokenizerFast",
  });
  await write("preprocessor_config.json", {
    image_processor_type: "SiglipImageProcessor",
    size: { height: 32, width: 32 },
    resample: 3,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.5, 0.5, 0.5],
  });
}

Deno.test(
  "the Python project's folder is captioned with and trained on from",
  { sanitizeOps: false, sanitizeResources: false },
  () =>
    withModels(async (root) => {
      const folder = `${root}/python`;
      await makeFolder(folder);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--no-check",
          projectPath("mod.ts"),
          "caption",
          "--model",
          folder,
          "--json",
          IMAGE,
        ],
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      const printed = JSON.parse(new TextDecoder().decode(stdout).trim());
      const bytes = await Deno.readFile(IMAGE);
      const caption = async (model: string) => {
        using captioner = await Captioner.load(model, { gpu: await testGpu() });
        return await captioner.caption(bytes);
      };
      const before = await caption(folder);
      assert.equal(printed.caption, before.caption);
      // Random weights write something all the same, as long as was trained.
      assert.ok(before.tokens >= 1 && before.tokens <= 9);

      const options = await parseTrainArguments([
        ...["--base-model", folder, "--dataset", `${root}/images`, "--save-dir", `${root}/runs`],
        ...["--cache-dir", `${root}/cache`, "--max-steps", "2", "--max-length", "9", "--eval-captions", "2"],
        ...["--batch-size", "4", "--gradient-accumulation-steps", "1", "--no-append-eos"],
      ]);
      const result = await runTraining(options, {
        signal: new AbortController().signal,
        say() {},
        quiet: true,
        gpu: await testGpu(),
      });
      assert.equal(result.step, 2);
      assert.ok(result.after!.metrics.eval_loss < result.before!.metrics.eval_loss);
      // What was trained began as the folder's, and stands on its base models.
      const read = async (path: string, name: string) =>
        await (await openSafetensors(await openFile(path))).readF32(name);
      const [from, to] = [
        await read(`${folder}/model.safetensors`, "projection.projection.weight"),
        await read(`${result.path}/projection.safetensors`, "projection.projection.weight"),
      ];
      const moved = from.map((value, i) => Math.abs(value - to[i]!));
      assert.ok(moved.some((distance) => distance > 0));
      // Two steps of AdamW move a value by little more than twice the learning rate.
      assert.ok(moved.every((distance) => distance < 3 * options.projectionLr));
      const config = JSON.parse(await Deno.readTextFile(`${result.path}/config.json`));
      assert.equal(config.decoder.reference, await Deno.realPath(folder));
      assert.equal(config.lora.r, 4);
      assert.ok((await caption(result.path)).tokens >= 1);
    }),
);
