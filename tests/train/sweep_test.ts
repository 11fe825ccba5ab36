import { deepStrictEqual, match, ok, rejects, strictEqual } from "node:assert/strict";
import type { JsonObject } from "../../lib/format/json.ts";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import type { TrainRunOptions, TrainRunResult } from "../../lib/host/train_options.ts";
import { runTraining } from "../../lib/host/train_run.ts";
import { describeSweep, readSweep, runSweep, sweepToJson } from "../../lib/host/train_sweep.ts";
import { testGpu } from "../support/gpu.ts";
import { withModels } from "../support/tiny_run.ts";

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function write(folder: string, json: unknown): Promise<string> {
  const file = `${folder}/grid.json`;
  await Deno.writeTextFile(file, typeof json === "string" ? json : JSON.stringify(json));
  return file;
}

Deno.test("a grid is every combination, the last flag changing fastest; a list is its runs", () =>
  inFolder(async (folder) => {
    deepStrictEqual(await readSweep(await write(folder, { "lora-r": [4, 8], seed: [1, 2, 3] })), [
      ...[1, 2, 3].map((seed) => ({ "lora-r": 4, seed })),
      ...[1, 2, 3].map((seed) => ({ "lora-r": 8, seed })),
    ]);
    const list = [{ "lora-r": 4 }, { dataset: ["a", "b"] }, {}];
    deepStrictEqual(await readSweep(await write(folder, list)), list);
    for (
      const [json, message] of [
        ["{", /it is no JSON/],
        ["7", /no object and no list/],
        ["[7]", /no object and no list/],
        ["[]", /it has 0 runs/],
        [{ seed: 7 }, /"seed" has no list of values/],
        [{ seed: [] }, /"seed" has no list of values/],
        [{ seed: Array(40).fill(1), "lora-r": Array(40).fill(1) }, /more than 1000 runs/],
        [Array(1001).fill({}), /it has 1001 runs/],
        [`[${" ".repeat(1e6)}]`, /it has 1000002 bytes/],
      ] as const
    ) await rejects(write(folder, json).then(readSweep), { name: "UserError", message });
    await rejects(readSweep(`${folder}/none.json`), { name: "UserError", message: /none\.json/ });
  }));

Deno.test("flags of a sweep are those of the command line, and what cannot be swept is refused", async () => {
  const parse = (sweep: JsonObject, text = "") =>
    parseTrainArguments(["--sweep", "grid.json", ...text.split(" ").filter((word) => word)], {}, { sweep });
  const options = await parse({ "lora-r": 4, lora_lr: 1e-5, batchSize: 2, dataset: ["a", "b"] }, "--seed 7");
  deepStrictEqual([options.lora.rank, options.loraLr, options.batchSize, options.seed], [4, 1e-5, 2, 7]);
  deepStrictEqual(options.dataset, ["a", "b"]);
  for (
    const [sweep, message, text] of [
      [{ "lora-rr": 4 }, /"grid.json": "lora-rr" is not an option; did you mean "lora-r"/],
      [{ "lora-r": "many" }, /"grid.json".*"lora-r".*whole number/],
      [{ seed: 1 }, /"seed" is on the command line too/, "--seed 7"],
      [{ "save-dir": "x" }, /"save-dir" is the same for all runs/],
      [{ sweep: "x" }, /"sweep" is the same for all runs/],
      [{ seed: 1 }, /--push-to-hub with --sweep/, "--push-to-hub"],
    ] as const
  ) await rejects(parse(sweep, text), { name: "UserError", message });
});

/** Trains by making up a loss from the options. */
function fakeTrain(
  trained: number[],
  endOf: (options: TrainRunOptions) => "completed" | "interrupted" | Error,
) {
  return (options: TrainRunOptions): Promise<TrainRunResult> => {
    trained.push(options.seed);
    const ended = endOf(options);
    if (ended instanceof Error) return Promise.reject(ended);
    const data = {
      rows: { train: [], validation: [], test: [] },
      badRows: new BadRows(),
      total: 0,
      hash: "",
    };
    const path = `${options.saveDir}/run`;
    if (ended === "interrupted") return Promise.resolve({ path, ended, step: 1, data, judged: undefined });
    const value = 10 / options.seed;
    return Promise.resolve({
      path,
      ended,
      step: 9,
      best: { step: 6, value },
      data,
      judged: undefined,
      after: { metrics: { eval_loss: value / 2, eval_cider_d: value }, samples: [] },
    });
  };
}

