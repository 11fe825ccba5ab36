import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { parseTrainArguments } from "../../lib/host/train_command.ts";

Deno.test("without flags the defaults are the Python project's", async () => {
  const options = await parseTrainArguments([]);
  strictEqual(options.numTrainEpochs, 3);
  strictEqual(options.maxLength, 30);
  strictEqual(options.encoderModel, "google/siglip-base-patch16-224");
  strictEqual(options.decoderModel, "HuggingFaceTB/SmolLM-135M");
  strictEqual(options.projectionLr, 3e-4);
  strictEqual(options.loraLr, 1e-4);
  strictEqual(options.earlyStoppingPatience, 3);
  strictEqual(options.seed, 42);
  strictEqual(options.evalSteps, 100);
  strictEqual(options.saveSteps, 100);
  strictEqual(options.saveTotalLimit, 3);
  strictEqual(options.appendEos, true);
  strictEqual(options.cacheFeatures, true);
  deepStrictEqual(options.projection, { type: "linear" });
  // Which modules is the decoder's family's to say.
  deepStrictEqual(options.lora, { rank: 16, alpha: 16, dropout: 0.1 });
});

Deno.test("flags set what they name, the last one given counting", async () => {
  const options = await parseTrainArguments(
    "--dataset a b --projection-type mlp --lora-target-modules q_proj,up_proj --no-append-eos --batch-size 2 --batch-size 5"
      .split(" "),
  );
  deepStrictEqual(options.dataset, ["a", "b"]);
  strictEqual(options.projection.type, "mlp");
  deepStrictEqual(options.lora.targetModules, ["q_proj", "up_proj"]);
  strictEqual(options.appendEos, false);
  strictEqual(options.batchSize, 5);
});

Deno.test("ranks and factors by module are read, and nonsense is refused", async () => {
  const { lora } = await parseTrainArguments(
    "--lora-rank-pattern q_proj=8,^model.layers.0.mlp.up_proj=4 --lora-alpha-pattern v_proj=1.5 --use-rslora"
      .split(" "),
  );
  deepStrictEqual(lora.rankPattern, { q_proj: 8, "^model.layers.0.mlp.up_proj": 4 });
  deepStrictEqual(lora.alphaPattern, { v_proj: 1.5 });
  strictEqual(lora.useRslora, true);
  await rejects(parseTrainArguments(["--lora-rank-pattern", "q_proj:8"]), /name=number/);
  await rejects(parseTrainArguments(["--adapter", "a", "--base-model", "b"]), { name: "UserError" });
});

Deno.test("a preset fills what flags, configuration and environment leave open, in this order", async () => {
  const legacy = await parseTrainArguments(["--preset", "legacy"]);
  deepStrictEqual([legacy.encoderModel, legacy.decoderModel, legacy.maxLength], [
    "google/vit-base-patch16-224",
    "distilbert/distilgpt2",
    128,
  ]);
  const environment = {
    DECODER: "org/decoder",
    DATASET: " flickr  coco ",
    EPOCHS: "5",
    SAMPLE: "100",
    MAX_LENGTH: "",
    HOME: "/",
  };
  const options = await parseTrainArguments(
    ["--preset", "large", "--max-length", "20", "--sample", "7"],
    environment,
  );
  strictEqual(options.encoderModel, "google/siglip-so400m-patch14-384");
  strictEqual(options.decoderModel, "org/decoder");
  deepStrictEqual(options.dataset, ["flickr", "coco"]);
  strictEqual(options.numTrainEpochs, 5);
  strictEqual(options.sample, 7);
  strictEqual(options.maxLength, 20);
  strictEqual("preset" in options, false);
  await rejects(parseTrainArguments([], { EPOCHS: "many" }), {
    name: "UserError",
    message: /the environment/,
  });
});

Deno.test("a configuration file fills what the command line leaves open", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, JSON.stringify({ batch_size: 3, "lora-r": 4, dataset: ["x"] }));
    const options = await parseTrainArguments(["--config", file, "--lora-r", "8"]);
    strictEqual(options.batchSize, 3);
    strictEqual(options.lora.rank, 8);
    deepStrictEqual(options.dataset, ["x"]);
    // What a task sets of itself gives way to all of them.
    const own = { batchSize: 9, loraR: 9, evalSteps: 95 };
    const quick = await parseTrainArguments(["--config", file, "--lora-r", "8"], {}, { own });
    deepStrictEqual([quick.batchSize, quick.lora.rank, quick.evalSteps, quick.saveSteps], [3, 8, 95, 100]);
    await rejects(parseTrainArguments(["--config", `${file}.gone`]), {
      name: "UserError",
      message: /does not exist/,
    });
    await Deno.writeTextFile(file, JSON.stringify({ batchsizes: 3 }));
    await rejects(parseTrainArguments(["--config", file]), {
      name: "UserError",
      message: /batchsizes.*batch-size/,
    });
  } finally {
    await Deno.remove(file);
  }
});
