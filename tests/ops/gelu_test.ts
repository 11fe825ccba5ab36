import { gelu } from "../../lib/ops/gelu.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

/** Error function by its Taylor series, whose terms of one sign do not cancel (Abramowitz & Stegun 7.1.6). */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18; n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

const forms = {
  erf: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  tanh: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  quick: (x: number) => x / (1 + Math.exp(-1.702 * x)),
} as const;

for (const form of ["erf", "tanh", "quick"] as const) {
  for (const shape of [[1], [3], [2, 128], [5, 51]]) {
    Deno.test(`gelu ${form} agrees with its reference and its numerical gradient at [${shape}]`, async () => {
      const size = shape.reduce((product, n) => product * n, 1);
      const x = randomValues(size, 1, 6);
      const dy = randomValues(size, 2);
      const { output, grads } = await forwardBackward(
        await testGpu(),
        { x: { data: x, shape } },
        (r, t) => gelu(r, t.x!, form),
        () => dy,
        0.5,
      );
      const f = (x: ArrayLike<number>): Float64Array => Float64Array.from(x, forms[form]);
      assertClose(output, f(x), { relative: 3e-7, absolute: 1e-6, label: "y" });
      const dX = numericalGradient(f, x, dy);
      assertClose(grads.x!, dX, { relative: 1e-6, absolute: 2e-6, label: "dX" });
    });
  }

  Deno.test(`gelu ${form} passes on the exact share of x, to 1.5e-7, everywhere`, async () => {
    const x = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 250).filter((value) => value !== 0);
    const { output } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [x.length] } },
      (r, t) => gelu(r, t.x!, form),
      (size) => new Float32Array(size),
    );
    const share = (values: ArrayLike<number>): Float64Array =>
      Float64Array.from(values, (value, i) => value / x[i]!);
    assertClose(share(output), share(Float64Array.from(x, forms[form])), {
      relative: 0,
      absolute: 1.5e-7,
      label: "y / x",
    });
  });

  Deno.test(`gelu ${form} and its gradient are finite and right at the ends of the range`, async () => {
    const x = Float32Array.of(-1e30, -1e4, -40, 0, 40, 1e4, 1e12);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [7] } },
      (r, t) => gelu(r, t.x!, form),
      (size) => new Float32Array(size).fill(1),
    );
    for (const [i, value] of x.entries()) {
      assertClose([output[i]!], [Math.max(value, 0)], {
        relative: 1e-7,
        // The logistic form still has -1e-28 at -40.
        absolute: form === "quick" ? 2e-28 : 0,
        label: `gelu(${value})`,
      });
      assertClose([grads.x![i]!], [value === 0 ? 0.5 : value > 0 ? 1 : 0], { label: `gelu'(${value})` });
    }
  });
}
