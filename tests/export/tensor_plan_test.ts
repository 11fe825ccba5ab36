import assert from "node:assert/strict";
import { decodeBf16, encodeBf16 } from "../../lib/base/half.ts";
import { foldBias } from "../../lib/export/fold_bias.ts";
import { placeImageToken } from "../../lib/export/image_token.ts";
import { addProduct } from "../../lib/export/merge_lora.ts";
import { TensorPlan } from "../../lib/export/tensor_plan.ts";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { openCheckpoint } from "../../lib/format/checkpoint.ts";
import { memorySource, openSafetensors, writeSafetensors } from "../../lib/format/safetensors.ts";
import { assertClose } from "../support/close.ts";
import { randomValues } from "../support/gpu.ts";
import { collectFiles } from "../support/collect_files.ts";

const f32 = (...values: number[]): Float32Array => Float32Array.from(values);

Deno.test("a plan is written in its own or another precision, whole or in shards that an index joins", async () => {
  const exact = randomValues(6, 1);
  const source = await openSafetensors(
    memorySource(
      "m",
      writeSafetensors(
        new Map([
          ["a", { dtype: "BF16", shape: [2, 3], data: encodeBf16(exact) }],
          ["b", { dtype: "F32", shape: [2], data: f32(1 / 3, 5) }],
          ["ids", { dtype: "I32", shape: [1], data: Int32Array.of(7) }],
        ]),
      ),
    ),
  );
  const make = (dtype: "keep" | "f32" | "f16" | "bf16"): TensorPlan => {
    const plan = new TensorPlan();
    for (const stored of source.tensors.keys()) plan.copy(`x.${stored}`, { source, stored, dtype });
    plan.addF32("y", { dtype: "F32", shape: [1] }, () => f32(2));
    return plan;
  };
  for (const maxShardBytes of [1e9, 13]) {
    const files = await collectFiles(make("keep").files(maxShardBytes));
    assert.deepEqual(
      [...files.keys()],
      maxShardBytes === 1e9 ? ["model.safetensors"] : [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
      ],
    );
    const read = await openCheckpoint(memoryFolder("out", files));
    assert.deepEqual([...read.tensors.keys()].sort(), ["x.a", "x.b", "x.ids", "y"]);
    assert.equal(read.tensors.get("x.a")!.dtype, "BF16");
    assert.deepEqual(await read.readF32("x.a"), decodeBf16(encodeBf16(exact)));
    assert.deepEqual(await read.readI32("x.ids"), Int32Array.of(7));
  }
  const halves = await openCheckpoint(memoryFolder("out", await collectFiles(make("f16").files())));
  assert.deepEqual([...halves.tensors.values()].map(({ dtype }) => dtype).sort(), [
    "F16",
    "F16",
    "F32",
    "I32",
  ]);
  assertClose(await halves.readF32("x.b"), [1 / 3, 5], { relative: 1e-4 });
  assert.throws(() => make("keep").copy("y", { source, stored: "a" }), /Cannot write "y" twice/);
  assert.throws(() => make("keep").copy("z", { source, stored: "c" }), /there is no tensor "c"/);
});

Deno.test("the product of a LoRA pair is added to a weight either way round", () => {
  const [N, K, R] = [5, 7, 3];
  const [w, a, b] = [randomValues(N * K, 1), randomValues(R * K, 2), randomValues(N * R, 3)];
  const want = Float64Array.from(w, (value, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    let sum = 0;
    for (let r = 0; r < R; r++) sum += b[n * R + r]! * a[r * K + k]!;
    return value + 2.5 * sum;
  });
  const shape = { a, b, inFeatures: K, outFeatures: N, rank: R, scale: 2.5 };
  const plain = w.slice();
  addProduct(plain, { ...shape, transposed: false });
  assertClose(plain, want, { relative: 1e-7 });
  const turned = Float32Array.from({ length: N * K }, (_, i) => w[(i % N) * K + Math.floor(i / N)]!);
  addProduct(turned, { ...shape, transposed: true });
  assertClose(
    turned,
    Float64Array.from({ length: N * K }, (_, i) => want[(i % N) * K + Math.floor(i / N)]!),
    {
      relative: 1e-7,
    },
  );
});

Deno.test("a bias is folded into the shift before a wide or square projection, and what cannot be says so", () => {
  for (const [out, width] of [[1, 1], [5, 5], [13, 40], [28, 33]] as const) {
    const [w, b] = [randomValues(out * width, 5), randomValues(out, 6)];
    const { shift, residual } = foldBias(w, b, [out, width]);
    assert.ok(residual < 1e-12, `${out} x ${width}: ${residual}`);
    const product = Float64Array.from(
      { length: out },
      (_, i) => shift.reduce((sum, value, k) => sum + w[i * width + k]! * value, 0),
    );
    assertClose(product, b, { relative: 1e-10, absolute: 0 });
  }
  assert.ok(
    foldBias(randomValues(40, 7), randomValues(8, 8), [8, 5]).residual > 0.1,
    "more rows than columns",
  );
  const twice = randomValues(10, 9);
  twice.copyWithin(5, 0, 5);
  assert.ok(foldBias(twice, f32(1, 2), [2, 5]).residual > 0.1, "two equal rows, two different numbers");
  assert.equal(foldBias(randomValues(10, 1), f32(0, 0), [2, 5]).residual, 0);
});

Deno.test("the image token takes a spare row, else a spare special token, else there is none", () => {
  const tokens = ["<s>", "</s>", "<unused>"];
  const json = JSON.stringify({
    added_tokens: tokens.map((content, id) => ({ id, content, special: true })),
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((text, id) => [text, id])) },
  });
  const spare = placeImageToken(json, { vocabSize: 8, tokenizerSize: 3, reserved: [0, 1] });
  assert.equal(spare.imageTokenId, 3);
  const { added_tokens } = JSON.parse(spare.tokenizerJson);
  assert.deepEqual([added_tokens.length, added_tokens[3].content, added_tokens[3].special], [
    4,
    "<image>",
    true,
  ]);
  const reused = placeImageToken(json, { vocabSize: 3, tokenizerSize: 3, reserved: [0, 1] });
  assert.equal(reused.imageTokenId, 2);
  assert.deepEqual(JSON.parse(reused.tokenizerJson).model.vocab, { "<s>": 0, "</s>": 1, "<image>": 2 });
  assert.deepEqual(
    placeImageToken(reused.tokenizerJson, { vocabSize: 3, tokenizerSize: 3, reserved: [0, 1] }),
    { tokenizerJson: reused.tokenizerJson, imageTokenId: 2 },
  );
  assert.throws(() => placeImageToken(json, { vocabSize: 3, tokenizerSize: 3, reserved: [0, 1, 2] }), {
    name: "RangeError",
    message: /no spare row, and the tokenizer no special token that is not in use/,
  });
});
