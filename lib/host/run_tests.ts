/**
 * Deno's test runner, run so that its result can be told in one line.
 *
 * @module
 */

/** How a run of the tests went. */
export interface TestCounts {
  /** Tests that passed. */
  readonly passed: number;
  /** Tests that failed, and one more for types that do not check or a runner that died. */
  readonly failed: number;
}

/**
 * Checks types, then runs tests whatever came of that, since a type error in one file must not hide the tests of others.
 * The output goes to stdout and stderr as it comes.
 *
 * @param paths Test files and folders.
 */
export async function runTests(
  paths: readonly string[],
  options: { filter?: string | undefined } = {},
): Promise<TestCounts> {
  const check = await new Deno.Command(Deno.execPath(), {
    args: ["check", "--quiet", ...paths],
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  const filter = options.filter === undefined ? [] : [`--filter=${options.filter}`];
  const tests = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...filter, ...paths],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const text = await passThrough(tests.stdout);
  const { success } = await tests.status;
  return countTests(text, { typesCheck: check.success, success });
}

/**
 * Reads Deno's summary, `ok | 12 passed (3 steps) | 0 failed | 1 ignored (3s)`, from the output of its test runner.
 *
 * @param output What the runner printed.
 * @param outcome `typesCheck`: whether the types are right; `success`: whether the runner's exit code was 0.
 */
export function countTests(output: string, outcome: { typesCheck: boolean; success: boolean }): TestCounts {
  // deno-lint-ignore no-control-regex
  const plain = output.replace(/\x1b\[[0-9;]*m/g, "");
  const summary = [...plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed.* \| (\d+) failed/gm)].at(-1);
  const passed = Number(summary?.[1] ?? 0);
  let failed = Number(summary?.[2] ?? 0);
  // The runner can fail without a failed test: it crashed, found nothing to run, or caught a stray error.
  if (failed === 0 && (!outcome.success || summary === undefined)) failed = 1;
  if (!outcome.typesCheck) failed++;
  return { passed, failed };
}

async function passThrough(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    for (let written = 0; written < chunk.length;) written += Deno.stdout.writeSync(chunk.subarray(written));
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}
