import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { learningRatesAt, rateFactor } from "../../lib/train/schedule.ts";

Deno.test("learning rates are those of PyTorch's trajectory", () => {
  // case.json of the golden case siglip-llama: [projection, lora] of each optimizer step.
  const wanted = [
    [0, 0],
    [0.0015, 0.0005],
    [0.003, 0.001],
    [0.002560660171779821, 0.0008535533905932737],
    [0.0015, 0.0005],
    [0.0004393398282201788, 0.00014644660940672628],
  ];
  const options = { warmupSteps: 2, totalSteps: 6, peaks: { projection: 0.003, lora: 0.001 } };
  wanted.forEach(([projection, lora], i) => {
    const rates = learningRatesAt(i + 1, options);
    ok(Math.abs(rates.projection - projection!) < 1e-15, `projection of step ${i + 1}: ${rates.projection}`);
    ok(Math.abs(rates.lora - lora!) < 1e-15, `lora of step ${i + 1}: ${rates.lora}`);
    ok(Math.abs(rates.vision - lora! / 10) < 1e-15, `vision of step ${i + 1}: ${rates.vision}`);
  });
});

Deno.test("without warm-up the first step has the whole rate, and the rate never rises again", () => {
  const factors = Array.from({ length: 12 }, (_, i) => rateFactor(i + 1, { warmupSteps: 0, totalSteps: 9 }));
  strictEqual(factors[0], 1);
  factors.slice(1).forEach((factor, i) => ok(factor <= factors[i]!));
  deepStrictEqual(factors.slice(9), [0, 0, 0]);
});

Deno.test("a warm-up longer than the training only grows", () => {
  strictEqual(rateFactor(5, { warmupSteps: 200, totalSteps: 10 }), 4 / 200);
});

Deno.test("a step that is none is refused", () => {
  throws(() => rateFactor(0, { warmupSteps: 0, totalSteps: 9 }), RangeError);
  throws(() => rateFactor(1.5, { warmupSteps: 0, totalSteps: 9 }), RangeError);
});
