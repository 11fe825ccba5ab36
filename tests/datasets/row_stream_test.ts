import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { RowStream } from "../../lib/datasets/row_stream.ts";
import { StreamOrder } from "../../lib/datasets/stream_order.ts";

const SIZES = [7, 3, 9, 1, 8, 8, 5, 9];

function stream(options: { buffer: number; weights?: Float64Array }) {
  const order = new StreamOrder({ sets: [SIZES], batchSize: 4, seed: 5, ...options });
  let reads = 0;
  let start = 0;
  const groups = SIZES.map((count) => {
    const first = start;
    start += count;
    return {
      count,
      read: async () => {
        reads++;
        await new Promise((resolve) => setTimeout(resolve, 1));
        return Array.from({ length: count }, (_, i) => `row ${first + i}`);
      },
    };
  });
  return { order, rows: new RowStream(groups, order), reads: () => reads };
}

async function use<Row>(stream: RowStream<Row>, numbers: readonly number[]): Promise<Row[]> {
  using taken = await stream.take(numbers);
  return [...taken.rows];
}

const batchesOf = (order: StreamOrder) => Array.from({ length: order.batchesPerEpoch }, (_, batch) => batch);

Deno.test("rows come by number; each group is read once an epoch, and held only while rows of it wait", async () => {
  for (const ahead of [1, 5]) {
    const { order, rows, reads } = stream({ buffer: 10 });
    const running: Promise<void>[] = [];
    for (let epoch = 0; epoch < 2; epoch++) {
      for (const batch of batchesOf(order)) {
        const numbers = order.indicesAt({ epoch, batch });
        running.push(
          use(rows, numbers).then((found) =>
            deepStrictEqual(found, numbers.map((number) => `row ${number}`))
          ),
        );
        if (running.length === ahead) await running.shift();
        ok(rows.heldGroups <= SIZES.length - 1);
      }
      await Promise.all(running.splice(0));
      strictEqual(reads(), (epoch + 1) * SIZES.length);
      await new Promise((resolve) => setTimeout(resolve));
      strictEqual(rows.heldGroups, 0);
    }
  }
});

Deno.test("in the middle of an epoch only groups that still have rows are read", async () => {
  const { order, rows, reads } = stream({ buffer: 4 });
  for (const batch of batchesOf(order).slice(-3)) {
    const numbers = order.indicesAt({ epoch: 1, batch });
    deepStrictEqual(await use(rows, numbers), numbers.map((number) => `row ${number}`));
  }
  ok(reads() < SIZES.length, `${reads()} reads`);
});

Deno.test("rows drawn several times are there each time", async () => {
  const weights = Float64Array.from({ length: 50 }, (_, row) => row % 5 === 0 ? 5 : 0);
  const { order, rows, reads } = stream({ buffer: 8, weights });
  const running = batchesOf(order).map((batch) => {
    const numbers = order.indicesAt({ epoch: 0, batch });
    return use(rows, numbers).then((found) =>
      deepStrictEqual(found, numbers.map((number) => `row ${number}`))
    );
  });
  await Promise.all(running);
  ok(reads() <= SIZES.length, `${reads()} reads`);
});

Deno.test("a group that cannot be read fails its batch, and is tried again", async () => {
  const order = new StreamOrder({ sets: [[4]], batchSize: 2, seed: 1, buffer: 2 });
  let tries = 0;
  const read = () => ++tries === 1 ? Promise.reject(new Error("damaged")) : Promise.resolve([0, 1, 2, 3]);
  const rows = new RowStream([{ count: 4, read }], order);
  const first = order.indicesAt({ epoch: 0, batch: 0 });
  await rejects(use(rows, first), /damaged/);
  deepStrictEqual(await use(rows, first), first);
});
