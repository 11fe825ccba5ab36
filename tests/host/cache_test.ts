import assert from "node:assert/strict";
import { FeatureCache, resolveCacheDir } from "../../lib/host/cache.ts";

async function inTemporaryFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function blobsIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].filter((entry) => entry.isDirectory)
    .flatMap(({ name }) =>
      [...Deno.readDirSync(`${folder}/${name}`)].map((file) => `${folder}/${name}/${file.name}`)
    );
}

Deno.test("FeatureCache gives back what was put, also after it was opened again", () =>
  inTemporaryFolder(async (folder) => {
    const cache = await FeatureCache.open({ folder: `${folder}/new/cache`, maxBytes: 1e6 });
    assert.equal(await cache.get("a"), undefined);
    assert.equal(await cache.put("a", Float32Array.of(9, 1.5, NaN, 9).subarray(1, 3)), true);
    await cache.put("empty", new Float32Array(0));
    await cache.put("a/../ü".repeat(500), Float32Array.of(3));
    const again = await FeatureCache.open({ folder: `${folder}/new/cache`, maxBytes: 1e6 });
    assert.deepEqual([...(await again.get("a"))!], [1.5, NaN]);
    assert.equal((await again.get("empty"))!.length, 0);
    assert.deepEqual([...(await again.get("a/../ü".repeat(500)))!], [3]);
    assert.equal(again.sizeBytes, cache.sizeBytes);
    await again.put("a", Float32Array.of(7));
    assert.deepEqual([...(await cache.get("a"))!], [7]);
  }));

Deno.test("FeatureCache stays below its size and drops the least recently used", () =>
  inTemporaryFolder(async (folder) => {
    // Ten blobs of 16 + 84 bytes fill it.
    const cache = await FeatureCache.open({ folder, maxBytes: 1000 });
    for (let i = 0; i < 10; i++) {
      await cache.put(`key ${i}`, new Float32Array(21).fill(i));
      const newest = blobsIn(folder).filter((path) =>
        Deno.statSync(path).mtime!.getTime() > Date.now() - 600_000
      );
      const usedAt = new Date(Date.now() - 3600_000 * (20 - i));
      for (const path of newest) Deno.utimeSync(path, usedAt, usedAt);
    }
    assert.equal(cache.sizeBytes, 1000);
    assert.ok(await cache.get("key 0"), "reading marks it as used");
    await cache.put("key 10", new Float32Array(21));
    assert.ok(cache.sizeBytes <= 900);
    assert.ok(await cache.get("key 0"));
    assert.ok(await cache.get("key 10"));
    assert.equal(await cache.get("key 1"), undefined);
    assert.equal(await cache.get("key 2"), undefined);
    assert.equal(blobsIn(folder).length, 9);
    await cache.prune(0);
    assert.equal(blobsIn(folder).length, 0);
    assert.equal(cache.sizeBytes, 0);
  }));

Deno.test("FeatureCache does not keep what is larger than itself", () =>
  inTemporaryFolder(async (folder) => {
    const cache = await FeatureCache.open({ folder, maxBytes: 100 });
    assert.equal(await cache.put("a", new Float32Array(22)), false);
    assert.equal(await cache.get("a"), undefined);
    await assert.rejects(FeatureCache.open({ folder, maxBytes: -1 }), RangeError);
    await assert.rejects(FeatureCache.open({ folder, maxBytes: NaN }), RangeError);
  }));

Deno.test("FeatureCache treats a damaged blob as absent and removes it", () =>
  inTemporaryFolder(async (folder) => {
    const cache = await FeatureCache.open({ folder, maxBytes: 1e6 });
    for (const damage of ["cut", "flip", "empty"]) {
      await cache.put("a", Float32Array.of(1, 2, 3));
      const [path] = blobsIn(folder);
      const bytes = Deno.readFileSync(path!);
      if (damage === "flip") bytes[20]! ^= 1;
      Deno.writeFileSync(
        path!,
        damage === "cut" ? bytes.subarray(0, 24) : damage === "empty" ? new Uint8Array() : bytes,
      );
      assert.equal(await cache.get("a"), undefined, damage);
      assert.equal(blobsIn(folder).length, 0);
    }
  }));

Deno.test("two processes share a FeatureCache", () =>
  inTemporaryFolder(async (folder) => {
    const module = new URL("../../lib/host/cache.ts", import.meta.url).href;
    const script = `import { FeatureCache } from ${JSON.stringify(module)};
      const cache = await FeatureCache.open({ folder: Deno.args[0], maxBytes: 4000 });
      for (let round = 0; round < 150; round++) {
        const key = round * 7 % 30;
        await cache.put(String(key), new Float32Array(50).fill(key));
        const other = round * 11 % 30;
        const found = await cache.get(String(other));
        if (found && (found.length !== 50 || found.some((value) => value !== other))) throw new Error("torn");
      }`;
    const run = () =>
      new Deno.Command(Deno.execPath(), { args: ["eval", script, folder], stderr: "piped" }).output();
    for (const output of await Promise.all([run(), run()])) {
      assert.ok(output.success, new TextDecoder().decode(output.stderr));
    }
    const kept = blobsIn(folder);
    assert.ok(kept.length > 0 && kept.length <= 22, `${kept.length} blobs`);
    assert.ok([...Deno.readDirSync(folder)].every((entry) => entry.isDirectory), "no temporaries are left");
  }));

Deno.test("resolveCacheDir prefers what it is given", () => {
  assert.equal(resolveCacheDir("here"), "here");
  assert.match(resolveCacheDir(), /distilvit-captioner$/);
});
