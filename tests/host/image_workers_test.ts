import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { decodeImage } from "../../lib/host/decode.ts";
import { ImageWorkers } from "../../lib/host/image_workers.ts";
import { parseProcessorConfig, preprocess } from "../../lib/image/processor.ts";

const config = parseProcessorConfig({
  image_processor_type: "SiglipImageProcessor",
  size: { height: 14, width: 18 },
});
const pathOf = (index: number) =>
  fileURLToPath(new URL(`../../data/sample/test/${String(index).padStart(4, "0")}.png`, import.meta.url));

Deno.test("workers give, in order, what the main thread computes", async () => {
  using workers = new ImageWorkers({ config, workerCount: 2, ahead: 3 });
  const inputs = [pathOf(0), await Deno.readFile(pathOf(1)), ...[2, 3, 4, 5, 6].map(pathOf)];
  let next = 0;
  for await (const { index, image } of workers.map(inputs)) {
    assert.equal(index, next++);
    const bytes = await Deno.readFile(pathOf(index));
    assert.deepEqual(image?.pixelValues, preprocess(await decodeImage(bytes), config));
    assert.equal(image?.sha256, createHash("sha256").update(bytes).digest("hex"));
  }
  assert.equal(next, inputs.length);
});

Deno.test("a bad image carries its error and the others go on", async () => {
  using workers = new ImageWorkers({ config, workerCount: 2 });
  const whole = await Deno.readFile(pathOf(0));
  const inputs = [
    pathOf(0),
    new Uint8Array(0),
    whole.subarray(0, whole.length >> 1),
    new TextEncoder().encode("text called picture.png"),
    "no/such/picture.png",
    pathOf(1),
  ];
  const outcomes = await Array.fromAsync(workers.map(inputs));
  assert.deepEqual(outcomes.map(({ image }) => image !== undefined), [
    true,
    false,
    false,
    false,
    false,
    true,
  ]);
  assert.match(outcomes[1]?.error ?? "", /empty/);
  assert.match(outcomes[2]?.error ?? "", /Cannot decode png image/);
  assert.match(outcomes[3]?.error ?? "", /unknown content/);
  assert.match(outcomes[4]?.error ?? "", /does not exist/);
  assert.equal(whole.length > 0, true, "the caller keeps its bytes");
});

Deno.test("images are read no further ahead than allowed", async () => {
  using workers = new ImageWorkers({ config, workerCount: 1, ahead: 2 });
  let asked = 0;
  function* inputs() {
    for (let i = 0; i < 20; i++) {
      asked++;
      yield pathOf(i);
    }
  }
  const outcomes = workers.map(inputs());
  await outcomes.next();
  assert.equal(asked, 2);
  await outcomes.next();
  assert.equal(asked, 3);
  await outcomes.return(undefined);
});

Deno.test("a closed pool refuses work and fails what was under way", async () => {
  const workers = new ImageWorkers({ config, workerCount: 1 });
  const pending = assert.rejects(workers.prepare(pathOf(0)), /closed/);
  workers.close();
  workers.close();
  await pending;
  await assert.rejects(workers.prepare(pathOf(0)), /closed/);
  await assert.rejects(Array.fromAsync(workers.map([pathOf(0)])), /closed/);
});

Deno.test("impossible counts are refused", () => {
  assert.throws(() => new ImageWorkers({ config, workerCount: 0 }), RangeError);
  assert.throws(() => new ImageWorkers({ config, workerCount: 1, ahead: 0.5 }), RangeError);
});
