/**
 * Captioning in a process of its own, so that its memory is that of one captioner. As a program it is that process: it takes the options as
 * its argument and prints what came of it.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { UserError } from "../base/errors.ts";
import { EXIT_CODES, runTask } from "./arguments.ts";
import { captionDataset, type CaptionDatasetOptions, type CaptionedDataset } from "./caption_dataset.ts";

/** What it has not heard of an interrupt by then it is told. */
const STOP_AFTER_MS = 5000;

/** What the process tells; the captions lie in the folder. */
type Told = Pick<CaptionedDataset, "failed" | "modelBytes" | "memory">;

/**
 * As {@linkcode captionDataset}, in another process.
 *
 * @throws {UserError} If the process fails; it has said why on stderr
 * @throws {DOMException} `AbortError` if it was interrupted
 */
export async function captionInProcess(options: CaptionDatasetOptions): Promise<CaptionedDataset> {
  const { signal, ...plain } = options;
  signal?.throwIfAborted();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", fileURLToPath(import.meta.url), JSON.stringify(plain)],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  // A Ctrl-C reaches all processes of a terminal, and a second signal would end this one in the middle of its batch.
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => timer = setTimeout(() => child.kill("SIGTERM"), STOP_AFTER_MS);
  signal?.addEventListener("abort", stop);
  const { code, stdout } = await child.output();
  clearTimeout(timer);
  signal?.removeEventListener("abort", stop);
  signal?.throwIfAborted();
  if (code !== 0) throw new UserError(`Cannot compare: "${options.model}" could not be run; see above`);
  const told: Told = JSON.parse(new TextDecoder().decode(stdout));
  return { ...await captionDataset({ ...options, failed: told.failed }), ...told };
}

if (import.meta.main) {
  await runTask(async ({ handleInterrupt }) => {
    const options: CaptionDatasetOptions = JSON.parse(Deno.args[0]!);
    const { failed, modelBytes, memory } = await captionDataset({ ...options, signal: handleInterrupt() });
    const told: Told = { failed, ...(modelBytes && { modelBytes }), ...(memory && { memory }) };
    console.log(JSON.stringify(told));
    return EXIT_CODES.ok;
  });
}
