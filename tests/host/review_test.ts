import assert from "node:assert/strict";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import { curateDataset } from "../../lib/host/curate.ts";
import { openDataset } from "../../lib/host/datasets.ts";
import { Review, type ReviewOptions } from "../../lib/host/review.ts";

interface Served extends AsyncDisposable {
  readonly url: string;
  readonly review: Review;
  readonly options: ReviewOptions;
  get(path: string): Promise<Response>;
  send(method: string, path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

/** Curates some rows of the embedded sample by rules, and serves them for review. */
async function serveReview(changes: Partial<ReviewOptions> = {}): Promise<Served> {
  const folder = await Deno.makeTempDir();
  const common = { split: "test", sample: 5, seed: 42, maxBadRows: 0.05, quiet: true } as const;
  await curateDataset({
    ...common,
    dataset: "sample",
    captionColumn: "original_alt_text",
    outputDir: `${folder}/curated`,
    format: "image-folder",
  });
  const options: ReviewOptions = {
    ...common,
    dataset: `${folder}/curated`,
    show: "all",
    decisions: `${folder}/review.db`,
    outputDir: `${folder}/reviewed`,
    format: "image-folder",
    undecided: "keep",
    ...changes,
  };
  const review = await Review.open(options);
  const server = review.serve(0);
  const url = `http://127.0.0.1:${server.addr.port}`;
  return {
    url,
    review,
    options,
    get: (path) => fetch(url + path),
    send: (method, path, body, headers = {}) =>
      fetch(url + path, {
        method,
        headers: { "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
      }),
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      review[Symbol.dispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

Deno.test("pairs are decided, saved at once, and exported as they were decided", async () => {
  await using served = await serveReview();
  const state = await (await served.get("/api/state")).json();
  assert.deepEqual([state.total, state.first, state.counts], [5, 0, { accept: 0, edit: 0, reject: 0 }]);
  const first = await (await served.get("/api/rows/0")).json();
  assert.equal(typeof first.caption, "string");
  assert.equal(first.originals.length, 1);
  await (await served.send("PUT", "/api/rows/0", { decision: "accept" })).body?.cancel();
  const edited = await (await served.send("PUT", "/api/rows/1", {
    decision: "edit",
    caption: "  <b>Two</b>\n men & =1+1 ",
  })).json();
  assert.deepEqual([edited.decision, edited.edited], ["edit", "<b>Two</b> men & =1+1"]);
  assert.deepEqual(edited.terms.map(({ text }: { text: string }) => text), ["men"]);
  const rejected = await (await served.send("PUT", "/api/rows/2", { decision: "reject" })).json();
  assert.deepEqual([rejected.nextUndecided, rejected.counts], [3, { accept: 1, edit: 1, reject: 1 }]);
  await (await served.send("PUT", "/api/rows/0", { decision: null })).body?.cancel();

  // Another program sees them: they are on the disk.
  {
    using other = await Review.open(served.options);
    assert.deepEqual(other.counts(), { accept: 0, edit: 1, reject: 1 });
  }
  const result = await (await served.send("POST", "/api/export", {})).json();
  assert.deepEqual([result.rows, result.rejected, result.undecided], [4, 1, 3]);
  const dataset = await openDataset(served.options.outputDir, { seed: 42, badRows: new BadRows() });
  const rows = await dataset.load("test");
  assert.equal(rows.length, 4);
  assert.deepEqual(rows.map(({ columns }) => columns.curation), ["rules", "person", "rules", "rules"]);
  assert.deepEqual(rows[1]!.captions, ["<b>Two</b> men & =1+1"]);
  assert.equal(rows[0]!.columns.original_alt_text, first.originals[0]);
});

Deno.test("undecided pairs can be left out, and parquet keeps the originals", async () => {
  await using served = await serveReview({ undecided: "drop", format: "parquet" });
  await (await served.send("PUT", "/api/rows/3", { decision: "accept" })).body?.cancel();
  assert.equal((await served.review.export()).rows, 1);
  const wanted = await (await served.get("/api/rows/3")).json();
  const dataset = await openDataset(served.options.outputDir, { seed: 42, badRows: new BadRows() });
  const [row] = await dataset.load("test");
  assert.deepEqual(row!.columns.original_alt_text, wanted.originals);
  assert.equal(row!.columns.curation, "rules");
});

Deno.test("the page runs its own script alone, and images are no pages", async () => {
  await using served = await serveReview();
  const page = await served.get("/");
  const policy = page.headers.get("content-security-policy")!;
  assert.match(policy, /default-src 'none'; script-src 'sha256-[\w+/=]+'; style-src 'sha256-/);
  assert.doesNotMatch(policy, /unsafe/);
  const text = await page.text();
  assert.doesNotMatch(text, /innerHTML|onclick=|style="/);
  const image = await served.get("/api/images/0");
  assert.deepEqual([image.headers.get("content-type"), image.headers.get("x-content-type-options")], [
    "image/png",
    "nosniff",
  ]);
  assert.equal(new Uint8Array(await image.arrayBuffer())[0], 0x89);
});

Deno.test("other sites cannot decide", async () => {
  await using served = await serveReview();
  const decision = { decision: "reject" };
  const tries = [
    [served.send("PUT", "/api/rows/0", decision, { origin: "https://evil.example" }), 403],
    [served.send("PUT", "/api/rows/0", decision, { "content-type": "text/plain" }), 415],
    [served.send("PUT", "/api/rows/99", decision), 404],
    [served.send("PUT", "/api/rows/0", { decision: "burn" }), 400],
    [served.send("PUT", "/api/rows/0", { decision: "edit", caption: " " }), 400],
    [served.send("PUT", "/api/rows/0", "no json"), 400],
    [served.send("PUT", "/api/rows/0", { decision: "edit", caption: "x".repeat(20_000) }), 400],
    [served.send("PUT", "/api/rows/0", { decision: "edit", caption: "x".repeat(200_000) }), 400],
    [served.send("DELETE", "/api/rows/0", {}), 404],
    [served.get("/../../etc/passwd"), 404],
  ] as const;
  for (const [answer, status] of tries) {
    const response = await answer;
    assert.equal(response.status, status);
    assert.equal(typeof (await response.json()).error, "string");
  }
  assert.deepEqual(served.review.counts(), { accept: 0, edit: 0, reject: 0 });
  // A name of somebody else's that leads here.
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(served.url).port) });
  await connection.write(new TextEncoder().encode("GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n"));
  const bytes = new Uint8Array(200);
  const count = await connection.read(bytes);
  assert.match(new TextDecoder().decode(bytes.subarray(0, count ?? 0)), /^HTTP\/1\.1 403/);
});

Deno.test("only pairs with terms or changes are shown, and none is an error", async () => {
  await using served = await serveReview({ show: "changed" });
  assert.ok(served.review.size > 0 && served.review.size < 5);
  await assert.rejects(
    Review.open({ ...served.options, show: "terms", decisions: `${served.options.decisions}2` }),
    /no pair .* is to be shown \(--show terms\)/,
  );
});

Deno.test("several captions of a row stay several when they are edited", async () => {
  await using served = await serveReview();
  const folder = `${served.options.outputDir}_own`;
  await Deno.mkdir(`${folder}/test`, { recursive: true });
  await Deno.writeFile(
    `${folder}/test/a.png`,
    new Uint8Array(await (await served.get("/api/images/0")).arrayBuffer()),
  );
  const row = { file_name: "a.png", alt_text: ["A cup", "A cup on a table"] };
  await Deno.writeTextFile(`${folder}/test/metadata.jsonl`, JSON.stringify(row));
  using review = await Review.open({ ...served.options, dataset: folder, split: "test" });
  await using server = review.serve(0);
  const response = await fetch(`http://127.0.0.1:${server.addr.port}/api/rows/0`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ decision: "edit", caption: "A red cup\n\n A cup  on a table" }),
  });
  await response.body?.cancel();
  await review.export();
  const dataset = await openDataset(served.options.outputDir, { seed: 42, badRows: new BadRows() });
  assert.deepEqual((await dataset.load("test"))[0]!.captions, ["A red cup", "A cup on a table"]);
});

Deno.test("what was typed is checked as it grows", async () => {
  await using served = await serveReview();
  const { terms } = await (await served.send("POST", "/api/check", { caption: "An old man" })).json();
  assert.deepEqual(terms.map(({ category }: { category: string }) => category), ["age", "gender"]);
});
