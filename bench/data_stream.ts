/**
 * One pass over a data set as training streams it, in a process of its own, whose memory is then told.
 *
 * @module
 */

import { BadRows } from "../lib/datasets/bad_rows.ts";
import { RowStream } from "../lib/datasets/row_stream.ts";
import { StreamOrder } from "../lib/datasets/stream_order.ts";
import { groupsOf, openDataset } from "../lib/host/datasets.ts";
import { freeImage } from "../lib/host/train_stream.ts";
import { peakResidentBytes } from "./measure.ts";

const [BATCH, BUFFER, AHEAD] = [32, 1000, 4];

const start = performance.now();
const set = await openDataset(Deno.args[0]!, { seed: 42, badRows: new BadRows(), streaming: true });
const groups = (await groupsOf(set)).filter(({ split }) => split === "train");
const sets = [groups.map(({ count }) => count)];
const order = new StreamOrder({ sets, batchSize: BATCH, seed: 42, buffer: BUFFER });
const stream = new RowStream(groups, order, { discard: freeImage });
const ahead: ReturnType<typeof stream.take>[] = [];
let rows = 0;
for (let batch = 0; batch < order.batchesPerEpoch; batch++) {
  ahead.push(stream.take(order.indicesAt({ epoch: 0, batch })));
  if (ahead.length > AHEAD) await use(ahead.shift()!);
}
for (const last of ahead) await use(last);

async function use(batch: ReturnType<typeof stream.take>): Promise<void> {
  using taken = await batch;
  rows += taken.rows.length;
}

console.log(JSON.stringify({ rows, wallMs: performance.now() - start, peakBytes: peakResidentBytes() }));
