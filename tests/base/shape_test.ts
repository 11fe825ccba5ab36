import assert from "node:assert/strict";
import { elementCount, sameShape } from "../../lib/base/shape.ts";

Deno.test("elementCount multiplies sizes", () => {
  assert.equal(elementCount([]), 1);
  assert.equal(elementCount([3, 1, 49153]), 147459);
  assert.equal(elementCount([4, 0, 7]), 0);
});

Deno.test("elementCount refuses what is not a size", () => {
  for (const shape of [[-1], [1.5], [NaN], [Infinity], [2 ** 40, 2 ** 40]]) {
    assert.throws(() => elementCount(shape), RangeError);
  }
});

Deno.test("sameShape compares rank and sizes", () => {
  assert.ok(sameShape([2, 3], [2, 3]));
  assert.ok(!sameShape([2, 3], [3, 2]));
  assert.ok(!sameShape([2, 3], [2, 3, 1]));
  assert.ok(sameShape([], []));
});