Deno.test("runs that ended are not trained again, failures are noted, and the table names the best", () =>
  inFolder(async (folder) => {
    const file = await write(folder, { seed: [1, 2, 3, 4] });
    const said: string[] = [];
    const sweepWith = (train: ReturnType<typeof fakeTrain>, flags: string[] = []) =>
      runSweep({
        file,
        parse: (sweep) =>
          parseTrainArguments(["--save-dir", `${folder}/runs`, "--sweep", file, ...flags], {}, { sweep }),
        train,
        context: { signal: new AbortController().signal, say: (line) => said.push(line) },
      });
    const trained: number[] = [];
    const first = await sweepWith(
      fakeTrain(
        trained,
        ({ seed }) => seed === 2 ? new TypeError("no | luck") : seed === 4 ? "interrupted" : "completed",
      ),
    );
    deepStrictEqual(trained, [1, 2, 3, 4]);
    strictEqual(first.isInterrupted, true);
    strictEqual(first.path, `${folder}/runs/sweep-grid`);
    deepStrictEqual(first.runs.map(({ number, error }) => [number, error]), [
      [1, undefined],
      [2, "no | luck"],
      [3, undefined],
    ]);
    ok(said.includes("Run 2 failed: no | luck") && said.includes("Run 3 of 4: seed 3"));

    // The same command: what ended stays, what failed or was broken off is tried again.
    const again: number[] = [];
    const second = await sweepWith(fakeTrain(again, () => "completed"), ["--json"]);
    deepStrictEqual(again, [2, 4]);
    strictEqual(second.isInterrupted, false);
    deepStrictEqual(second.runs.map(({ number }) => number), [1, 2, 3, 4]);
    deepStrictEqual(second.runs[0], first.runs[0]);
    const text = describeSweep(second);
    match(text, /run +seed +ended +best Loss +at step +Loss +CIDEr-D/);
    match(text, /4 +4 +completed +2\.500 \* +6 +1\.250 +2\.500/);
    strictEqual(text.split("*").length, 3, "one is the best, and what that means is said");
    const json = JSON.parse(await Deno.readTextFile(`${second.path}/sweep.json`));
    deepStrictEqual(json, JSON.parse(sweepToJson(second)));
    deepStrictEqual(json.runs[3].best, { step: 6, value: 2.5 });
    match(await Deno.readTextFile(`${second.path}/sweep.md`), /\| 4 \| 4 \| completed \| 2\.500 \* \| 6 \|/);

    // Other options of all runs are other runs.
    const others: number[] = [];
    await sweepWith(fakeTrain(others, () => new Error("all fail")), ["--lora-r", "3"]);
    deepStrictEqual(others, [1, 2, 3, 4]);
    await Deno.writeTextFile(`${folder}/runs/sweep-grid/sweep.json`, "{");
    await rejects(sweepWith(fakeTrain([], () => "completed")), {
      name: "UserError",
      message: /sweep\.json.*damaged/,
    });
  }));

Deno.test(
  "a sweep trains, is broken off inside a run, and goes on there",
  { sanitizeOps: false, sanitizeResources: false },
  () =>
    withModels(async (root) => {
      const file = await write(root, [{ "lora-r": 2 }, { "lora-r": 4, "max-steps": 4 }]);
      const args = [
        ...["--encoder-model", `${root}/siglip`, "--decoder-model", `${root}/llama`],
        ...["--dataset", `${root}/images`, "--save-dir", `${root}/runs`, "--cache-dir", `${root}/cache`],
        ..."--batch-size 4 --gradient-accumulation-steps 1 --max-length 12 --eval-captions 2 --num-train-epochs 1"
          .split(" "),
      ];
      const gpu = await testGpu();
      const sweepUntil = async (stopAt?: number) => {
        const stop = new AbortController();
        let runs = 0;
        return await runSweep({
          file,
          parse: (sweep) => parseTrainArguments(args, {}, { sweep }),
          train(options, context) {
            if (++runs === stopAt) setTimeout(() => stop.abort(), 300);
            return runTraining(options, context);
          },
          context: { signal: stop.signal, say() {}, quiet: true, gpu },
        });
      };
      const first = await sweepUntil(2).catch((error) => {
        strictEqual(error.name, "AbortError");
        return undefined;
      });
      ok(first === undefined || first.isInterrupted || first.runs.length === 2);
      const sweep = await sweepUntil();
      deepStrictEqual(sweep.runs.map(({ step }) => step), [3, 4]);
      strictEqual(new Set(sweep.runs.map(({ path }) => path)).size, 2);
      for (const { path, metrics, best } of sweep.runs) {
        ok((await Deno.stat(`${path}/report.html`)).size > 0);
        ok(metrics!["loss"]! > 0 && best!.value > 0);
      }
      deepStrictEqual([...Deno.readDirSync(`${root}/runs/sweep-grid/02`)].map(({ name }) => name), [
        "siglip-llama-lora",
      ]);
    }),
);
