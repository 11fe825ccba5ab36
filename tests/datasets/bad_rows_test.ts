import assert from "node:assert/strict";
import { BadRows } from "../../lib/datasets/bad_rows.ts";

Deno.test("a row found bad twice counts once and keeps its first reason", () => {
  const badRows = new BadRows();
  badRows.add("a.png", "truncated");
  badRows.add("a.png", "missing");
  badRows.add("b.png", "empty");
  assert.equal(badRows.count, 2);
  assert.ok(badRows.has("a.png") && !badRows.has("c.png"));
  assert.equal(badRows.describe(1), "a.png: truncated; 1 more");
  assert.equal(badRows.describe(9), "a.png: truncated; b.png: empty");
});

Deno.test("the check stops only beyond the allowed share", () => {
  const badRows = new BadRows({ maxFraction: 0.5 });
  badRows.check(0);
  badRows.add("a", "x");
  badRows.check(2);
  assert.throws(() => badRows.check(1), { name: "UserError", message: /1 of 1 rows.*100 %.*at most 50 %/ });
});

Deno.test("shares outside 0 to 1 are refused", () => {
  for (const maxFraction of [-0.1, 1.1, NaN]) assert.throws(() => new BadRows({ maxFraction }), RangeError);
});
