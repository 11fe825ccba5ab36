import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { tensorFrom } from "../../lib/gpu/tensor.ts";
import { addRows } from "../../lib/ops/add_rows.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, runOnce, testGpu } from "../support/gpu.ts";

type Sizes = { B: number; S: number; D: number; R: number; firstRow: number };

const reference = (x: ArrayLike<number>, table: ArrayLike<number>, { S, D, firstRow }: Sizes): Float64Array =>
  Float64Array.from(x, (value, i) => value + table[firstRow * D + i % (S * D)]!);

for (
  const [B, S, D, R, firstRow] of [[1, 1, 1, 1, 0], [2, 3, 5, 3, 0], [3, 4, 8, 4, 0], [
    3,
    5,
    7,
    9,
    2,
  ]] as const
) {
  const sizes = { B, S, D, R, firstRow };
  Deno.test(`addRows agrees with its reference and sums the table's gradient at ${JSON.stringify(sizes)}`, async () => {
    const x = randomValues(B * S * D, 1);
    const table = randomValues(R * D, 2);
    const dy = randomValues(B * S * D, 3);
    for (const startGrad of [0, 0.5]) {
      const { output, grads } = await forwardBackward(
        await testGpu(),
        { x: { data: x, shape: [B, S, D] }, table: { data: table, shape: [R, D] } },
        (r, t) => addRows(r, t.x!, t.table!, { firstRow }),
        () => dy,
        startGrad,
      );
      assertClose(output, reference(x, table, sizes), { label: "y" });
      assertClose(grads.x!, dy, { label: "dX" });
      const dTable = new Float64Array(R * D);
      for (const [i, d] of dy.entries()) dTable[firstRow * D + i % (S * D)]! += d;
      assertClose(grads.table!, dTable, { label: "dTable" });
    }
  });
}

Deno.test("the gradient of a computed table is written whole, zero where no row was used", async () => {
  const [B, S, D, R, firstRow] = [2, 2, 3, 5, 1];
  const gpu = await testGpu();
  const dy = randomValues(B * S * D, 3);
  const { grads } = await forwardBackward(
    gpu,
    { table: { data: randomValues(R * D, 2), shape: [1, R, D] } },
    (r, t) => {
      const zeros = tensorFrom(gpu, new Float32Array(R * D), { shape: [R, D] });
      const computed = addRows(r, t.table!, zeros).reshape(R, D);
      return addRows(r, tensorFrom(gpu, randomValues(B * S * D, 1), { shape: [B, S, D] }), computed, {
        firstRow,
      });
    },
    () => dy,
  );
  const want = new Float64Array(R * D);
  for (const [i, d] of dy.entries()) want[firstRow * D + i % (S * D)]! += d;
  assertClose(grads.table!, want);
});

Deno.test("addRows unpacks bf16 and f16 tables exactly, also of odd sizes", async () => {
  const gpu = await testGpu();
  const [B, S, D] = [2, 3, 3];
  const x = new Float32Array(B * S * D);
  const shape = [S, D];
  // 1, -2, 0.5, 1.5, -0.25, 3, 2^-20 (a subnormal f16), -1.0078125 (f16: -1.0009765625), 0
  const tables = {
    bf16: [0x3f80, 0xc000, 0x3f00, 0x3fc0, 0xbe80, 0x4040, 0x3580, 0xbf81, 0],
    f16: [0x3c00, 0xc000, 0x3800, 0x3e00, 0xb400, 0x4200, 0x0010, 0xbc01, 0],
  } as const;
  for (const dtype of ["bf16", "f16"] as const) {
    const values = [1, -2, 0.5, 1.5, -0.25, 3, 2 ** -20, dtype === "bf16" ? -1.0078125 : -1.0009765625, 0];
    const table = tensorFrom(gpu, Uint16Array.from(tables[dtype]), { shape, dtype });
    const { y } = await runOnce(gpu, (r) => ({
      y: addRows(r, tensorFrom(gpu, x, { shape: [B, S, D] }), table),
    }));
    assert.deepEqual([...y], [...values, ...values], dtype);
  }
});

Deno.test("addRows refuses tables of another width, too few rows, and other types", async () => {
  const r = new Recorder(await testGpu());
  const x = r.tensor([2, 3, 4], "x");
  assert.throws(() => addRows(r, x, r.tensor([3, 5], "table")), TypeError);
  assert.throws(() => addRows(r, x, r.tensor([3, 4], "table", "u32")), TypeError);
  assert.throws(() => addRows(r, x.reshape(6, 4), r.tensor([6, 4], "table")), TypeError);
  assert.throws(() => addRows(r, x, r.tensor([4, 4], "table"), { firstRow: 2 }), {
    name: "RangeError",
    message:
      'Cannot add rows of "table" [4,4] to "x" [2,3,4]: rows 2 to 4 are wanted, it has 4; use shorter inputs',
  });
});
