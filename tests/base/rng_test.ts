import assert from "node:assert/strict";
import { hashText, Rng } from "../../lib/base/rng.ts";

Deno.test("xoshiro128** from state [1, 2, 3, 4] gives the published sequence", () => {
  const rng = Rng.fromState([1, 2, 3, 4]);
  assert.deepEqual([rng.bits(), rng.bits(), rng.bits(), rng.bits()], [11520, 0, 5927040, 70819200]);
});

Deno.test("a restored state continues the sequence exactly", () => {
  const rng = new Rng(42);
  for (let i = 0; i < 7; i++) rng.normal();
  const copy = Rng.fromState(JSON.parse(JSON.stringify(rng.state())));
  for (let i = 0; i < 100; i++) assert.equal(copy.next(), rng.next());
});

Deno.test("different seeds differ, also beyond 32 bits", () => {
  const firsts = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 40].map((seed) => new Rng(seed).bits());
  assert.equal(new Set(firsts).size, firsts.length);
});

Deno.test("uniform, integer and normal draws have the right moments and range", () => {
  const rng = new Rng(7);
  const count = 20000;
  const counts = [0, 0, 0];
  let sum = 0, sumNormal = 0, sumSquares = 0;
  for (let i = 0; i < count; i++) {
    const u = rng.next();
    assert.ok(u >= 0 && u < 1);
    sum += u;
    const n = rng.int(3);
    counts[n] = (counts[n] ?? NaN) + 1;
    const z = rng.normal();
    sumNormal += z;
    sumSquares += z * z;
  }
  assert.ok(Math.abs(sum / count - 0.5) < 0.01);
  assert.ok(Math.abs(sumNormal / count) < 0.03);
  assert.ok(Math.abs(sumSquares / count - 1) < 0.04);
  for (const c of counts) assert.ok(Math.abs(c - count / 3) < 300);
});

Deno.test("shuffle keeps the elements and pick stays inside", () => {
  const rng = new Rng(3);
  const shuffled = rng.shuffle([0, 1, 2, 3, 4, 5, 6]);
  assert.notDeepEqual(shuffled, [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...shuffled].sort(), [0, 1, 2, 3, 4, 5, 6]);
  assert.ok(["a", "b"].includes(rng.pick(["a", "b"])));
});

Deno.test("wrong seeds, states and ranges are refused", () => {
  assert.throws(() => new Rng(-1), RangeError);
  assert.throws(() => new Rng(1.5), RangeError);
  assert.throws(() => Rng.fromState([1, 2, 3]), TypeError);
  assert.throws(() => Rng.fromState([0, 0, 0, 0]), TypeError);
  assert.throws(() => Rng.fromState([1, 2, 3, 2 ** 32]), TypeError);
  assert.throws(() => new Rng(1).int(0), RangeError);
  assert.throws(() => new Rng(1).pick([]), RangeError);
});

Deno.test("hashText is stable and separates near texts", () => {
  assert.equal(hashText("a"), 0x1a80b1b3);
  assert.equal(hashText("é"), 0x8e4756c7);
  assert.notEqual(hashText("scene|1"), hashText("scene|2"));
});
