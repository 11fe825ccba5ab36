import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import {
  applyConfig,
  createCommand,
  Option,
  parseInteger,
  parseNames,
  parseNumber,
} from "../../lib/host/arguments.ts";

const quiet = { writeErr() {}, writeOut() {} };

function example() {
  return createCommand("train", "Fine-tune")
    .configureOutput(quiet)
    .option("--batch-size <count>", "images in a step", parseInteger({ min: 1 }), 8)
    .option("--lora-lr <rate>", "learning rate", parseNumber({ min: 0 }), 1e-4)
    .option("--lora-target-modules <names>", "adapted modules", parseNames, ["q_proj"])
    .option("--no-append-eos", "captions without an end")
    .option("--dataset <name...>", "data sets")
    .addOption(
      new Option("--projection-type <type>").choices(["linear", "mlp"] as const).default("linear" as const),
    );
}

const parse = (...args: string[]) => example().parse(args, { from: "user" }).opts();

Deno.test("options have types and defaults", () => {
  const options = parse(
    "--lora-lr",
    "3e-4",
    "--projection-type=mlp",
    "--lora-target-modules",
    "q_proj, v_proj",
  );
  const size: number = options.batchSize;
  assert.equal(size, 8);
  assert.equal(options.loraLr, 3e-4);
  assert.equal(options.projectionType, "mlp");
  assert.deepEqual(options.loraTargetModules, ["q_proj", "v_proj"]);
  assert.equal(options.appendEos, true);
});

Deno.test("numbers that are none are refused", () => {
  for (const text of ["", "NaN", "1.5", "0", "1e3", "0x10", "99999999999999999999", "Infinity", "8 "]) {
    assert.throws(() => parse("--batch-size", text), /Expected a whole number, at least 1/, text);
  }
  for (const text of ["", "NaN", "abc", "-1", "1e999", "0x10", "1,5", "."]) {
    assert.throws(() => parse("--lora-lr", text), /Expected a number, at least 0/, text);
  }
  assert.equal(parseNumber()(".5"), 0.5);
  assert.equal(parseNumber()("-2."), -2);
  assert.throws(() => parseInteger({ min: 1, max: 4 })("5"), /at least 1 and at most 4/);
  assert.throws(() => parseNames("a,,b"), /separated by commas/);
});

Deno.test("unknown flags are refused with a suggestion", () => {
  let shown = "";
  const command = example().configureOutput({ ...quiet, writeErr: (text) => shown += text });
  assert.throws(() => command.parse(["--batchsize", "4"], { from: "user" }));
  assert.match(shown, /unknown option '--batchsize'\n\(Did you mean --batch-size\?\)/);
  assert.throws(() => parse("surplus"), /too many arguments/);
  assert.throws(() => parse("--projection-type", "conv"), /Allowed choices are linear, mlp/);
});

Deno.test("help shows defaults and choices", () => {
  const help = example().helpInformation();
  assert.match(help, /--batch-size <count>\s+images in a step \(default: 8\)/);
  assert.match(help, /choices: "linear", "mlp", default: "linear"/);
});

function withConfig(fields: Parameters<typeof applyConfig>[1]["fields"], ...args: string[]) {
  const command = example().parse(args, { from: "user" });
  applyConfig(command, { fields, name: "train.json" });
  return command.opts();
}

Deno.test("applyConfig fills what the command line left open", () => {
  const options = withConfig(
    {
      "batch-size": 4,
      lora_lr: "1e-3",
      appendEos: false,
      dataset: ["a", "b"],
      "lora-target-modules": ["k_proj"],
    },
    "--lora-lr",
    "2e-3",
  );
  assert.equal(options.batchSize, 4);
  assert.equal(options.loraLr, 2e-3);
  assert.equal(options.appendEos, false);
  assert.deepEqual(options.dataset, ["a", "b"]);
  assert.deepEqual(options.loraTargetModules, ["k_proj"]);
});

Deno.test("applyConfig refuses unknown fields and wrong values", () => {
  const refused = (fields: Parameters<typeof withConfig>[0], message: RegExp) =>
    assert.throws(() => withConfig(fields), (error: Error) => {
      assert.ok(error instanceof UserError, String(error));
      assert.match(error.message, message);
      return true;
    });
  refused({ "batch-sise": 4 }, /"train.json": "batch-sise" is not an option; did you mean "batch-size"\?/);
  refused({ "batch-size": 1.5 }, /"batch-size" is the number 1.5, expected a whole number, at least 1$/);
  refused({ "batch-size": [1, 2] }, /expected one value/);
  refused({ "batch-size": null }, /is null/);
  refused({ appendEos: "yes" }, /expected true or false/);
  refused({ "projection-type": "conv" }, /expected one of linear, mlp$/);
});

/** Runs a task of the given body in a process of its own. */
async function runBody(body: string, ...args: string[]) {
  const module = new URL("../../lib/host/arguments.ts", import.meta.url).href;
  const script = `import { createCommand, runTask } from ${JSON.stringify(module)};
    import { UserError } from ${JSON.stringify(new URL("../base/errors.ts", module).href)};
    await runTask(async ({ handleInterrupt }) => { ${body} });`;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["eval", script, "--", ...args],
    env: { NO_COLOR: "1" },
  });
  const { code, stderr, stdout } = await command.output();
  return { code, stderr: new TextDecoder().decode(stderr), stdout: new TextDecoder().decode(stdout) };
}

Deno.test("runTask shows an error as one line, with its stack under --debug", async () => {
  const plain = await runBody(`throw new UserError("Cannot do it");`);
  assert.deepEqual(plain, { code: 1, stderr: "error: Cannot do it\n", stdout: "" });
  const unexpected = await runBody(`throw new TypeError("odd");`);
  assert.equal(unexpected.code, 1);
  assert.equal(unexpected.stderr, "error: odd\nRun again with --debug for the stack trace\n");
  assert.match(
    (await runBody(`throw new TypeError("odd");`, "--debug")).stderr,
    /error: odd\nTypeError: odd\n\s+at /,
  );
});

Deno.test("runTask ends with the code of what happened", async () => {
  const parsed = `createCommand("x", "y").parse(Deno.args.filter((a) => a !== "--"), { from: "user" });`;
  assert.equal((await runBody(parsed, "--nonsense")).code, 2);
  const help = await runBody(parsed, "--help");
  assert.equal(help.code, 0);
  assert.match(help.stdout, /Usage: x/);
  assert.equal((await runBody("return 3;")).code, 3);
  assert.equal((await runBody("")).code, 0);
});

Deno.test({
  name: "an interrupt ends a task with 130, after it has saved if it asked to",
  ignore: Deno.build.os === "windows",
  async fn() {
    const wait = `await new Promise((resolve) => setTimeout(resolve, 20000));`;
    assert.deepEqual(await runBody(`Deno.kill(Deno.pid, "SIGINT"); ${wait}`), {
      code: 130,
      stderr: "",
      stdout: "",
    });
    const graceful = `const signal = handleInterrupt();
      const stopped = new Promise((resolve) => signal.addEventListener("abort", resolve));
      Deno.kill(Deno.pid, "SIGINT"); await stopped; console.log("saved");`;
    assert.deepEqual(await runBody(graceful), { code: 130, stderr: "", stdout: "saved\n" });
    const stuck = `handleInterrupt().addEventListener("abort", () => Deno.kill(Deno.pid, "SIGINT"));
      Deno.kill(Deno.pid, "SIGINT"); ${wait}`;
    assert.equal((await runBody(stuck)).code, 130);
  },
});
