import assert from "node:assert/strict";
import { displayWidth, formatBytes, formatDuration, formatTable } from "../../lib/host/terminal.ts";

Deno.test("formatTable aligns numbers to the right and text to the left", () => {
  const table = formatTable([["rougeL", "0.12", 0.5], ["exact match", "7 %", 12]], {
    header: ["metric", "before", "after"],
  });
  assert.equal(
    table,
    [
      "metric       before  after",
      "-----------  ------  -----",
      "rougeL         0.12    0.5",
      "exact match     7 %     12",
    ].join("\n"),
  );
  assert.equal(formatTable([]), "");
  assert.equal(formatTable([["a", "1"], ["bb"]], { right: [0] }), " a  1\nbb");
});

Deno.test("formatTable counts the columns of wide letters and marks", () => {
  assert.equal(displayWidth("e\u0301é"), 2);
  assert.equal(displayWidth("犬🐕"), 4);
  assert.equal(formatTable([["犬", "x"], ["dog", "x"]]), "犬   x\ndog  x");
});

Deno.test("sizes and durations are read at a glance", () => {
  assert.deepEqual([0, 999, 1000, 1_549_999, 999_960, 3.1e9, 5e15].map(formatBytes), [
    "0 B",
    "999 B",
    "1.0 kB",
    "1.5 MB",
    "1.0 MB",
    "3.1 GB",
    "5000.0 TB",
  ]);
  assert.deepEqual([0.04, 9.94, 9.96, 59.6, 185, 3599.7, 7620].map(formatDuration), [
    "0.0 s",
    "9.9 s",
    "10 s",
    "1 min 00 s",
    "3 min 05 s",
    "1 h 00 min",
    "2 h 07 min",
  ]);
});
