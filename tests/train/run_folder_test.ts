import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { openFileFolder, type WritableFile } from "../../lib/host/files.ts";
import { chooseRunFolder, findCaptioner, findNewestCaptioner, RunFolder } from "../../lib/host/run_folder.ts";
import { TrainLog } from "../../lib/host/train_log.ts";
import type { CaptionerFolderConfig } from "../../lib/models/captioner_config.ts";
import {
  encodeCaptioner,
  encodeCheckpoint,
  type FolderFiles,
  readCheckpoint,
} from "../../lib/train/checkpoint.ts";
import { train } from "../../lib/train/trainer.ts";
import type { TrainingCheckpoint } from "../../lib/train/trainer_types.ts";
import { fakeEngine, fakeRows, SETTINGS } from "./fake_engine.ts";

const CONFIG: CaptionerFolderConfig = {
  encoder: { reference: "encoder" },
  decoder: { reference: "decoder" },
  projection: { type: "linear" },
  lora: { rank: 1, alpha: 1, dropout: 0.1, targetModules: ["q_proj"] },
  unfrozenVisionLayers: 0,
  maxLength: 5,
  appendEos: true,
};
const OPTIONS = {
  config: CONFIG,
  copies: new Map([["tokenizer.json", "{}"]]),
  settings: { evalSteps: 3, saveSteps: 4, batchSize: 3, earlyStoppingPatience: 3 },
};

/** Every checkpoint of a short training, as files. */
async function checkpoints(): Promise<
  { step: number; files: FolderFiles; checkpoint: TrainingCheckpoint }[]
> {
  const saved: { step: number; files: FolderFiles; checkpoint: TrainingCheckpoint }[] = [];
  await train({
    engine: fakeEngine(),
    settings: { ...SETTINGS, evalSteps: 100, saveSteps: 2 },
    train: fakeRows(20),
    saveCheckpoint(checkpoint) {
      saved.push({ step: checkpoint.state.step, files: encodeCheckpoint(checkpoint, OPTIONS), checkpoint });
      return Promise.resolve();
    },
  });
  return saved;
}

