/** The embedded captioner behind HTTP: many at once get their own captions, whatever the others send. */
import assert from "node:assert/strict";
import { projectPath } from "../../lib/host/model_folders.ts";
import { startServer } from "../../lib/host/serve.ts";

const read = (i: number): Promise<Uint8Array<ArrayBuffer>> =>
  Deno.readFile(projectPath(`data/sample/test/000${i}.png`));

Deno.test("images sent together are captioned as alone, bad ones in between, and the end waits for them", async () => {
  const end = new AbortController();
  const options = {
    model: "embedded:captioner",
    host: "127.0.0.1",
    port: 0,
    maxBatch: 4,
    maxWaitMs: 200,
    maxQueue: 64,
    maxBodyMb: 1,
    maxImages: 8,
    timeout: 120,
    allowUrl: false,
    quiet: true,
  };
  const { url, finished } = await startServer(options, end.signal);
  await assert.rejects(startServer({ ...options, port: Number(new URL(url).port) }, end.signal), {
    name: "UserError",
    message: /^Cannot serve at 127\.0\.0\.1, port \d+: .*; give others with --host and --port$/,
  });
  const ask = async (body: Uint8Array<ArrayBuffer>): Promise<{ status: number; caption?: string }> => {
    const response = await fetch(`${url}api/caption`, {
      method: "POST",
      body,
      headers: { "content-type": "image/png" },
    });
    return { status: response.status, ...await response.json() };
  };
  const images = await Promise.all([0, 1, 2, 3, 4].map(read));
  const alone: (string | undefined)[] = [];
  for (const image of images) alone.push((await ask(image)).caption);
  assert.equal(alone[0], "Four red buses in the snow.");
  const broken = images[0]!.slice(0, 200);
  const together = await Promise.all([...images, broken, ...images, broken].map(ask));
  assert.deepEqual(together.map(({ caption }) => caption), [...alone, undefined, ...alone, undefined]);
  assert.deepEqual([together[5]!.status, together[11]!.status], [422, 422]);
  const last = ask(images[1]!);
  // Ended once the image waits for others.
  while (!/^captioner_queue_depth 1$/m.test(await (await fetch(`${url}metrics`)).text()));
  end.abort();
  assert.equal((await last).caption, alone[1]);
  await finished;
  await assert.rejects(fetch(`${url}healthz`));
});
