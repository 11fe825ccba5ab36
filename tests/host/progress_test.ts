import assert from "node:assert/strict";
import { startProgress } from "../../lib/host/progress.ts";

function record(options: { quiet?: boolean } = {}) {
  const written: string[] = [];
  let timeMs = 1000;
  const progress = startProgress({
    label: "train",
    total: 40,
    isTerminal: false,
    lineIntervalMs: 5000,
    write: (text) => written.push(text),
    nowMs: () => timeMs,
    ...options,
  });
  return { written, progress, wait: (ms: number) => timeMs += ms };
}

Deno.test("without a terminal a line is shown at most once in the interval, and the last state at the end", () => {
  const { written, progress, wait } = record();
  for (let step = 1; step <= 30; step++) {
    wait(1000);
    progress.update(step, { loss: (1 / step).toFixed(2) });
  }
  assert.equal(written.length, 6);
  assert.equal(written[0], "train 5/40 loss 0.20 · left 35 s\n");
  progress.update(40, { loss: "0.01" });
  progress.stop();
  progress.stop();
  assert.deepEqual(written.slice(6), ["train 40/40 loss 0.01\n"]);
});

Deno.test("log shows lines at once, also when quiet", () => {
  for (const quiet of [false, true]) {
    const { written, progress, wait } = record({ quiet });
    progress.update(1);
    progress.log("saved checkpoint-1");
    assert.deepEqual(written, ["saved checkpoint-1\n"]);
    wait(6000);
    progress.update(2);
    assert.equal(written.length, quiet ? 1 : 2);
    progress.stop();
    assert.equal(written.length, quiet ? 1 : 2);
  }
});

Deno.test("nothing is written with escape codes when stderr is a pipe", async () => {
  const module = new URL("../../lib/host/progress.ts", import.meta.url).href;
  const script = `import { startProgress } from ${JSON.stringify(module)};
    using progress = startProgress({ label: "count", total: 3, lineIntervalMs: 0 });
    for (let i = 1; i <= 3; i++) progress.update(i, { at: String(i) });`;
  const { stderr, success } = await new Deno.Command(Deno.execPath(), { args: ["eval", script] }).output();
  const text = new TextDecoder().decode(stderr);
  assert.ok(success, text);
  assert.match(text, /^count 1\/3 at 1 · left .*\ncount 2\/3 at 2 · left .*\ncount 3\/3 at 3\n$/);
});

Deno.test("a bar on a terminal shows tokens, lets lines through and leaves the cursor as it was", async () => {
  let screen = "";
  const progress = startProgress({
    label: "train",
    total: 4,
    isTerminal: true,
    write: (text) => screen += text,
  });
  progress.update(1, { loss: "2.50" });
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.match(screen, /train █{6}░{18} 1\/4 loss 2\.50 · left /);
  progress.log("saved checkpoint-1");
  assert.ok(screen.endsWith("\x1b[2Ksaved checkpoint-1\n"));
  progress.update(4);
  progress.stop();
  progress.stop();
  assert.match(screen, /train █{24} 4\/4 /);
  assert.ok(screen.includes("\x1b[?25l") && screen.lastIndexOf("\x1b[?25h") > screen.indexOf("\x1b[?25l"));
  assert.ok(!screen.includes("\x1b7") && !screen.includes("\x1b8"));
  assert.ok(screen.endsWith("\n"));
});

Deno.test("bytes are shown as sizes, in lines and in the bar", () => {
  for (const isTerminal of [false, true]) {
    let shown = "";
    const progress = startProgress({
      label: "download",
      total: 2_500_000,
      unit: "bytes",
      isTerminal,
      write: (text) => shown += text,
      nowMs: () => 0,
    });
    progress.update(1_200_000);
    progress.stop();
    assert.match(shown, isTerminal ? /1\.2 MB\/2\.5 MB/ : /^download 1\.2 MB\/2\.5 MB/);
  }
});
