import assert from "node:assert/strict";
import { type HubEnvironment, readHubEnvironment } from "../../lib/host/hub_env.ts";
import { FAST, hubClient, inTemporaryFolder, noise, tree } from "../support/hub_client.ts";
import { HubConnection } from "../../lib/datasets/hub/connection.ts";
import { type HubServer, type HubServerOptions, startHub } from "../support/hub_server.ts";

const TOKEN = "hf_abcdefghijklmnopqrstuvwxyz";
const tokens = { [TOKEN]: "ada" };

async function withHub(
  run: (hub: HubServer, cache: string) => Promise<void>,
  options: HubServerOptions = { tokens },
): Promise<void> {
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub(options);
    await run(hub, `${folder}/hub`);
  });
}

/** Reads the environment as if it had these variables alone. */
function environmentOf(variables: Record<string, string>): HubEnvironment {
  const names = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "XDG_CACHE_HOME",
    "HF_HUB_DOWNLOAD_TIMEOUT",
    "HF_HUB_DISABLE_SYMLINKS",
    "HOME",
  ];
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  try {
    for (const name of names) Deno.env.delete(name);
    for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
    return readHubEnvironment();
  } finally {
    for (const [name, value] of before) {
      value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
    }
  }
}

Deno.test("the environment is read as Python reads it", async () => {
  await inTemporaryFolder(async (folder) => {
    assert.deepEqual(environmentOf({ HOME: folder }), {
      endpoint: "https://huggingface.co",
      cacheDir: `${folder}/.cache/huggingface/hub`,
      token: undefined,
      sendsToken: true,
      offline: undefined,
      timeoutMs: 10_000,
      usesLinks: true,
    });
    const of = (variables: Record<string, string>) => environmentOf({ HOME: folder, ...variables });
    assert.equal(of({ XDG_CACHE_HOME: "/x" }).cacheDir, "/x/huggingface/hub");
    assert.equal(of({ HF_HOME: "~/h/" }).cacheDir, `${folder}/h/hub`);
    assert.equal(of({ HF_HOME: "/h", HF_HUB_CACHE: "/c" }).cacheDir, "/c");
    assert.equal(of({ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/d" }).cacheDir, "/d");
    assert.equal(
      of({ HF_ENDPOINT: "http://127.0.0.1:8080/hub//" }).endpoint,
      "http://127.0.0.1:8080/hub",
    );
    assert.match(of({ HF_HUB_OFFLINE: "True" }).offline!, /^HF_HUB_OFFLINE is set/);
    assert.match(of({ TRANSFORMERS_OFFLINE: "on" }).offline!, /^TRANSFORMERS_OFFLINE/);
    assert.equal(of({ HF_HUB_OFFLINE: "0" }).offline, undefined);
    assert.equal(of({ HF_HUB_DOWNLOAD_TIMEOUT: "2.5" }).timeoutMs, 2500);
    assert.equal(of({ HF_HUB_DISABLE_SYMLINKS: "1" }).usesLinks, false);
    assert.equal(of({ HF_HUB_DISABLE_IMPLICIT_TOKEN: "YES" }).sendsToken, false);

    await Deno.writeTextFile(`${folder}/token`, " hf_file\n");
    await Deno.writeTextFile(`${folder}/other`, "hf_other\r\n");
    const found = (variables: Record<string, string>) => of({ HF_HOME: folder, ...variables }).token;
    assert.equal(found({}), "hf_file");
    assert.equal(found({ HF_TOKEN_PATH: `${folder}/other` }), "hf_other");
    assert.equal(found({ HUGGING_FACE_HUB_TOKEN: "hf_old" }), "hf_old");
    assert.equal(found({ HUGGING_FACE_HUB_TOKEN: "hf_old", HF_TOKEN: "hf_new\n" }), "hf_new");
    assert.equal(found({ HF_TOKEN: "" }), "hf_file");

    assert.throws(() => of({ HF_ENDPOINT: "huggingface.co" }), /Cannot use HF_ENDPOINT/);
    assert.throws(() => of({ HF_HUB_DOWNLOAD_TIMEOUT: "soon" }), /"soon" is not a number of seconds/);
    assert.throws(() => environmentOf({}), /neither HF_HOME nor HOME is set/);
  });
});

Deno.test("a private repository needs the token, which goes to the Hub's origin alone", async () => {
  await withHub(async (hub, cache) => {
    const repo = hub.create("model", "ada/secret", { isPrivate: true });
    hub.commit(repo, { "config.json": "{}", "model.safetensors": noise(50_000) });
    await assert.rejects(hubClient(hub, cache).open("ada/secret"), {
      name: "HubError",
      message: /^Cannot find "ada\/secret": .*it is private.*set HF_TOKEN to a token that may read it$/,
    });
    await assert.rejects(
      hubClient(hub, cache, { token: "hf_wrongwrongwrong" }).open("ada/secret"),
      (error: Error) => {
        assert.match(error.message, /your token may not see it/);
        assert.ok(!error.message.includes("wrongwrong"));
        return true;
      },
    );
    await assert.rejects(
      hubClient(hub, cache, { token: TOKEN, sendsToken: false }).open("ada/secret"),
      /private/,
    );
    hub.requests.length = 0;
    const client = hubClient(hub, cache, { token: TOKEN });
    const opened = await client.open("ada/secret");
    await (await opened.open("model.safetensors")).read(10, 20);
    await opened.fetch(["config.json", "model.safetensors"]);
    assert.ok(hub.requests.some(({ origin }) => origin === "cdn"));
    for (const { origin, path, headers } of hub.requests) {
      assert.equal(headers.get("authorization"), origin === "hub" ? `Bearer ${TOKEN}` : null, path);
    }
    assert.equal(JSON.stringify(client.said).includes(TOKEN), false);
    for (const path of Object.keys(tree(cache))) {
      assert.ok(!(await Deno.readTextFile(`${cache}/${path}`)).includes(TOKEN), path);
    }
  });
});

Deno.test("a gated repository says where its terms are", async () => {
  await withHub(async (hub, cache) => {
    hub.commit(hub.create("dataset", "org/gated", { isGated: true }), { "a.txt": "x" });
    const repo = await hubClient(hub, cache).open("datasets/org/gated");
    await assert.rejects(repo.fetch(["a.txt"]), {
      name: "HubError",
      message:
        `Cannot download "a.txt" of "datasets/org/gated": it is gated ("Access to this model is restricted."); ` +
        `accept its terms at ${hub.endpoint}/datasets/org/gated, then set HF_TOKEN to a token of that account`,
    });
    await (await hubClient(hub, cache, { token: TOKEN }).open("datasets/org/gated")).fetch(["a.txt"]);
  });
});

Deno.test("an error that echoes the token or a signed address does not show it", async () => {
  await withHub(async (hub, cache) => {
    hub.create("model", "org/m");
    const message = `bad ${TOKEN} at https://cdn.example/x?X-Sig=s3cret`;
    for (const status of [400, 500]) {
      hub.fault = () => ({ kind: "status", status, message });
      const client = hubClient(hub, cache, { token: TOKEN });
      await assert.rejects(client.open("org/m"), (error: Error) => {
        assert.match(error.message, /bad \(token\) at https:\/\/cdn\.example\/x/);
        assert.ok(!/s3cret|hf_abc/.test(error.message + client.said.join()));
        return true;
      });
    }
  });
});

Deno.test("what there is not is said plainly", async () => {
  await withHub(async (hub, cache) => {
    hub.create("model", "org/m");
    const { open } = hubClient(hub, cache);
    await assert.rejects(open("org/none"), /there is no such repository, or it is private/);
    await assert.rejects(open("org/m@v9"), /Cannot find "org\/m@v9": there is no such revision/);
    await assert.rejects(open("just-a-name"), /expected org\/name or org\/name@revision/);
    const repo = await open("org/m");
    await assert.rejects(repo.fetch(["config.json"]), /it has no such file at [0-9a-f]{8}/);
    await assert.rejects(repo.open("../../etc/passwd"), /it has no such file/);
  });
});

Deno.test("a listing comes in pages, and lies in it are refused", async () => {
  await withHub(async (hub, cache) => {
    const repo = hub.create("dataset", "org/many");
    const files = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`data/${i}.txt`, `${i}`]));
    hub.commit(repo, files);
    const { open } = hubClient(hub, cache);
    assert.equal((await open("datasets/org/many")).files.length, 26);
    assert.equal(hub.requests.filter(({ path }) => path.includes("/tree/")).length, 4);
    hub.commit(repo, { "one.txt": "more" });
    hub.editPage = (entries) => [...entries, { type: "file", path: "../evil", size: 1, oid: "a".repeat(40) }];
    await assert.rejects(
      open("datasets/org/many"),
      /Cannot use the listing .*"\.\.\/evil": it has the part "\.\."/,
    );
    assert.ok(!Object.keys(tree(cache)).some((path) => path.includes("evil")));
  }, { pageSize: 7 });
});

