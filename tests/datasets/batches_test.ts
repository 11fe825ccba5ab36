import assert from "node:assert/strict";
import { BatchOrder } from "../../lib/datasets/batches.ts";
import { captionForEpoch, splitBySeed, splitOfFolders } from "../../lib/datasets/rows.ts";

Deno.test("every row comes once an epoch, the last batch is short", () => {
  const order = new BatchOrder({ rowCount: 11, batchSize: 4, seed: 1 });
  assert.equal(order.batchesPerEpoch, 3);
  const epochs = [0, 1].map(() => [order.next(), order.next(), order.next()]);
  for (const batches of epochs) {
    assert.deepEqual(batches.map(({ indices }) => indices.length), [4, 4, 3]);
    const rows = batches.flatMap(({ indices }) => indices);
    assert.deepEqual(rows.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  }
  assert.notDeepEqual(epochs[0]?.[0]?.indices, epochs[1]?.[0]?.indices);
  assert.deepEqual(order.position, { epoch: 2, batch: 0 });
});

Deno.test("a run continued from a saved position sees the same batches", () => {
  const options = { rowCount: 13, batchSize: 3, seed: 42 };
  const whole = new BatchOrder(options);
  const seen = Array.from({ length: 12 }, () => whole.next());
  const continued = new BatchOrder(options);
  continued.seek(JSON.parse(JSON.stringify({ epoch: seen[7]?.epoch, batch: seen[7]?.batch })));
  assert.deepEqual(Array.from({ length: 5 }, () => continued.next()), seen.slice(7));
  assert.deepEqual(continued.position, whole.position);
});

Deno.test("the seed decides the order, and no shuffling keeps that of the data set", () => {
  const first = (seed: number) => new BatchOrder({ rowCount: 50, batchSize: 50, seed }).next().indices;
  assert.deepEqual(first(3), first(3));
  assert.notDeepEqual(first(3), first(4));
  assert.deepEqual(new BatchOrder({ rowCount: 3, batchSize: 2, seed: 0, shuffle: false }).next().indices, [
    0,
    1,
  ]);
});

Deno.test("incomplete batches can be dropped", () => {
  const order = new BatchOrder({ rowCount: 11, batchSize: 4, seed: 1, lastBatch: "drop" });
  assert.equal(order.batchesPerEpoch, 2);
  assert.throws(
    () => new BatchOrder({ rowCount: 3, batchSize: 4, seed: 1, lastBatch: "drop" }),
    /do not fill/,
  );
});

Deno.test("impossible sizes and positions are refused", () => {
  assert.throws(() => new BatchOrder({ rowCount: 0, batchSize: 1, seed: 1 }), /rowCount is 0/);
  assert.throws(() => new BatchOrder({ rowCount: 1, batchSize: 1.5, seed: 1 }), RangeError);
  const order = new BatchOrder({ rowCount: 4, batchSize: 2, seed: 1 });
  for (const position of [{ epoch: -1, batch: 0 }, { epoch: 0, batch: 2 }, { epoch: 0.5, batch: 0 }]) {
    assert.throws(() => order.seek(position), RangeError);
  }
});

Deno.test("one of several captions is drawn an epoch, by seed", () => {
  const row = { image: "a.png", captions: ["one", "two", "three"], columns: {} };
  const drawn = Array.from({ length: 40 }, (_, epoch) => captionForEpoch(row, { seed: 42, epoch }));
  assert.deepEqual(new Set(drawn), new Set(row.captions));
  assert.deepEqual(
    drawn,
    Array.from({ length: 40 }, (_, epoch) => captionForEpoch(row, { seed: 42, epoch })),
  );
  assert.equal(captionForEpoch({ ...row, captions: ["only"] }, { seed: 1, epoch: 9 }), "only");
  assert.throws(() => captionForEpoch({ ...row, captions: [] }, { seed: 1, epoch: 0 }), RangeError);
});

Deno.test("the innermost folder with a split keyword decides", () => {
  assert.equal(splitOfFolders("test/train-00/a.png"), "train");
  assert.equal(splitOfFolders("VALID/x/a.png"), "validation");
  assert.equal(splitOfFolders("latest/contrain/train.png"), undefined);
});

Deno.test("adding images moves few of the others between splits", () => {
  const paths = Array.from({ length: 200 }, (_, i) => `${i}.png`);
  const before = splitBySeed(paths);
  const after = splitBySeed([...paths, ...Array.from({ length: 10 }, (_, i) => `new${i}.png`)]);
  const moved = paths.filter((path) => before.get(path) !== after.get(path));
  assert.ok(moved.length <= 10, `${moved.length} moved`);
  assert.deepEqual([...splitBySeed(["a", "b", "c"]).values()].sort(), ["test", "train", "validation"]);
  assert.deepEqual([...splitBySeed(["a"]).values()], ["train"]);
});
