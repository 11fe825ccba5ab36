import assert from "node:assert/strict";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import type { ImageRow } from "../../lib/datasets/rows.ts";
import { AnswerStore } from "../../lib/host/answer_store.ts";
import {
  type AskOptions,
  type CurateDataOptions,
  curateDataset,
  estimateCuration,
} from "../../lib/host/curate.ts";
import { openDataset } from "../../lib/host/datasets.ts";
import { type ChatServer, startChatServer } from "../support/chat_server.ts";

const SAMPLE = "test";

interface Setup extends AsyncDisposable {
  readonly folder: string;
  readonly data: CurateDataOptions;
  ask(server: ChatServer, changes?: Partial<AskOptions>): AskOptions;
}

/** A folder, and options that curate the first rows of the embedded test split in it. */
async function setUp(rows = 6): Promise<Setup> {
  const folder = await Deno.makeTempDir();
  return {
    folder,
    data: {
      dataset: "sample",
      split: SAMPLE,
      sample: rows,
      captionColumn: "original_alt_text",
      maxBadRows: 0.05,
      seed: 42,
      outputDir: `${folder}/curated`,
      format: "image-folder",
      quiet: true,
    },
    ask: (server, changes = {}) => ({
      apiBase: server.apiBase,
      model: "test-model",
      mode: "text",
      batchSize: 2,
      concurrency: 1,
      attempts: 3,
      retryRejected: false,
      maxWords: 40,
      imageSize: 64,
      imageTokens: 100,
      cache: `${folder}/answers.db`,
      onFailure: "skip",
      timeoutMs: 5000,
      retry: { baseDelayMs: 1, maxDelayMs: 5 },
      ...changes,
    }),
    async [Symbol.asyncDispose]() {
      await Deno.remove(folder, { recursive: true });
    },
  };
}

async function rowsOf(path: string): Promise<readonly ImageRow[]> {
  const dataset = await openDataset(path, { seed: 42, badRows: new BadRows(), quiet: true });
  return await dataset.load(SAMPLE);
}

async function textOf(path: string): Promise<string> {
  return await Deno.readTextFile(path);
}

Deno.test("a model's answers become a data set that the loaders read", async () => {
  await using setup = await setUp();
  await using server = startChatServer();
  const result = await curateDataset(setup.data, setup.ask(server, { apiKey: "secret" }));
  assert.deepEqual([result.rows, result.changed, result.terms.after], [{ test: 6 }, 6, 0]);
  assert.deepEqual(result.ask!.bill, { requests: 3, inputTokens: 3000, outputTokens: 300 });
  const rows = await rowsOf(setup.data.outputDir);
  assert.equal(rows.length, 6);
  assert.deepEqual(rows[0]!.captions, ["A thing number 1 on a table."]);
  assert.deepEqual(rows[0]!.objects, ["thing", "table"]);
  assert.equal(rows[0]!.columns.curation, "test-model");
  const before = await openDataset("sample", { ...setup.data, badRows: new BadRows() });
  const [original] = await before.load(SAMPLE, 1);
  assert.equal(rows[0]!.columns.original_alt_text, original!.captions[0]);
  assert.deepEqual(await rows[0]!.readImage(), await original!.readImage());
  const [request] = server.requests;
  assert.equal(request!.authorization, "Bearer secret");
  assert.equal(request!.body.model, "test-model");
  assert.equal((request!.body.response_format as { type: string }).type, "json_schema");
  assert.deepEqual(request!.rows[0], original!.captions);
  assert.equal(request!.images.length, 0);
});

Deno.test("nothing is asked twice", async () => {
  await using setup = await setUp();
  await using server = startChatServer();
  await curateDataset({ ...setup.data, sample: 4 }, setup.ask(server));
  assert.equal(server.requests.length, 2);
  const again = await curateDataset(setup.data, setup.ask(server));
  assert.equal(server.requests.length, 3);
  assert.deepEqual([again.ask!.known, again.ask!.asked], [4, 2]);
  // Another model, and another mode, are other questions.
  await curateDataset(setup.data, setup.ask(server, { model: "other" }));
  assert.equal(server.requests.length, 6);
});

