import assert from "node:assert/strict";
import { downloadFiles } from "../../lib/host/hub_download.ts";
import { CachedRepo } from "../../lib/host/hub_cache.ts";
import { connectToHub } from "../../lib/host/hub_env.ts";
import { FAST, hubClient, inTemporaryFolder, noise, tree } from "../support/hub_client.ts";
import type { Fault } from "../support/hub_faults.ts";
import { type HubServer, type HubServerOptions, startHub } from "../support/hub_server.ts";
import { sha256Of } from "../support/hub_store.ts";

const WEIGHTS = noise(300_000);
const SHA256 = sha256Of(WEIGHTS);
const CONFIG = '{"model_type":"llama"}\n';

/** A Hub with one model, and a folder for a cache. */
async function withModel(
  run: (hub: HubServer, cache: string, sha: string) => Promise<void>,
  options: HubServerOptions = {},
): Promise<void> {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub(options);
    const repo = hub.create("model", "org/tiny");
    const files = { "config.json": CONFIG, "model.safetensors": WEIGHTS, "a/b/notes.txt": "deep" };
    await run(hub, `${folder}/hub`, hub.commit(repo, files));
  });
}

/** Bytes of large files spoiled: the first answers by the given faults, later ones good. */
function spoil(hub: HubServer, ...faults: (Fault | undefined)[]): void {
  hub.fault = ({ path }) => path.startsWith("/files/") ? faults.shift() : undefined;
}

async function fetchWeights(hub: HubServer, cache: string, timeoutMs = 5000): Promise<string[]> {
  const client = hubClient(hub, cache, { timeoutMs });
  const folder = await (await client.open("org/tiny")).fetch(["model.safetensors"]);
  assert.deepEqual(await Deno.readFile(`${folder.name}/model.safetensors`), WEIGHTS);
  return client.said;
}

Deno.test("the cache has Python's layout, file by file", async () => {
  await withModel(async (hub, cache, sha) => {
    const repo = await hubClient(hub, cache).open("org/tiny");
    assert.equal(repo.sha, sha);
    assert.deepEqual(repo.files.map(({ path }) => path), [
      ".gitattributes",
      "a/b/notes.txt",
      "config.json",
      "model.safetensors",
    ]);
    const folder = await repo.fetch(repo.files.map(({ path }) => path));
    assert.equal(folder.name, `${cache}/models--org--tiny/snapshots/${sha}`);
    const oid = (path: string) => repo.files.find((file) => file.path === path)!.checksum.hex;
    const snapshot = `models--org--tiny/snapshots/${sha}`;
    const found = tree(cache);
    const blobs = repo.files.map(({ checksum, sizeBytes }) => [
      `models--org--tiny/blobs/${checksum.hex}`,
      `${sizeBytes}`,
    ]);
    const locks = repo.files.map(({ checksum }) => [`.locks/models--org--tiny/${checksum.hex}.lock`, "0"]);
    const listing = `models--org--tiny/.listings/${sha}.json`;
    assert.deepEqual(found, {
      ...Object.fromEntries(blobs),
      ...Object.fromEntries(locks),
      [listing]: found[listing],
      "models--org--tiny/refs/main": "40",
      [`${snapshot}/.gitattributes`]: `-> ../../blobs/${oid(".gitattributes")}`,
      [`${snapshot}/a/b/notes.txt`]: `-> ../../../../blobs/${oid("a/b/notes.txt")}`,
      [`${snapshot}/config.json`]: `-> ../../blobs/${oid("config.json")}`,
      [`${snapshot}/model.safetensors`]: `-> ../../blobs/${SHA256}`,
    });
    assert.equal(await Deno.readTextFile(`${cache}/models--org--tiny/refs/main`), sha);
    assert.equal(await Deno.readTextFile(`${folder.name}/a/b/notes.txt`), "deep");
  });
});

Deno.test("what is cached costs one request, and none for a commit", async () => {
  await withModel(async (hub, cache, sha) => {
    await fetchWeights(hub, cache);
    hub.requests.length = 0;
    await fetchWeights(hub, cache);
    assert.deepEqual(hub.requests.map(({ path }) => path.replace(/\?.*/, "")), [
      "/api/models/org/tiny/revision/main",
    ]);
    hub.requests.length = 0;
    await (await hubClient(hub, cache).open(`org/tiny@${sha}`)).fetch(["model.safetensors"]);
    assert.deepEqual(hub.requests, []);
  });
});

Deno.test("where links cannot be, snapshots hold copies", async () => {
  await withModel(async (hub, cache, sha) => {
    const client = hubClient(hub, cache, { usesLinks: false });
    await (await client.open("org/tiny")).fetch(["a/b/notes.txt"]);
    const path = `${cache}/models--org--tiny/snapshots/${sha}/a/b/notes.txt`;
    assert.equal((await Deno.lstat(path)).isSymlink, false);
    assert.equal(await Deno.readTextFile(path), "deep");
  });
});

