/**
 * The flags that `merge` and `convert` share, and what both print.
 *
 * @module
 */

import type { Form } from "../export/written_readme.ts";
import { openGpu } from "../gpu/device.ts";
import { createCommand, Option, parseInteger } from "./arguments.ts";
import { EMBEDDED_CAPTIONER } from "./model_folders.ts";
import { readProofImages } from "./proof_images.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";
import { findNewestCaptioner } from "./run_folder.ts";
import { formatBytes, formatTable } from "./terminal.ts";
import { writeCaptioner, type WrittenForm } from "./write_captioner.ts";

/** What tells the two commands apart. */
export interface WriteCommand {
  name: string;
  description: string;
  /** Name of the option that picks forms. */
  flag: string;
  forms: readonly Form[];
  /** Forms without the option. */
  defaults: readonly Form[];
}

/** Parses the command line, writes, and prints. */
export async function runWriteCommand(command: WriteCommand, args: readonly string[]): Promise<void> {
  const parser = createCommand(command.name, command.description)
    .option(
      "--model-dir <dir>",
      "captioner: run folder, Python project's folder, or embedded:captioner (default: newest run)",
    )
    .option("--save-dir <dir>", "where runs are looked for", "runs")
    .requiredOption("--output-dir <dir>", "gets a folder for every form")
    .addOption(
      new Option("--dtype <type>", "precision of weights; keep is each tensor's own")
        .choices(["keep", "f32", "f16", "bf16"] as const).default("keep" as const),
    )
    .option("--images <paths...>", "images that both must caption alike (default: some of the embedded ones)")
    .option("--check <count>", "images compared; 0 skips the proof", parseInteger({ min: 0 }), 8)
    .option("--allow-differences", "write it although some captions differ", false)
    .option("--json", "print one JSON object", false);
  // Apart, as the flag's name is not known to the types.
  parser.addOption(
    new Option(`${command.flag} <form...>`, "forms to write").choices(command.forms).default(
      command.defaults,
    ),
  );
  const options = parser.parse(args as string[], { from: "user" }).opts();
  const model = options.modelDir ?? await findNewestCaptioner(options.saveDir) ?? EMBEDDED_CAPTIONER;
  const forms = (options as Record<string, unknown>)[command.flag.slice(2)] as Form[];
  const images = (await readProofImages(options)).map(({ bytes }) => bytes);
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const written = await writeCaptioner({
    ...options,
    model,
    forms,
    gpu,
    images,
    onProgress: (what) => console.error(what),
  });
  gpu.destroy();
  console.log(options.json ? JSON.stringify({ model, written }) : describe(written));
}

function describe(written: readonly WrittenForm[]): string {
  const rows = written.map(({ form, path, reason, bytes, same, images }) =>
    path === undefined
      ? [form, "not possible", "", reason!]
      : [form, formatBytes(bytes), images === 0 ? "not compared" : `${same} of ${images} the same`, path]
  );
  return formatTable(rows, { header: ["form", "size", "captions", ""] });
}