Deno.test("a model that sees is sent the images, small and without metadata", async () => {
  await using setup = await setUp(2);
  await using server = startChatServer();
  await curateDataset(setup.data, setup.ask(server, { mode: "vision" }));
  const { images } = server.requests[0]!;
  assert.equal(images.length, 2);
  const [, base64] = /^data:image\/jpeg;base64,(.+)$/.exec(images[0]!) ?? [];
  const bytes = Uint8Array.fromBase64(base64!);
  assert.deepEqual([...bytes.subarray(0, 3)], [0xff, 0xd8, 0xff]);
});

Deno.test("a run goes on after errors, busy servers, stalls and broken connections", async () => {
  await using setup = await setUp(8);
  await using server = startChatServer({
    faults: [
      { status: 500 },
      { status: 429, retryAfter: "0.3" },
      undefined,
      "stall",
      undefined,
      "break",
      "garbage",
    ],
  });
  const result = await curateDataset(setup.data, setup.ask(server, { timeoutMs: 300 }));
  assert.deepEqual([result.rows, result.rejected], [{ test: 8 }, []]);
  assert.equal(server.requests.length, 4 + 5);
  // The pause that a busy server asks for is kept.
  assert.ok(server.requests[2]!.atMs - server.requests[1]!.atMs >= 290);
});

Deno.test("attempts end, and what was answered stays", async () => {
  await using setup = await setUp(4);
  await using server = startChatServer({ faults: [undefined, ...Array(3).fill({ status: 503 })] });
  const ask = setup.ask(server, { retry: { attempts: 3, baseDelayMs: 1 } });
  await assert.rejects(
    curateDataset(setup.data, ask),
    /answered 503 \("on purpose"\), after 3 attempts; what is answered is kept/,
  );
  await assert.rejects(Deno.stat(setup.data.outputDir), Deno.errors.NotFound);
  const result = await curateDataset(setup.data, ask);
  assert.deepEqual([result.ask!.known, result.ask!.asked, server.requests.length], [2, 2, 5]);
});

Deno.test("a refusal says what to do, and never the key", async () => {
  await using setup = await setUp(2);
  const cases = [
    [{ status: 401, message: "Incorrect key secret-key" }, /answered 401: Incorrect key …; check the key/],
    [{ status: 404, message: "no such model" }, /check --api-base and --model/],
    [{ status: 400, message: "response_format is unknown" }, /try --json-mode object/],
    [{ status: 429, message: "insufficient_quota" }, /no credit left/],
  ] as const;
  for (const [fault, message] of cases) {
    await using server = startChatServer({ faults: [fault] });
    await assert.rejects(curateDataset(setup.data, setup.ask(server, { apiKey: "secret-key" })), message);
    assert.equal(server.requests.length, 1);
  }
});