Deno.test("what cannot fit on the disk is not begun", async () => {
  await withHub(async (hub, cache) => {
    hub.create("dataset", "org/huge");
    const lfs = { oid: "c".repeat(64), size: 9e12 };
    hub.editPage = () => [{ type: "file", path: "huge.parquet", size: 130, oid: "d".repeat(40), lfs }];
    const repo = await hubClient(hub, cache).open("datasets/org/huge");
    await assert.rejects(repo.fetch(["huge.parquet"]), {
      name: "UserError",
      message: /^Cannot download 9\.0 TB into ".*": its disk has .* free; .*HF_HUB_CACHE$/,
    });
    assert.deepEqual(hub.downloads, []);
  });
});

Deno.test("a listing that leads to another origin takes no token there, and one that never ends is ended", async () => {
  await withHub(async (hub, cache) => {
    hub.create("model", "org/m");
    const seen: string[] = [];
    const connection = new HubConnection({
      endpoint: hub.endpoint,
      token: TOKEN,
      retry: FAST,
      fetch(input, init) {
        const { origin, pathname } = new URL(String(input));
        seen.push(origin);
        const link = { link: `<${hub.cdn}/more>; rel="next"` };
        if (!pathname.includes("/tree/") && pathname !== "/more") return fetch(input, init);
        assert.equal(new Headers(init?.headers).has("authorization"), origin === hub.endpoint);
        return Promise.resolve(Response.json([], { headers: link }));
      },
    });
    await assert.rejects(hubClient(hub, cache).open("org/m", { connection }), /it does not end/);
    assert.ok(seen.includes(hub.cdn));
  });
});