Deno.test("a new commit downloads what is new, and the branch moves once all is there", async () => {
  await withModel(async (hub, cache, old) => {
    await fetchWeights(hub, cache);
    const sha = hub.commit(hub.repos.get("model org/tiny")!, { "config.json": "{}" });
    hub.requests.length = 0;
    const repo = await hubClient(hub, cache).open("org/tiny");
    assert.equal(await Deno.readTextFile(`${cache}/models--org--tiny/refs/main`), old);
    const folder = await repo.fetch(["config.json", "model.safetensors"]);
    assert.equal(await Deno.readTextFile(`${cache}/models--org--tiny/refs/main`), sha);
    assert.equal(await Deno.readTextFile(`${folder.name}/config.json`), "{}");
    assert.deepEqual(hub.downloads.map(({ path }) => path), [`/org/tiny/resolve/${sha}/config.json`]);
  });
});

Deno.test("a branch that moves between two files does not mix commits", async () => {
  await withModel(async (hub, cache, sha) => {
    hub.afterAnswer = ({ path }) => {
      if (path.includes("/tree/")) hub.commit(hub.repos.get("model org/tiny")!, { "config.json": "moved" });
    };
    const repo = await hubClient(hub, cache).open("org/tiny");
    const folder = await repo.fetch(["config.json", "model.safetensors"]);
    assert.equal(repo.sha, sha);
    assert.equal(await Deno.readTextFile(`${folder.name}/config.json`), CONFIG);
  });
});

const MENDED: Record<string, Fault[]> = {
  "a connection that breaks": [{ kind: "cut", afterBytes: 100_000 }],
  "a connection that breaks at once": [{ kind: "cut", afterBytes: 0 }],
  "a body that ends early without an error": [{ kind: "short", afterBytes: 70_000 }],
  "many broken connections, each a little further": Array(8).fill({ kind: "cut", afterBytes: 66_000 }).slice(
    0,
    4,
  ),
  "a server that is busy": [{ kind: "status", status: 503, headers: { "retry-after": "0" } }],
  "too many requests": [{ kind: "status", status: 429 }],
  "a request that took too long": [{ kind: "status", status: 408 }],
  "a broken gateway": [{ kind: "status", status: 502 }],
  "another length": [{ kind: "length", bytes: 5 }],
  "a flipped byte": [{ kind: "flip", at: 150_000 }],
  "another part than was asked for": [{ kind: "cut", afterBytes: 100_000 }, { kind: "wrongRange" }],
  "a whole file where a part was asked for": [{ kind: "cut", afterBytes: 100_000 }, { kind: "noRange" }],
};

for (const [what, faults] of Object.entries(MENDED)) {
  Deno.test(`${what} is mended`, async () => {
    await withModel(async (hub, cache) => {
      const left = [...faults];
      spoil(hub, ...left);
      const said = await fetchWeights(hub, cache);
      assert.ok(said.length > 0, "people are told");
      assert.deepEqual(Object.keys(tree(`${cache}/models--org--tiny/blobs`)), [SHA256]);
    });
  });
}

Deno.test("a stall is ended and the rest asked for", async () => {
  await withModel(async (hub, cache) => {
    spoil(hub, { kind: "stall", afterBytes: 120_000 });
    const said = await fetchWeights(hub, cache, 150);
    assert.match(said.join("\n"), /nothing more came/);
    const [, second] = hub.requests.filter(({ path }) => path.startsWith("/files/"));
    assert.match(second!.headers.get("range")!, /^bytes=\d{5,}-299999$/);
  });
});

Deno.test("the pause that a busy server asks for is kept, and too long a one is an error that says so", async () => {
  await withModel(async (hub, cache) => {
    spoil(hub, { kind: "status", status: 503, headers: { "retry-after": "0.2" } });
    const said = await fetchWeights(hub, cache);
    assert.match(said.join("\n"), /again in 0\.2 s: the server answered 503/);
  });
  await withModel(async (hub, cache) => {
    spoil(hub, { kind: "status", status: 429, headers: { "retry-after": "100000" } });
    await assert.rejects(fetchWeights(hub, cache), {
      name: "HubUnreachableError",
      message: /model\.safetensors.*answered 429.*asks for a pause of 100000 s/,
    });
  });
});

