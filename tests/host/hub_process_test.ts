/** What only whole processes show: kills, two at once, and training from nothing but a Hub. */

import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { inTemporaryFolder, noise, runTaskScript, spawnScript, tree } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";
import { sha256Of } from "../support/hub_store.ts";

const FETCH = "tests/support/fetch_repo.ts";
const TOKEN = "hf_abcdefghijklmnopqrstuvwxyz";

const bigFiles = () => ({
  "a.safetensors": noise(700_000, 1),
  "b.safetensors": noise(400_000, 2),
  "config.json": "{}",
  "deep/er/c.txt": "text",
});

/** Whatever has a final name must be what the name says. */
async function checkCache(hub: string): Promise<void> {
  for (const path of Object.keys(tree(hub))) {
    const [, blob] = /\/blobs\/([0-9a-f]{64})$/.exec(path) ?? [];
    if (blob !== undefined) assert.equal(sha256Of(await Deno.readFile(`${hub}/${path}`)), blob);
    if (path.includes("/snapshots/")) assert.ok((await Deno.stat(`${hub}/${path}`)).isFile, path);
  }
}

async function checkSnapshot(folder: string): Promise<void> {
  for (const [path, content] of Object.entries(bigFiles())) {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    assert.deepEqual(await Deno.readFile(`${folder}/${path}`), bytes);
  }
}

Deno.test("a download that is killed again and again goes on where it was, and is whole in the end", async () => {
  await inTemporaryFolder(async (home) => {
    await using hub = startHub();
    hub.commit(hub.create("dataset", "org/big"), bigFiles());
    hub.fault = ({ origin }) =>
      origin === "cdn" ? { kind: "slow", chunkBytes: 20_000, delayMs: 10 } : undefined;
    const env = hub.environment(home);
    const rng = new Rng(7);
    let resumed = 0;
    for (let i = 0; i < 4; i++) {
      const requests = hub.downloads.length;
      const child = spawnScript(FETCH, ["datasets/org/big"], env).spawn();
      // Once it downloads, for a while.
      while (hub.downloads.length === requests) await new Promise((resolve) => setTimeout(resolve, 5));
      await new Promise((resolve) => setTimeout(resolve, rng.next() * 120));
      child.kill("SIGKILL");
      await child.output();
      await checkCache(`${home}/hub`);
    }
    hub.fault = () => undefined;
    const { code, stdout, stderr } = await runTaskScript(FETCH, ["datasets/org/big"], env);
    assert.equal(code, 0, stderr);
    await checkSnapshot(stdout.trim());
    await checkCache(`${home}/hub`);
    for (const { headers } of hub.downloads) if (headers.get("range") !== null) resumed++;
    assert.ok(resumed > 0, "something was continued");
    assert.deepEqual(Object.keys(tree(home)).filter((path) => /incomplete|\.tmp-/.test(path)), []);
  });
});

Deno.test("two processes at once download each file once", async () => {
  await inTemporaryFolder(async (home) => {
    await using hub = startHub();
    hub.commit(hub.create("dataset", "org/big"), bigFiles());
    hub.fault = ({ origin }) =>
      origin === "cdn" ? { kind: "slow", chunkBytes: 50_000, delayMs: 15 } : undefined;
    const env = hub.environment(home);
    const results = await Promise.all([1, 2, 3].map(() => runTaskScript(FETCH, ["datasets/org/big"], env)));
    for (const { code, stdout, stderr } of results) {
      assert.equal(code, 0, stderr);
      await checkSnapshot(stdout.trim());
    }
    const large = hub.requests.filter(({ origin }) => origin === "cdn").map(({ path }) => path).sort();
    assert.equal(new Set(large).size, 2);
    assert.deepEqual(large, [...new Set(large)]);
    assert.ok(results.some(({ stderr }) => /Waits for another process that downloads/.test(stderr)));
  });
});

async function pushTiny(hub: ReturnType<typeof startHub>): Promise<void> {
  for (const [id, name] of [["org/tiny-siglip", "siglip"], ["org/tiny-llama", "llama"]] as const) {
    const folder = projectPath(`data/tiny/${name}`);
    const files: Record<string, Uint8Array<ArrayBuffer>> = {};
    for (const path of Object.keys(tree(folder))) files[path] = await Deno.readFile(`${folder}/${path}`);
    hub.commit(hub.create("model", id), {
      ...files,
      "pytorch_model.bin": "a pickle",
      "onnx/model.onnx": "other",
    });
  }
}

const HUB_MODELS = ["--encoder-model", "org/tiny-siglip", "--decoder-model", "org/tiny-llama"];
const EMBEDDED_MODELS = ["--encoder-model", "embedded:siglip", "--decoder-model", "embedded:llama"];
const TRAIN = [
  "--dataset",
  "sample",
  ["--max-steps", "2"],
  [
    "--batch-size",
    "2",
    "--gradient-accumulation-steps",
    "1",
    "--sample",
    "4",
    "--eval-captions",
    "0",
    "--json",
  ],
].flat();

