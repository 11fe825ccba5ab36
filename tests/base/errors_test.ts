import assert from "node:assert/strict";
import {
  describeError,
  describeNames,
  describeShape,
  printable,
  quote,
  suggest,
  UserError,
} from "../../lib/base/errors.ts";

Deno.test("suggest finds the nearest spelling and nothing when none is near", () => {
  const names = ["q_proj", "k_proj", "gate_proj", "learning_rate"];
  assert.equal(suggest("qproj", names), "q_proj");
  assert.equal(suggest("leanring_rate", names), "learning_rate");
  assert.equal(suggest("GATE_PROJ", names), "gate_proj");
  assert.equal(suggest("zebra", names), undefined);
  assert.equal(suggest("anything", []), undefined);
});

Deno.test("suggest counts a swap of neighbours as one edit", () => {
  assert.equal(suggest("abc", ["bac"]), "bac");
  assert.equal(suggest("abc", ["cab"]), undefined);
});

Deno.test("messages show shapes, names and causes", () => {
  assert.equal(describeShape([2, 576]), "[2, 576]");
  assert.equal(describeShape([]), "[]");
  assert.equal(describeNames(["a", 'b"']), '"a", "b\\""');
  assert.equal(describeNames(["a", "b", "c"], 1), '"a" and 2 more');
  assert.equal(describeError(new TypeError("no")), "no");
  assert.equal(describeError(7), "7");
  const error = new UserError("Cannot do it");
  assert.ok(error instanceof Error);
  assert.equal(String(error), "UserError: Cannot do it");
});

Deno.test("names out of files are quoted, shortened, and cannot move a terminal's cursor", () => {
  assert.equal(quote("model.norm"), '"model.norm"');
  assert.equal(quote('a"b\n'), '"a\\"b\\n"');
  assert.equal(quote("\u001b[2J\u007f\u009b1m"), '"\\u001b[2J\\u007f\\u009b1m"');
  assert.equal(quote("x".repeat(5000)), `"${"x".repeat(200)}…"`);
  assert.equal(printable("a\u0000b"), "a\\u0000b");
});
