import assert from "node:assert/strict";
import {
  bootstrapIntervals,
  meanInterval,
  pairedBootstrap,
  pairedDifference,
} from "../../../lib/text/metrics/bootstrap.ts";
import { METRIC_NAMES, scoreCorpus } from "../../../lib/text/metrics/corpus.ts";
import { goldenImages } from "./golden.ts";

Deno.test("intervals hold the value, repeat with their seed, and narrow with their confidence", async () => {
  const { images, values } = await scoreCorpus(goldenImages);
  const wide = bootstrapIntervals(images, { samples: 300, seed: 3 });
  assert.deepEqual(wide, bootstrapIntervals(images, { samples: 300, seed: 3 }));
  assert.notDeepEqual(wide, bootstrapIntervals(images, { samples: 300, seed: 4 }));
  const narrow = bootstrapIntervals(images, { samples: 300, seed: 3, confidence: 0.5 });
  for (const name of METRIC_NAMES) {
    assert.ok(wide[name].low < values[name] && values[name] < wide[name].high, name);
    assert.ok(wide[name].low < narrow[name].low && narrow[name].high < wide[name].high, name);
  }
});

Deno.test("a bootstrap of one caption has no width", async () => {
  const { images, values } = await scoreCorpus(goldenImages.slice(0, 1));
  const { bleu_1, meteor } = bootstrapIntervals(images, { samples: 10 });
  assert.deepEqual(bleu_1, { low: values.bleu_1, high: values.bleu_1 });
  assert.deepEqual(meteor, { low: values.meteor, high: values.meteor });
  assert.throws(() => bootstrapIntervals([]), /there are none/);
});

Deno.test("a model that copies references is better beyond doubt, one that is the same is not", async () => {
  const before = await scoreCorpus(goldenImages);
  const copied = goldenImages.map((image) => ({ ...image, candidate: image.references[0]! }));
  const after = await scoreCorpus(copied);
  const differences = pairedBootstrap(before.images, after.images, { samples: 200 });
  for (const name of METRIC_NAMES) {
    const { difference, pValue, low, high } = differences[name];
    assert.ok(Math.abs(difference - (after.values[name] - before.values[name])) < 1e-9, name);
    assert.ok(low > 0 && low < difference && difference < high, name);
    assert.ok(pValue <= 0.01, name);
  }
  const same = pairedBootstrap(before.images, before.images, { samples: 50 });
  for (const name of METRIC_NAMES) assert.deepEqual([same[name].difference, same[name].pValue], [0, 1], name);
  assert.throws(() => pairedBootstrap(before.images, after.images.slice(1)), /same images/);
});

Deno.test("any scores are compared in pairs: what is better on every image is beyond doubt", () => {
  const before = Array.from({ length: 40 }, (_, i) => i % 7);
  const after = before.map((value, i) => value + 0.1 + (i % 2) / 10);
  const { difference, pValue, low, high } = pairedDifference(before, after, { samples: 200 });
  assert.ok(Math.abs(difference - 0.15) < 1e-12);
  assert.ok(0.1 < low && low < difference && difference < high && high < 0.2);
  assert.equal(pValue, 1 / 200);
  // The images' own spread, which is much wider, does not count.
  const alone = meanInterval(before, { samples: 200 });
  assert.ok(alone.high - alone.low > 5 * (high - low));
  assert.equal(pairedDifference(before, before, { samples: 50 }).pValue, 1);
  assert.throws(() => pairedDifference(before, after.slice(1)), /40 scores with 39/);
  assert.throws(() => pairedDifference([], []), /there are none/);
});