Deno.test("training starts from nothing but a Hub, pushes its captioner there, and that captions", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens: { [TOKEN]: "ada" } });
    await pushTiny(hub);
    const dirs = ["--save-dir", `${folder}/runs`, "--cache-dir", `${folder}/features`];
    const env = hub.environment(`${folder}/home`, { HF_TOKEN: TOKEN });
    const trained = await runTaskScript(
      "tasks/train.ts",
      [...TRAIN, ...HUB_MODELS, ...dirs, "--push-to-hub"],
      env,
    );
    assert.equal(trained.code, 0, trained.stderr);
    const { path, step } = JSON.parse(trained.stdout);
    assert.equal(step, 2);
    assert.match(trained.stderr, /Pushed [0-9a-f]{8} to http:.*\/ada\/tiny-siglip-tiny-llama-lora/);
    assert.deepEqual(hub.downloads.filter(({ path }) => /\.bin|\.onnx/.test(path)), []);
    assert.deepEqual(Object.keys(tree(`${folder}/home/hub/models--org--tiny-llama/refs`)), ["main"]);
    for (const file of Object.keys(tree(path))) {
      assert.ok(!(await Deno.readTextFile(`${path}/${file}`)).includes(TOKEN), file);
    }
    assert.ok(!`${trained.stdout}${trained.stderr}`.includes(TOKEN));

    // Someone else, with an empty cache: the captioner and the models it stands on come from the Hub.
    const image = projectPath("data/sample/test/0000.png");
    const caption = ["caption", image, "--model", "ada/tiny-siglip-tiny-llama-lora", "--json"];
    const captioned = await runTaskScript("mod.ts", caption, hub.environment(`${folder}/other`));
    assert.equal(captioned.code, 0, captioned.stderr);
    assert.equal(typeof JSON.parse(captioned.stdout).caption, "string");

    // And offline from then on.
    hub.requests.length = 0;
    const offline = hub.environment(`${folder}/other`, { HF_HUB_OFFLINE: "1" });
    assert.equal((await runTaskScript("mod.ts", caption, offline)).stdout.length > 0, true);
    const lacking = await runTaskScript("mod.ts", [...caption.slice(0, 3), "org/absent"], offline);
    assert.match(lacking.stderr, /as a Hub id: .*HF_HUB_OFFLINE is set.*nothing of it is in the cache/);
    assert.equal(lacking.code, 1);
    assert.deepEqual(hub.requests, []);
  });
});

Deno.test("a model that cannot be used is refused by what it has", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub();
    const index = JSON.stringify({
      weight_map: { a: "model-00001-of-00002.safetensors", b: "part-b.safetensors" },
    });
    const shards = { "model.safetensors.index.json": index, "model-00001-of-00002.safetensors": noise(900) };
    const cases: [string, Record<string, string | Uint8Array<ArrayBuffer>>, RegExp][] = [
      [
        "pickled",
        { "config.json": "{}", "pytorch_model.bin": "x" },
        /only there as "pytorch_model\.bin".*safetensors/,
      ],
      [
        "empty",
        { "notes.md": "x" },
        /no config\.json and no \*\.safetensors, found "\.gitattributes", "notes\.md"/,
      ],
      ["weights", { "model.safetensors": noise(500) }, /it lacks "config\.json" at [0-9a-f]{8}/],
      [
        "sharded",
        { "config.json": "{}", ...shards },
        /it lacks "model-00002-of-00002\.safetensors", "part-b\.safetensors"/,
      ],
    ];
    for (const [name, files, message] of cases) {
      hub.commit(hub.create("model", `org/${name}`), files);
      const args = ["--encoder-model", `org/${name}`, "--save-dir", `${folder}/runs`];
      const { code, stderr } = await runTaskScript("tasks/train.ts", args, hub.environment(folder));
      assert.equal(code, 1);
      assert.match(stderr, message);
    }
    assert.ok(!hub.downloads.some(({ path }) => path.includes("pytorch_model")));
  });
});

Deno.test("Ctrl-C during the download of a model ends it at once and keeps what is there", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub();
    await pushTiny(hub);
    hub.fault = ({ origin }) =>
      origin === "cdn" ? { kind: "slow", chunkBytes: 40_000, delayMs: 20 } : undefined;
    const env = hub.environment(`${folder}/home`);
    const child = spawnScript(
      "tasks/train.ts",
      [...TRAIN, ...HUB_MODELS, "--save-dir", `${folder}/runs`],
      env,
    ).spawn();
    while (hub.requests.every(({ origin }) => origin !== "cdn")) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await new Promise((resolve) => setTimeout(resolve, 150));
    child.kill("SIGINT");
    const { code, stderr } = await child.output();
    assert.equal(code, 130);
    assert.match(new TextDecoder().decode(stderr), /Interrupted; run the same command again to continue/);
    const kept = Object.entries(tree(`${folder}/home`)).filter(([path]) => path.endsWith(".incomplete"));
    assert.ok(kept.length === 1 && Number(kept[0]![1]) > 0, JSON.stringify(kept));
  });
});

