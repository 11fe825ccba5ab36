import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import { openCheckpoint } from "../../lib/format/checkpoint.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import {
  cleanUpAfterKill,
  makeFolder,
  openFile,
  openFileFolder,
  type WritableFile,
  writeFileAtomically,
  writeFolderAtomically,
} from "../../lib/host/files.ts";
import { acquireRunLock } from "../../lib/host/run_lock.ts";

async function inTemporaryFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();

/** Creates files on a disk that takes `capacity` bytes more. */
function almostFullDisk(capacity: number): (path: string) => Promise<WritableFile> {
  return async (path) => {
    const file = await Deno.open(path, { write: true, createNew: true });
    return {
      async write(bytes) {
        if (capacity === 0) {
          throw Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
        }
        const count = await file.write(bytes.subarray(0, capacity));
        capacity -= count;
        return count;
      },
      sync: () => file.sync(),
      close: () => file.close(),
    };
  };
}

Deno.test("openFile reads ranges, and what is left at the end", () =>
  inTemporaryFolder(async (folder) => {
    await Deno.writeFile(`${folder}/a`, Uint8Array.from({ length: 100 }, (_, i) => i));
    const file = await openFile(`${folder}/a`);
    assert.equal(file.size, 100);
    assert.deepEqual([...await file.read(10, 13)], [10, 11, 12]);
    assert.deepEqual([...await file.read(98, 120)], [98, 99]);
    assert.equal((await file.read(5, 5)).length, 0);
  }));

Deno.test("openFile and openFileFolder say what is not there", () =>
  inTemporaryFolder(async (folder) => {
    await assert.rejects(openFile(`${folder}/none`), /none": it does not exist/);
    await assert.rejects(openFile(folder), /it is not a file/);
    await assert.rejects(openFileFolder(`${folder}/none`), UserError);
    await Deno.writeTextFile(`${folder}/a`, "");
    await assert.rejects(openFileFolder(`${folder}/a`), /it is a file/);
    const opened = await openFileFolder(folder);
    assert.equal(await opened.open("none"), undefined);
    assert.equal(await opened.open("a/b"), undefined);
    assert.equal((await opened.open("a"))!.size, 0);
  }));

Deno.test("a checkpoint opens from a folder on disk", () =>
  inTemporaryFolder(async (folder) => {
    const tensors = new Map<string, TensorData>([["w", {
      dtype: "F32",
      shape: [2],
      data: Float32Array.of(1, 2),
    }]]);
    await writeFileAtomically(`${folder}/model.safetensors`, writeSafetensors(tensors));
    const checkpoint = await openCheckpoint(await openFileFolder(folder));
    assert.deepEqual([...await checkpoint.readF32("w")], [1, 2]);
  }));

Deno.test("writeFileAtomically writes bytes, text and streams, and leaves nothing beside them", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/state.json`;
    await writeFileAtomically(path, "one");
    await writeFileAtomically(path, Uint8Array.of(116, 119, 111));
    assert.equal(await Deno.readTextFile(path), "two");
    await writeFileAtomically(
      path,
      (async function* () {
        yield Uint8Array.of(51);
        await Promise.resolve();
        yield Uint8Array.of(52);
      })(),
    );
    assert.equal(await Deno.readTextFile(path), "34");
    assert.deepEqual(namesIn(folder), ["state.json"]);
  }));

Deno.test("a full disk while writing a file keeps the old one and says so", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/model.safetensors`;
    await writeFileAtomically(path, "old");
    await assert.rejects(
      writeFileAtomically(path, "a much longer new content", { create: almostFullDisk(7) }),
      (error: Error) =>
        error instanceof UserError && /model\.safetensors": the disk is full/.test(error.message),
    );
    assert.equal(await Deno.readTextFile(path), "old");
    assert.deepEqual(namesIn(folder), ["model.safetensors"]);
  }));

Deno.test("a failing stream keeps the old file and its own error", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/a`;
    await writeFileAtomically(path, "old");
    const broken = (function* () {
      yield Uint8Array.of(1);
      throw new RangeError("tensor lost");
    })();
    await assert.rejects(writeFileAtomically(path, broken), { name: "RangeError", message: "tensor lost" });
    assert.equal(await Deno.readTextFile(path), "old");
    assert.deepEqual(namesIn(folder), ["a"]);
  }));

Deno.test("writeFolderAtomically shows a folder only when it is whole, and replaces an old one", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/checkpoint-10`;
    await writeFolderAtomically(path, async (writer) => {
      await writer.write("a.txt", "a");
      await writer.write("runs/deep/b.txt", "b");
      assert.ok(!namesIn(folder).includes("checkpoint-10"));
    });
    assert.equal(await Deno.readTextFile(`${path}/runs/deep/b.txt`), "b");
    await writeFolderAtomically(path, (writer) => writer.write("c.txt", "c"));
    assert.deepEqual(namesIn(path), ["c.txt"]);
    assert.deepEqual(namesIn(folder), ["checkpoint-10"]);
  }));