Deno.test("a file is read by range: kilobytes of a large one, each once", async () => {
  await withHub(async (hub, cache) => {
    const bytes = noise(5_000_000);
    hub.commit(hub.create("dataset", "org/big"), { "data/train.parquet": bytes, "small.csv": "a,b\n1,2\n" });
    const client = hubClient(hub, cache);
    const repo = await client.open("org/big", { type: "dataset" });
    const source = await repo.open("data/train.parquet");
    assert.equal(source.size, 5_000_000);
    assert.equal(source.name, "datasets/org/big/data/train.parquet");
    assert.deepEqual(await source.read(4_999_000, 5_000_000), bytes.slice(4_999_000));
    assert.deepEqual(await source.read(1_000_000, 1_300_000), bytes.slice(1_000_000, 1_300_000));
    assert.deepEqual(await source.read(1_100_000, 1_200_000), bytes.slice(1_100_000, 1_200_000));
    const ranges = hub.requests.filter(({ origin }) => origin === "cdn").map(({ headers }) =>
      headers.get("range")
    );
    assert.deepEqual(ranges, ["bytes=4980736-4999999", "bytes=786432-1310719"]);
    assert.equal(new TextDecoder().decode(await (await repo.open("small.csv")).read(0, 8)), "a,b\n1,2\n");
    assert.deepEqual(Object.keys(tree(cache)).filter((path) => path.includes("blobs")), []);

    hub.fault = ({ origin }) => origin === "cdn" ? { kind: "cut", afterBytes: 100_000 } : undefined;
    assert.deepEqual(await source.read(2_000_000, 2_300_000), bytes.slice(2_000_000, 2_300_000));
    hub.fault = ({ origin }) => origin === "cdn" ? { kind: "version", etag: '"other"' } : undefined;
    await assert.rejects(source.read(3_000_000, 3_000_010), /the file has changed while it was being read/);
    hub.fault = ({ origin }) => origin === "cdn" ? { kind: "noRange" } : undefined;
    const fresh = await repo.open("data/train.parquet");
    await assert.rejects(
      fresh.read(4_500_000, 4_500_010),
      /does not send parts of files; fetch the whole file/,
    );
    assert.deepEqual(await fresh.read(3, 9), bytes.slice(3, 9));

    hub.fault = () => undefined;
    await repo.fetch(["data/train.parquet"]);
    hub.requests.length = 0;
    assert.deepEqual(await (await repo.open("data/train.parquet")).read(5, 10), bytes.slice(5, 10));
    assert.deepEqual(hub.requests, []);
  });
});