const FATAL: Record<string, { fault: Fault; name: string; message: RegExp }> = {
  "bytes that are always wrong": {
    fault: { kind: "flip", at: 7 },
    name: "HubError",
    message: /have the checksum [0-9a-f]{64}, expected [0-9a-f]{64}; it was downloaded 3 times/,
  },
  "a server that never recovers": {
    fault: { kind: "status", status: 500 },
    name: "HubUnreachableError",
    message: /answered 500.*\(5 attempts\); run again later to continue/,
  },
  "a length that is always wrong": {
    fault: { kind: "length", bytes: 12 },
    name: "HubUnreachableError",
    message: /the file has 12 bytes there, 300000 in the listing/,
  },
  "a server that drips a few bytes and breaks": {
    fault: { kind: "cut", afterBytes: 10 },
    name: "HubUnreachableError",
    message: /the connection broke/,
  },
  "a refusal": {
    fault: { kind: "status", status: 403, message: "Forbidden" },
    name: "HubError",
    message: /access is refused \("Forbidden"\); set HF_TOKEN/,
  },
};

for (const [what, { fault, name, message }] of Object.entries(FATAL)) {
  Deno.test(`${what}: an error, and no blob`, async () => {
    await withModel(async (hub, cache) => {
      spoil(hub, ...Array(40).fill(fault));
      await assert.rejects(fetchWeights(hub, cache), { name, message });
      const names = Object.keys(tree(cache)).filter((path) =>
        /blobs\/[0-9a-f]+$|snapshots\/|refs\//.test(path)
      );
      assert.deepEqual(names, []);
      hub.fault = () => undefined;
      await fetchWeights(hub, cache);
    });
  });
}

Deno.test("what is there of a file is continued, and what is damaged of it starts over", async () => {
  await withModel(async (hub, cache) => {
    const blobs = `${cache}/models--org--tiny/blobs`;
    await Deno.mkdir(blobs, { recursive: true });
    await Deno.writeFile(`${blobs}/${SHA256}.incomplete`, WEIGHTS.subarray(0, 123_456));
    assert.deepEqual(await fetchWeights(hub, cache), []);
    const [only] = hub.requests.filter(({ path }) => path.startsWith("/files/"));
    assert.equal(only!.headers.get("range"), "bytes=123456-299999");

    await Deno.remove(`${blobs}/${SHA256}`);
    await Deno.writeFile(`${blobs}/${SHA256}.incomplete`, noise(200_000, 9));
    assert.match((await fetchWeights(hub, cache)).join(), /again: its bytes have the checksum/);

    await Deno.remove(`${blobs}/${SHA256}`);
    await Deno.writeFile(`${blobs}/${SHA256}.incomplete`, noise(400_000, 9));
    await fetchWeights(hub, cache);
    assert.deepEqual(Object.keys(tree(blobs)), [SHA256]);
  });
});

Deno.test("a full disk is said plainly, keeps what is there, and the rest is fetched when there is room", async () => {
  await withModel(async (hub, cacheDir, sha) => {
    const { environment, open } = hubClient(hub, cacheDir);
    const files = (await open("org/tiny")).files.filter(({ path }) => path === "model.safetensors");
    const cache = new CachedRepo({ type: "model", id: "org/tiny" }, environment);
    let capacity = 100_000;
    const download = downloadFiles(files, {
      connection: connectToHub(environment, { retry: FAST }),
      cache,
      reference: { type: "model", id: "org/tiny", revision: sha },
      async open(path) {
        const file = await Deno.open(path, { read: true, append: true, create: true });
        return {
          read: (buffer) => file.read(buffer),
          sync: () => file.sync(),
          close: () => file.close(),
          truncate: () => file.truncate(),
          async write(bytes) {
            if (capacity === 0) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
            const count = await file.write(bytes.subarray(0, capacity));
            capacity -= count;
            return count;
          },
        };
      },
    });
    await assert.rejects(download, {
      name: "UserError",
      message:
        /the disk is full; 100\.0 kB of 300\.0 kB are kept in ".*\.incomplete": free some space and run again/,
    });
    assert.deepEqual(tree(`${cache.path}/blobs`), { [`${SHA256}.incomplete`]: "100000" });
    await fetchWeights(hub, cacheDir);
  });
});

Deno.test("an interrupted download ends at once and is continued", async () => {
  await withModel(async (hub, cache) => {
    hub.fault = ({ path }) =>
      path.startsWith("/files/") ? { kind: "slow", chunkBytes: 20_000, delayMs: 5 } : undefined;
    const repo = await hubClient(hub, cache).open("org/tiny");
    const stop = new AbortController();
    const seen: number[] = [];
    await assert.rejects(
      repo.fetch(["model.safetensors"], {
        signal: stop.signal,
        onProgress(done, total) {
          seen.push(done);
          assert.equal(total, 300_000);
          if (done > 100_000) stop.abort();
        },
      }),
      { name: "AbortError" },
    );
    assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
    hub.fault = () => undefined;
    await fetchWeights(hub, cache);
    const last = hub.requests.filter(({ path }) => path.startsWith("/files/")).at(-1)!;
    assert.match(last.headers.get("range") ?? "", /^bytes=1\d{5}-/);
  });
});