Deno.test("a full disk while writing a folder keeps the old folder and removes the new", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/checkpoint-10`;
    await writeFolderAtomically(path, (writer) => writer.write("a.txt", "old"));
    await assert.rejects(
      writeFolderAtomically(path, async (writer) => {
        await writer.write("a.txt", "new");
        await writer.write("b.txt", "too much");
      }, { create: almostFullDisk(5) }),
      /the disk is full/,
    );
    assert.equal(await Deno.readTextFile(`${path}/a.txt`), "old");
    assert.deepEqual(namesIn(folder), ["checkpoint-10"]);
  }));

Deno.test("cleanUpAfterKill removes the unfinished and puts back the replaced", () =>
  inTemporaryFolder(async (folder) => {
    await Deno.mkdir(`${folder}/.tmp-checkpoint-3-99-abc`);
    await Deno.writeTextFile(`${folder}/.tmp-state.json-99-abc`, "half");
    await Deno.mkdir(`${folder}/.old-checkpoint-2`);
    await Deno.mkdir(`${folder}/.old-checkpoint-1`);
    await Deno.mkdir(`${folder}/checkpoint-1`);
    await cleanUpAfterKill(folder);
    assert.deepEqual(namesIn(folder), ["checkpoint-1", "checkpoint-2"]);
    await cleanUpAfterKill(`${folder}/none`);
  }));

Deno.test("a kill in the middle of writing leaves the old folder", () =>
  inTemporaryFolder(async (folder) => {
    const path = `${folder}/checkpoint-1`;
    await writeFolderAtomically(path, (writer) => writer.write("a.txt", "old"));
    const files = new URL("../../lib/host/files.ts", import.meta.url).href;
    const script = `import { writeFolderAtomically } from ${JSON.stringify(files)};
      await writeFolderAtomically(Deno.args[0], async (writer) => {
        await writer.write("a.txt", "new");
        Deno.kill(Deno.pid, "SIGKILL");
        await new Promise(() => setTimeout(() => {}, 1e6));
      });`;
    const child = await new Deno.Command(Deno.execPath(), { args: ["eval", script, path] }).output();
    assert.equal(child.success, false);
    assert.equal(namesIn(folder).length, 2);
    await cleanUpAfterKill(folder);
    assert.deepEqual(namesIn(folder), ["checkpoint-1"]);
    assert.equal(await Deno.readTextFile(`${path}/a.txt`), "old");
  }));

Deno.test("a second run in a folder is refused while the first lives", () =>
  inTemporaryFolder(async (folder) => {
    const run = `${folder}/runs/one`;
    const lock = await acquireRunLock(run);
    await assert.rejects(acquireRunLock(run), (error: Error) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        new RegExp(`runs/one": another run is writing to it \\(process ${Deno.pid}, since `),
      );
      return true;
    });
    lock.release();
    lock.release();
    using again = await acquireRunLock(run);
    assert.ok(again);
  }));

Deno.test("the lock of a killed process is taken over", () =>
  inTemporaryFolder(async (folder) => {
    const module = new URL("../../lib/host/run_lock.ts", import.meta.url).href;
    const script = `import { acquireRunLock } from ${JSON.stringify(module)};
      await acquireRunLock(Deno.args[0]); console.log("held"); setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), { args: ["eval", script, folder], stdout: "piped" })
      .spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    await assert.rejects(acquireRunLock(folder), new RegExp(`process ${child.pid}`));
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    (await acquireRunLock(folder)).release();
  }));

Deno.test("what the system refuses is said in words, with the path", () =>
  inTemporaryFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "old");
    await assert.rejects(makeFolder(`${folder}/file/below`), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        /^Cannot write ".+\/file\/below": a part of the path is a file; name another/,
      );
      return true;
    });
    await assert.rejects(makeFolder(`${folder}/file`), /a file has its name/);
    await assert.rejects(writeFileAtomically(`${folder}/file/below`, "new"), /a part of the path is a file/);
    const create = () => {
      throw Object.assign(new Error("Read-only file system (os error 30)"), { code: "EROFS" });
    };
    await assert.rejects(
      writeFileAtomically(`${folder}/file`, "new", { create }),
      /the file system is read-only/,
    );
    assert.equal(await Deno.readTextFile(`${folder}/file`), "old");
  }));
