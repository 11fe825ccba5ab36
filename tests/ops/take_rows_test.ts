import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { takeRows } from "../../lib/ops/take_rows.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";
import { assertClose } from "../support/close.ts";

for (
  const [B, S, D, start, count] of [[1, 1, 1, 0, 1], [2, 5, 7, 4, 1], [3, 4, 33, 1, 2], [
    2,
    6,
    64,
    0,
    6,
  ]] as const
) {
  Deno.test(`takeRows takes rows ${start} to ${start + count - 1} of ${S} and sends zero to the others, B=${B} D=${D}`, async () => {
    const x = randomValues(B * S * D, 1);
    const dOutput = randomValues(B * count * D, 2);
    const want: number[] = [];
    const dx = new Float32Array(x.length);
    for (let b = 0; b < B; b++) {
      const from = (b * S + start) * D;
      want.push(...x.slice(from, from + count * D));
      dx.set(dOutput.slice(b * count * D, (b + 1) * count * D), from);
    }
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [B, S, D] } },
      (r, t) => takeRows(r, t.x!, { start, count }),
      () => dOutput,
      0.5,
    );
    assert.deepEqual([...output], want);
    assertClose(grads.x!, dx, { label: "dx" });
  });
}

Deno.test("takeRows refuses rows that are not there", async () => {
  const r = new Recorder(await testGpu());
  const x = r.tensor([2, 3, 4], "x");
  for (
    const range of [{ start: -1, count: 1 }, { start: 0, count: 0 }, { start: 2, count: 2 }, {
      start: 0.5,
      count: 1,
    }]
  ) {
    assert.throws(() => takeRows(r, x, range), {
      name: "RangeError",
      message: /of "x" \[2,3,4\]: it has rows 0 to 2$/,
    });
  }
});