Deno.test("answers that cannot be used are asked for again, with the reason", async () => {
  await using setup = await setUp(2);
  await using server = startChatServer({
    faults: [{ says: "Sure! Here it is" }, { altText: "A man. He walks." }, {
      altText: "A black man on a bench",
    }],
  });
  const result = await curateDataset(setup.data, setup.ask(server, { attempts: 5 }));
  assert.equal(result.rejected.length, 0);
  // The pair spoils its answer, then each is asked about alone.
  assert.deepEqual(server.requests.map(({ rows }) => rows.length), [2, 1, 1, 1, 1]);
  const told = server.requests.map(({ body }) => JSON.stringify(body.messages));
  assert.match(told[1]!, /cannot be used: the answer is not JSON/);
  assert.match(told[3]!, /more than one sentence/);
  assert.match(told[4]!, /man\\+" \(gender\)/);
});

Deno.test("answers in another order or around the JSON are understood, too few are not", async () => {
  await using setup = await setUp(2);
  const says = '```json\n{"images": [{"number": 2, "alt_text": "Two cups.", "objects": ["cup"]}, ' +
    '{"number": 1, "alt_text": "One cup.", "objects": ["Cup", "cup"]}]}\n```';
  await using server = startChatServer({ faults: ["short", undefined, undefined] });
  await curateDataset(setup.data, setup.ask(server));
  assert.deepEqual(server.requests.map(({ rows }) => rows.length), [2, 1, 1]);
  await using other = startChatServer({ faults: [{ says }] });
  await curateDataset(setup.data, setup.ask(other, { model: "other" }));
  const rows = await rowsOf(setup.data.outputDir);
  assert.deepEqual(rows.map(({ captions, objects }) => [captions[0], objects]), [
    ["One cup.", ["cup"]],
    ["Two cups.", ["cup"]],
  ]);
});

Deno.test("rows without a usable answer are listed, and left out or rewritten by rules", async () => {
  await using setup = await setUp(6);
  await using server = startChatServer({ neverFor: "man" });
  const skipped = await curateDataset(setup.data, setup.ask(server));
  assert.ok(skipped.rejected.length > 0);
  assert.match(skipped.rejected[0]!.reason, /"man" \(gender\)/);
  assert.equal(skipped.rows.test, 6 - skipped.rejected.length);
  const asked = server.requests.length;
  const ruled = await curateDataset(setup.data, setup.ask(server, { onFailure: "rules" }));
  assert.equal(server.requests.length, asked, "what was rejected is not paid for again");
  assert.equal(ruled.rows.test, 6);
  const by = (await rowsOf(setup.data.outputDir)).filter(({ columns }) => columns.curation === "rules");
  assert.equal(by.length, skipped.rejected.length);
  await curateDataset(setup.data, setup.ask(server, { retryRejected: true }));
  assert.ok(server.requests.length > asked);
});

Deno.test("limits of cost and requests stop a run before they are passed", async () => {
  await using setup = await setUp(6);
  await using server = startChatServer();
  // A request costs $0.001 x 1 + 0.0001 x 10 = $0.002 by the server's count.
  const ask = setup.ask(server, { prices: { input: 1, output: 10 }, maxCost: 0.005 });
  await assert.rejects(curateDataset(setup.data, ask), /Stopped at \$0\.0040.*--max-cost/);
  assert.equal(server.requests.length, 2);
  const limited = setup.ask(server, { maxRequests: 1 });
  const result = await curateDataset(setup.data, limited);
  assert.deepEqual([result.ask!.known, server.requests.length], [4, 3]);
  await assert.rejects(
    curateDataset(setup.data, { ...limited, model: "other" }),
    /Stopped after 1 requests \(--max-requests\)/,
  );
});

Deno.test("requests keep their distance", async () => {
  await using setup = await setUp(6);
  await using server = startChatServer();
  await curateDataset(setup.data, setup.ask(server, { requestsPerMinute: 600, concurrency: 3 }));
  const times = server.requests.map(({ atMs }) => atMs);
  // 600 a minute are 100 ms apart; arrival may jitter a little.
  assert.ok(times[2]! - times[0]! >= 150);
});

Deno.test("an estimate sends nothing and counts what is left", async () => {
  await using setup = await setUp(6);
  await using server = startChatServer({ withoutUsage: true });
  const ask = setup.ask(server, { prices: { input: 1, output: 10 } });
  const before = await estimateCuration(setup.data, ask);
  assert.equal(server.requests.length, 0);
  await assert.rejects(Deno.stat(ask.cache), Deno.errors.NotFound);
  assert.deepEqual([before.asked, before.known, before.bill.requests], [6, 0, 3]);
  assert.ok(before.bill.cost! > 0);
  const result = await curateDataset(setup.data, ask);
  // Without the server's count the estimate is what is noted.
  assert.deepEqual(result.ask!.bill, before.bill);
  const after = await estimateCuration(setup.data, ask);
  assert.deepEqual([after.asked, after.known], [0, 6]);
  using store = new AnswerStore(ask.cache);
  assert.equal(store.spent("test-model").requests, 3);
});

Deno.test("an interrupted run continues", async () => {
  await using setup = await setUp(6);
  await using server = startChatServer({ faults: [undefined, "stall"] });
  const stop = new AbortController();
  const run = curateDataset({ ...setup.data, signal: stop.signal }, setup.ask(server, { timeoutMs: 60_000 }));
  while (server.requests.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  stop.abort();
  await assert.rejects(run, { name: "AbortError" });
  const result = await curateDataset(setup.data, setup.ask(server));
  assert.deepEqual([result.ask!.known, result.ask!.asked], [2, 4]);
});

Deno.test("a killed run has kept what was answered, and the command says how it goes on", async () => {
  await using setup = await setUp(4);
  await using server = startChatServer({ faults: [undefined, "stall"] });
  const project = new URL("../../", import.meta.url);
  const command = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--config", new URL("deno.json", project).pathname],
      ...[
        new URL("tasks/curate.ts", project).pathname,
        "--api-base",
        server.apiBase,
        "--model",
        "test-model",
      ],
      ...[
        "--mode",
        "text",
        "--batch-size",
        "2",
        "--concurrency",
        "1",
        "--split",
        SAMPLE,
        "--sample",
        "4",
        "--json",
      ],
      ...["--cache", `${setup.folder}/answers.db`, "--output-dir", setup.data.outputDir],
      ...["--caption-column", "original_alt_text"],
    ],
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "null",
  });
  const killed = command.spawn();
  while (server.requests.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  killed.kill("SIGKILL");
  await killed.output();
  const { stdout, success } = await command.output();
  assert.ok(success);
  const result = JSON.parse(new TextDecoder().decode(stdout));
  assert.deepEqual([result.ask.known, result.ask.asked, result.rows], [2, 2, { test: 4 }]);
});

