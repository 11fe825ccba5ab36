import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import { openDataset, type OpenDatasetOptions, type OpenedDataset } from "../../lib/host/datasets.ts";
import { fetchImage } from "../../lib/host/fetch_image.ts";
import { SPLITS } from "../../lib/datasets/rows.ts";
import { inTemporaryFolder } from "../support/hub_client.ts";
import { type HubServer, startHub } from "../support/hub_server.ts";
import { parquetFile, type TestRow } from "../support/parquet.ts";
import { withEnvironment } from "../support/sample_tables.ts";

const rows = (count: number, name = "A"): TestRow[] =>
  Array.from(
    { length: count },
    (_, i) => ({ image: { bytes: Uint8Array.of(i), path: null }, alt_text: `${name} ${i}` }),
  );

const open = (name: string, options: Partial<OpenDatasetOptions> = {}) =>
  openDataset(name, { seed: 42, badRows: new BadRows(), quiet: true, ...options });

async function sizes(set: OpenedDataset): Promise<number[]> {
  return await Promise.all(SPLITS.map(async (split) => (await set.load(split)).length));
}

async function withHub(test: (hub: HubServer) => Promise<void>): Promise<void> {
  await inTemporaryFolder(async (root) => {
    await using hub = startHub();
    await withEnvironment(hub.environment(root), () => test(hub));
  });
}

Deno.test("names of the registry are repositories of the Hub", () =>
  withHub(async (hub) => {
    const repo = hub.create("dataset", "Mozilla/flickr30k-transformed-captions-gpt4o");
    hub.commit(repo, {
      "data/test-00000-of-00001.parquet": parquetFile(rows(20)).slice(),
      "data/train-00000-of-00001.parquet": parquetFile(rows(3)).slice(),
    });
    deepStrictEqual(await sizes(await open("flickr")), [16, 2, 2]);
    deepStrictEqual(await sizes(await open("flickr", { sample: 10 })), [8, 1, 1]);
    // Names of columns that were asked for are those of other data sets.
    deepStrictEqual(await sizes(await open("flickr", { captionColumn: "text" })), [16, 2, 2]);
  }));

Deno.test("what the Hub converted is used where nothing else can be read; configurations are chosen", () =>
  withHub(async (hub) => {
    const repo = hub.create("dataset", "org/script");
    hub.commit(repo, { "script.py": "print()" });
    hub.commit(repo, {
      "en/train/0000.parquet": parquetFile(rows(20)).slice(),
      "fr/train/0000.parquet": parquetFile(rows(10, "F")).slice(),
      "fr/test/0000.parquet": parquetFile(rows(4, "F")).slice(),
    }, "refs/convert/parquet");
    await rejects(open("org/script"), {
      name: "UserError",
      message: /several configurations, "en", "fr".*org\/script\/en/,
    });
    deepStrictEqual(await sizes(await open("org/script/en")), [16, 2, 2]);
    const french = await open("org/script/fr");
    deepStrictEqual(await sizes(french), [9, 1, 4]);
    ok((await french.load("train")).every((row) => row.captions[0]!.startsWith("F")));
    deepStrictEqual(await sizes(await open("org/script/fr", { split: "test" })), [2, 1, 1]);
    await rejects(open("org/script/de"), { name: "UserError", message: /no folder "de"; it has/ });
  }));

Deno.test("image folders of the Hub are downloaded; names and paths that lead nowhere are refused", () =>
  withHub(async (hub) => {
    const repo = hub.create("dataset", "org/folder");
    const lines = Array.from(
      { length: 10 },
      (_, i) => JSON.stringify({ file_name: `${i}.png`, caption: `C ${i}` }),
    );
    const images = Object.fromEntries(lines.map((_, i) => [`${i}.png`, Uint8Array.of(i)]));
    hub.commit(repo, { "metadata.jsonl": lines.join("\n"), ...images });
    const folder = await open("org/folder");
    deepStrictEqual(await sizes(folder), [8, 1, 1]);
    const count = hub.downloads.length;
    const [row] = await folder.load("test");
    deepStrictEqual(await row!.readImage(), Uint8Array.of(Number(row!.captions[0]!.slice(2))));
    strictEqual(row!.path, undefined);
    strictEqual(hub.downloads.length, count);
    await rejects(open("org/nothing"), /org\/nothing/);
    await rejects(open("nothing"), { name: "UserError", message: /no such folder or file/ });
  }));

Deno.test("images at addresses are tried again where that may help, and bounded", async () => {
  let asked = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    asked++;
    const { pathname } = new URL(request.url);
    if (pathname === "/busy" && asked < 3) {
      return new Response("", { status: 503, headers: { "retry-after": "0" } });
    }
    return pathname === "/gone" ? new Response("", { status: 404 }) : new Response(new Uint8Array(100));
  });
  const fetch = (path: string, maxBytes = 1000) =>
    fetchImage(`http://127.0.0.1:${server.addr.port}${path}`, { maxBytes, baseDelayMs: 1 });
  try {
    strictEqual((await fetch("/busy")).length, 100);
    strictEqual(asked, 3);
    await rejects(fetch("/gone"), { message: /status 404/ });
    strictEqual(asked, 4);
    await rejects(fetch("/large", 99), { name: "RangeError", message: /more than 99 bytes/ });
    await withEnvironment(
      { HF_HUB_OFFLINE: "1" },
      () => rejects(fetch("/ok"), { message: /HF_HUB_OFFLINE/ }),
    );
    strictEqual(asked, 5);
  } finally {
    await server.shutdown();
  }
  await rejects(fetch("/ok"), { message: /Cannot fetch/ });
});