Deno.test("a push that fails keeps the run, says how to push again, and is an error", async () => {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens: { [TOKEN]: "ada" } });
    const dirs = ["--save-dir", `${folder}/runs`, "--cache-dir", `${folder}/features`];
    const args = [...TRAIN, ...EMBEDDED_MODELS, ...dirs, "--push-to-hub", "--model-id", "ada/mine"];
    const without = await runTaskScript("tasks/train.ts", args, hub.environment(`${folder}/home`));
    assert.equal(without.code, 1);
    assert.match(without.stderr, /without a token/);
    await assert.rejects(Deno.stat(`${folder}/runs`), "nothing was trained in vain");

    hub.fault = ({ path }) =>
      path.includes("/repos/create") ? { kind: "status", status: 403, message: "No." } : undefined;
    const env = hub.environment(`${folder}/home`, { HF_TOKEN: TOKEN });
    const failed = await runTaskScript("tasks/train.ts", args, env);
    assert.equal(failed.code, 1, failed.stderr);
    const { path } = JSON.parse(failed.stdout);
    assert.match(failed.stderr, /Cannot create "ada\/mine": access is refused \("No\."\)/);
    const [, retry] = /push it again with: deno task upload (.*)/.exec(failed.stderr)!;
    hub.fault = () => undefined;
    assert.equal(retry, `--model-id ada/mine --save-path ${path}`);
    assert.equal((await runTaskScript("tasks/upload.ts", retry!.split(" "), env)).code, 0);
  });
});

Deno.test("deno task cache lists, measures and prunes", async () => {
  await inTemporaryFolder(async (home) => {
    await using hub = startHub();
    const env = hub.environment(home, { XDG_CACHE_HOME: home });
    const model = hub.create("model", "org/m");
    const shared = noise(50_000, 3);
    hub.commit(model, { "model.safetensors": shared, "config.json": "{}" });
    assert.equal((await runTaskScript(FETCH, ["org/m"], env)).code, 0);
    hub.commit(model, { "config.json": '{"new": true}', "adapter_model.safetensors": noise(30_000, 4) });
    assert.equal((await runTaskScript(FETCH, ["org/m"], env)).code, 0);
    hub.commit(hub.create("dataset", "org/d"), { "x.parquet": noise(20_000, 5) });
    assert.equal((await runTaskScript(FETCH, ["datasets/org/d"], env)).code, 0);
    const cache = async (...args: string[]) => await runTaskScript("tasks/cache.ts", args, env);
    const listed = await cache();
    assert.match(listed.stdout, /^datasets\/org\/d +[0-9a-f]{8} +20\.0 kB +2 .* main$/m);
    assert.match(listed.stdout, /^org\/m +[0-9a-f]{8} +80\.0 kB +4 .* main$/m);
    assert.match(
      listed.stdout,
      /Hub files +100\.1 kB in .*hub\nFeatures +0 B in .*distilvit-captioner\/features/,
    );
    const { repos, sizeBytes } = JSON.parse((await cache("list", "--json")).stdout);
    assert.equal(sizeBytes, repos[0].sizeBytes + repos[1].sizeBytes);
    assert.deepEqual(repos[1].revisions.map(({ refs }: { refs: string[] }) => refs), [["main"], []]);
    assert.ok(!(await cache("size")).stdout.includes("org/m"));

    assert.match((await cache("prune")).stderr, /name --unreferenced, --older-than DAYS or --repo ID/);
    const asked = await cache("prune", "--unreferenced");
    assert.equal(asked.code, 1);
    assert.match(asked.stderr, /Nothing was removed; run again with --yes/);
    assert.equal(
      (await cache("prune", "--unreferenced", "--older-than", "1", "--yes")).stdout.includes(
        "Nothing to prune",
      ),
      true,
    );
    const pruned = JSON.parse((await cache("prune", "--unreferenced", "--yes", "--json")).stdout);
    assert.equal(pruned.freedBytes, 2, "only the old config.json was its own");
    assert.deepEqual(
      sha256Of(await Deno.readFile(`${home}/hub/models--org--m/blobs/${sha256Of(shared)}`)),
      sha256Of(shared),
    );
    await checkCache(`${home}/hub`);
    assert.equal((await cache("prune", "--repo", "org/m", "--yes")).code, 0);
    const left = JSON.parse((await cache("--json")).stdout).repos;
    assert.deepEqual(left.map(({ id }: { id: string }) => id), ["org/d"]);
    assert.equal((await cache("pruned")).code, 2);
  });
});