Deno.test("rules need no server, and every layout is read again", async () => {
  await using setup = await setUp(20);
  for (const format of ["image-folder", "jsonl", "parquet"] as const) {
    const result = await curateDataset({ ...setup.data, format });
    assert.equal(result.rows.test, 20);
    assert.ok(result.terms.before > 0 && result.terms.after === 0);
    const rows = await rowsOf(setup.data.outputDir);
    assert.equal(rows.length, 20);
    assert.ok(rows.every(({ captions, objects }) => !/\bman\b/.test(captions[0]!) && objects!.length > 0));
    assert.equal((await rows[0]!.readImage())[0], 0x89);
  }
  assert.match(await textOf(`${setup.data.outputDir}/README.md`), /captions by rules/);
});

Deno.test("other people's folders and databases are left alone", async () => {
  await using setup = await setUp(2);
  await using server = startChatServer();
  await Deno.mkdir(setup.data.outputDir);
  await Deno.writeTextFile(`${setup.data.outputDir}/thesis.txt`, "mine");
  await assert.rejects(curateDataset(setup.data), /of other origin/);
  await Deno.writeTextFile(`${setup.folder}/notes.db`, "not a database at all, but a text".repeat(40));
  await assert.rejects(
    curateDataset(setup.data, setup.ask(server, { cache: `${setup.folder}/notes.db` })),
    /Cannot keep answers in .*name another file with --cache/,
  );
});

Deno.test("captions with markup or formulas stay text, and several captions stay several", async () => {
  await using setup = await setUp();
  const folder = `${setup.folder}/own`;
  await Deno.mkdir(`${folder}/test`, { recursive: true });
  const image = await Deno.readFile(new URL("../../data/sample/test/0000.png", import.meta.url));
  const rows = [
    { alt_text: ['=HYPERLINK("http://x")', "<script>alert(1)</script> and a man"], objects: "cup; plate" },
    { alt_text: "A man", objects: ["person"] },
  ];
  const lines = rows.map((row, place) => JSON.stringify({ file_name: `${place}.png`, ...row }));
  for (const place of rows.keys()) await Deno.writeFile(`${folder}/test/${place}.png`, image);
  await Deno.writeTextFile(`${folder}/test/metadata.jsonl`, lines.join("\n"));
  const data = { ...setup.data, dataset: folder, captionColumn: undefined };
  const result = await curateDataset(data);
  assert.match(result.faults[0]!.reason, /markup|single word/);
  const [first, second] = await rowsOf(data.outputDir);
  assert.deepEqual(first!.captions, ['=HYPERLINK("http://x")', "<script>alert(1)</script> and a person"]);
  assert.deepEqual(second!.captions, ["A person"]);
  assert.deepEqual(second!.objects, ["person"]);
});

Deno.test("a data set without captions is refused with what it has", async () => {
  await using setup = await setUp();
  const folder = `${setup.folder}/own`;
  await Deno.mkdir(`${folder}/test`, { recursive: true });
  await Deno.writeTextFile(`${folder}/test/metadata.csv`, "file_name,title\na.png,A cup\n");
  await assert.rejects(
    curateDataset({ ...setup.data, dataset: folder, captionColumn: undefined }),
    /no caption column.*it has "file_name", "title"/,
  );
});