async function withFolder(test: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    await test(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

const KEEP = { saveTotalLimit: 3, bestStep: undefined };

/** A process that is killed while it opens a file. */
interface Kill {
  /** Opens files until `writes` were opened; the next open never returns, as in a process that was killed there. */
  create(path: string): Promise<WritableFile>;
  /** Resolves when that open was asked for. */
  reached: Promise<string>;
}

function killedAfter(writes: number): Kill {
  let opened = 0;
  const { promise: reached, resolve } = Promise.withResolvers<string>();
  return {
    reached,
    create(path) {
      if (opened++ < writes) return Deno.open(path, { write: true, createNew: true });
      resolve("killed");
      return new Promise<WritableFile>(() => {});
    },
  };
}

Deno.test("a checkpoint read back is the one that was saved", () =>
  withFolder(async (path) => {
    const [first] = await checkpoints();
    using run = await RunFolder.open(path);
    await run.saveCheckpoint(2, first!.files, KEEP);
    const read = await readCheckpoint((await run.newestCheckpoint())!);
    deepStrictEqual(read.state, first!.checkpoint.state);
    deepStrictEqual(read.config, CONFIG);
    for (const part of ["values", "m", "v"] as const) {
      deepStrictEqual(
        new Map([...read.engine[part]].sort()),
        new Map([...first!.checkpoint.engine[part]].sort()),
        part,
      );
    }
  }));

Deno.test("a kill between any two files of a checkpoint leaves the one before", () =>
  withFolder(async (path) => {
    const [first, second] = await checkpoints();
    strictEqual(first!.files.size, 7);
    for (let writes = 0; writes < second!.files.size; writes++) {
      const folder = `${path}/${writes}`;
      {
        using run = await RunFolder.open(folder);
        await run.saveCheckpoint(2, first!.files, KEEP);
      }
      {
        const kill = killedAfter(writes);
        using killed = await RunFolder.open(folder, { create: kill.create });
        const saving = killed.saveCheckpoint(4, second!.files, KEEP).then(() => "saved");
        strictEqual(await Promise.race([saving, kill.reached]), "killed");
      }
      using again = await RunFolder.open(folder);
      deepStrictEqual(await again.checkpointSteps(), [2]);
      strictEqual((await readCheckpoint((await again.newestCheckpoint())!)).state.step, 2);
      const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
      deepStrictEqual(names, [".lock", "checkpoint-2"], `after ${writes} files`);
    }
  }));

Deno.test("a kill while the best model is replaced leaves the checkpoint as the captioner", () =>
  withFolder(async (path) => {
    const saved = await checkpoints();
    const model = encodeCaptioner(saved[0]!.checkpoint.engine, OPTIONS);
    {
      using run = await RunFolder.open(path);
      await run.saveCheckpoint(2, saved[0]!.files, KEEP);
      strictEqual(await findCaptioner(path), `${path}/checkpoint-2`);
      await run.writeModel(model);
      strictEqual(await findCaptioner(path), path);
    }
    for (let writes = 0; writes < model.size; writes++) {
      const kill = killedAfter(writes);
      using run = await RunFolder.open(path, { create: kill.create });
      const writing = run.writeModel(model).then(() => "written");
      const outcome = await Promise.race([writing, kill.reached]);
      strictEqual(outcome, "killed");
      strictEqual(await findCaptioner(path), `${path}/checkpoint-2`);
    }
    using run = await RunFolder.open(path);
    await run.writeModel(model);
    strictEqual(await findCaptioner(path), path);
  }));

Deno.test("a disk that fills up while saving gives one clear error and loses nothing", () =>
  withFolder(async (path) => {
    const [first, second] = await checkpoints();
    let room = Infinity;
    const create = async (file: string): Promise<WritableFile> => {
      const open = await Deno.open(file, { write: true, createNew: true });
      return {
        write(bytes) {
          room -= bytes.length;
          if (room < 0) {
            throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
          }
          return open.write(bytes);
        },
        sync: () => open.sync(),
        close: () => open.close(),
      };
    };
    using run = await RunFolder.open(path, { create });
    await run.saveCheckpoint(2, first!.files, KEEP);
    room = 1000;
    await rejects(run.saveCheckpoint(4, second!.files, KEEP), {
      name: "UserError",
      message: /the disk is full/,
    });
    deepStrictEqual(await run.checkpointSteps(), [2]);
    strictEqual((await readCheckpoint((await run.newestCheckpoint())!)).state.step, 2);
    ok(![...Deno.readDirSync(path)].some(({ name }) => name.includes("tmp")));
  }));

Deno.test("the newest checkpoints and the best one are kept", () =>
  withFolder(async (path) => {
    const [first] = await checkpoints();
    using run = await RunFolder.open(path);
    const limits = { saveTotalLimit: 3, bestStep: 4 };
    for (const step of [2, 4, 6, 8, 10, 12]) await run.saveCheckpoint(step, first!.files, limits);
    deepStrictEqual(await run.checkpointSteps(), [4, 10, 12]);
    await run.saveCheckpoint(14, first!.files, { saveTotalLimit: 1, bestStep: 4 });
    deepStrictEqual(await run.checkpointSteps(), [4, 14]);
    await run.saveCheckpoint(100, first!.files, { saveTotalLimit: 1, bestStep: 100 });
    deepStrictEqual(await run.checkpointSteps(), [100]);
  }));

Deno.test("a second run in the same folder is refused until the first ends", () =>
  withFolder(async (path) => {
    {
      using _run = await RunFolder.open(path);
      await rejects(RunFolder.open(path), { name: "UserError", message: /another run is writing to it/ });
    }
    using _next = await RunFolder.open(path);
  }));

Deno.test("a damaged checkpoint is an error that names the file", () =>
  withFolder(async (path) => {
    const [first] = await checkpoints();
    using run = await RunFolder.open(path);
    await run.saveCheckpoint(2, first!.files, KEEP);
    const file = `${run.checkpointPath(2)}/optimizer.safetensors`;
    await Deno.truncate(file, (await Deno.stat(file)).size - 5);
    const folder = await openFileFolder(run.checkpointPath(2));
    await rejects(readCheckpoint(folder), { name: "SyntaxError", message: /optimizer\.safetensors/ });
    await Deno.remove(file);
    await rejects(readCheckpoint(folder), /has no "optimizer.safetensors"/);
  }));

Deno.test("an unfinished run of the same fingerprint is continued, any other gets a folder of its own", () =>
  withFolder(async (path) => {
    const manifest = (name: string, content: Record<string, unknown>) => {
      Deno.mkdirSync(`${path}/${name}`, { recursive: true });
      Deno.writeTextFileSync(`${path}/${name}/manifest.json`, JSON.stringify(content));
    };
    deepStrictEqual(await chooseRunFolder(path, "a-b", "x"), { path: `${path}/a-b`, isContinued: false });
    manifest("a-b", { fingerprint: "x", finished: false });
    deepStrictEqual(await chooseRunFolder(path, "a-b", "x"), { path: `${path}/a-b`, isContinued: true });
    deepStrictEqual(await chooseRunFolder(path, "a-b", "y"), { path: `${path}/a-b-2`, isContinued: false });
    manifest("a-b", { fingerprint: "x", finished: true });
    deepStrictEqual(await chooseRunFolder(path, "a-b", "x"), { path: `${path}/a-b-2`, isContinued: false });
    strictEqual(await findNewestCaptioner(path), undefined);
    Deno.writeTextFileSync(`${path}/a-b/config.json`, "{}");
    strictEqual(await findNewestCaptioner(path), `${path}/a-b`);
  }));

Deno.test("metrics begin with the entries of the checkpoint that is continued", () =>
  withFolder(async (path) => {
    const entry = (step: number) => ({ step, epoch: step / 10, loss: 1 / step });
    {
      using log = await TrainLog.open(path, []);
      for (const step of [1, 2, 3]) log.add(entry(step));
    }
    {
      using log = await TrainLog.open(path, [entry(1), entry(2)]);
      log.add(entry(3), { images_per_second: 12 });
      log.line("done");
    }
    const lines = (await Deno.readTextFile(`${path}/metrics.jsonl`)).trim().split("\n");
    deepStrictEqual(lines.map((line) => JSON.parse(line)), [1, 2, 3].map(entry));
    ok((await Deno.readTextFile(`${path}/train.log`)).endsWith(" done\n"));
    const [folder] = [...Deno.readDirSync(`${path}/runs`)];
    const [events] = [...Deno.readDirSync(`${path}/runs/${folder!.name}`)];
    ok(events!.name.startsWith("events.out.tfevents."));
  }));