Deno.test("files that the Hub converted lie at their own revision", async () => {
  await withHub(async (hub, cache) => {
    const repo = hub.create("dataset", "org/d");
    hub.commit(repo, { "default/train/0000.parquet": noise(1000) }, "refs/convert/parquet");
    const opened = await hubClient(hub, cache).open("datasets/org/d@refs/convert/parquet");
    assert.deepEqual(opened.files.map(({ path }) => path), ["default/train/0000.parquet"]);
    await opened.fetch(["default/train/0000.parquet"]);
    const refs = Object.keys(tree(`${cache}/datasets--org--d/refs`));
    assert.deepEqual(refs, ["refs/convert/parquet"]);
  });
});

Deno.test("offline the cache is used, and what it lacks is named", async () => {
  await withHub(async (hub, cache) => {
    const repo = hub.create("model", "org/m");
    hub.commit(repo, { "config.json": "{}", "model.safetensors": noise(2000), "tokenizer.json": "{ }" });
    const offline = hubClient(hub, cache, { offline: "HF_HUB_OFFLINE is set, which forbids to ask the Hub" });
    await assert.rejects(offline.open("org/m"), {
      name: "HubOfflineError",
      message: /HF_HUB_OFFLINE is set.*nothing of it is in the cache/,
    });
    await (await hubClient(hub, cache).open("org/m")).fetch(["config.json"]);
    hub.requests.length = 0;
    const opened = await offline.open("org/m");
    assert.equal(await (await opened.fetch(["config.json"])).open("tokenizer.json"), undefined);
    await assert.rejects(opened.fetch(["config.json", "model.safetensors", "tokenizer.json"]), {
      name: "HubOfflineError",
      message: /the cache \(".*models--org--m"\) lacks "model\.safetensors", "tokenizer\.json"; run once/,
    });
    await assert.rejects(opened.open("model.safetensors"), /lacks "model\.safetensors"/);

    // As Python leaves it: without a listing.
    await Deno.remove(`${cache}/models--org--m/.listings`, { recursive: true });
    const python = await offline.open("org/m");
    assert.deepEqual(python.files.map(({ path, sizeBytes }) => [path, sizeBytes]), [["config.json", 2]]);
    await python.fetch(["config.json"]);
    assert.deepEqual(hub.requests, []);
  });
});

Deno.test("a Hub out of reach is an error, or a line and the cache", async () => {
  await inTemporaryFolder(async (folder) => {
    const cache = `${folder}/hub`;
    const hub = startHub();
    hub.commit(hub.create("model", "org/m"), { "config.json": "{}" });
    await (await hubClient(hub, cache).open("org/m")).fetch(["config.json"]);
    const { endpoint } = hub;
    await hub[Symbol.asyncDispose]();
    const client = hubClient({ endpoint }, cache);
    const repo = await client.open("org/m");
    await repo.fetch(["config.json"]);
    assert.match(
      client.said.at(-1)!,
      /^Uses "org\/m" as it is in the cache \([0-9a-f]{8}\): Cannot find "org\/m" from http/,
    );
    await assert.rejects(client.open("org/other"), {
      name: "HubUnreachableError",
      message: /\(5 attempts\)/,
    });
  });
});
