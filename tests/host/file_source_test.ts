import assert from "node:assert/strict";
import { memoryFiles } from "../../lib/datasets/file_source.ts";
import { openFolder, readBounded } from "../../lib/host/file_source.ts";

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/sub/deep`, { recursive: true });
    await Deno.writeFile(`${folder}/b.bin`, Uint8Array.of(1, 2, 3));
    await Deno.writeFile(`${folder}/sub/deep/a.bin`, Uint8Array.of(4));
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a folder on disk and the same files in memory answer alike", () =>
  withFolder(async (folder) => {
    const files = new Map([["b.bin", Uint8Array.of(1, 2, 3)], ["sub/deep/a.bin", Uint8Array.of(4)]]);
    for (const source of [openFolder(folder), memoryFiles("memory", files)]) {
      assert.deepEqual(await source.list(""), [{ name: "b.bin", isFolder: false }, {
        name: "sub",
        isFolder: true,
      }]);
      assert.deepEqual(await source.list("sub"), [{ name: "deep", isFolder: true }]);
      assert.deepEqual([...await source.read("sub/deep/a.bin", { maxBytes: 1 })], [4]);
      assert.equal(await source.exists("b.bin"), true);
      assert.equal(await source.exists("sub"), false);
      assert.equal(await source.exists("b.bin/c"), false);
      await assert.rejects(source.read("b.bin", { maxBytes: 2 }), /3 bytes, expected at most 2/);
      await assert.rejects(source.read("none", { maxBytes: 2 }), Error);
      await assert.rejects(source.list("none"), Error);
    }
  }));

Deno.test("what is no folder, or no file, is refused", () =>
  withFolder(async (folder) => {
    assert.throws(() => openFolder(`${folder}/none`), /does not exist/);
    assert.throws(() => openFolder(`${folder}/b.bin`), /is a file/);
    await assert.rejects(readBounded(folder, 10), /not a file/);
  }));
