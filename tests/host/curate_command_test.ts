import assert from "node:assert/strict";
import { describeCuration, describeEstimate, parseCurateArguments } from "../../lib/host/curate_command.ts";
import { parseReviewArguments } from "../../lib/host/review_command.ts";

const parse = (args: readonly string[], env: Record<string, string> = {}) =>
  parseCurateArguments(args, (name) => env[name]);

Deno.test("flags of curate have the Python project's defaults, and a key comes from the environment", () => {
  const { data, ask } = parse(["--dataset-split", "test"], { OPENAI_API_KEY: "key" });
  assert.deepEqual([data.dataset, data.split, data.format, data.outputDir], [
    "sample",
    "test",
    "image-folder",
    "curated",
  ]);
  assert.deepEqual([ask!.model, ask!.batchSize, ask!.cache, ask!.mode, ask!.apiKey], [
    "gpt-4o",
    5,
    "alt_text_cache.db",
    "vision",
    "key",
  ]);
  const own = parse(["--api-key-env", "MY_KEY", "--timeout", "2", "--retries", "9"], { MY_KEY: "mine" }).ask!;
  assert.deepEqual([own.apiKey, own.timeoutMs, own.retry], ["mine", 2000, { attempts: 9 }]);
});

Deno.test("a key is needed far away, and neither on this machine nor for rules nor estimates", () => {
  assert.throws(() => parse([]), /no key in OPENAI_API_KEY.*--rules/);
  assert.equal(parse(["--api-base", "http://localhost:11434/v1"]).ask!.apiKey, undefined);
  assert.equal(parse(["--rules"]).ask, undefined);
  assert.ok(parse(["--dry-run"]).dryRun);
});

Deno.test("flags that contradict each other, and unknown ones, are refused", () => {
  const env = { OPENAI_API_KEY: "key" };
  assert.throws(() => parse(["--max-cost", "1"], env), /--max-cost needs the prices/);
  assert.throws(() => parse(["--price-in", "1"], env), /both --price-in and --price-out/);
  assert.throws(() => parse(["--rules", "--dry-run"], env), /they cost nothing/);
  assert.throws(() => parse(["--rules", "--push-to-hub", "me/mine"]), /add --format parquet/);
  const pushed = parse(["--rules", "--target-dataset", "me/mine", "--format", "parquet", "--private"]);
  assert.deepEqual([pushed.pushToHub, pushed.isPrivate], ["me/mine", true]);
  assert.throws(() => parse(["--modle", "x"], env), /unknown option/);
  assert.throws(() => parse(["--batch-size", "0"], env), /--batch-size/);
  assert.throws(() => parseReviewArguments(["--port", "99999"]), /--port/);
  assert.equal(parseReviewArguments(["--export"]).export, true);
});

Deno.test("what was done and what it would cost are said in words", () => {
  const bill = { requests: 2, inputTokens: 2000, outputTokens: 200, cost: 0.007 };
  assert.match(
    describeEstimate({ known: 1, asked: 9, bill }),
    /9 rows to ask about in 2 requests[^]*\$0\.0070/,
  );
  const { cost: _, ...free } = bill;
  assert.match(describeEstimate({ known: 1, asked: 9, bill: free }), /give --price-in and --price-out/);
  const text = describeCuration({
    path: "curated",
    rows: { train: 8 },
    changed: 3,
    terms: { before: 5, after: 0 },
    rejected: [{ id: "a.png", reason: 'alt_text says "man" (gender)' }],
    badRows: [],
    faults: [],
    ask: { known: 1, asked: 9, bill },
  });
  assert.match(
    text,
    /5 before, 0 after[^]*2 requests[^]*\$0\.0070[^]*1 rows without a usable answer: a\.png/,
  );
});
