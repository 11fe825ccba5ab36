/**
 * Captioners written in other forms, each proven before it gets its name: it is loaded again and must caption as the original does.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import {
  planDecoderFolder,
  planIdefics3Folder,
  planLlavaFolder,
  type PlannedFolder,
  planPythonFolder,
} from "../export/merged_captioner.ts";
import type { WrittenDtype } from "../export/tensor_plan.ts";
import { type Form, writtenReadme } from "../export/written_readme.ts";
import { formatCaptionerConfig } from "../models/captioner_config.ts";
import { encodeTrained } from "../models/captioner_files.ts";
import { type CaptionerSource, openCaptionerSource } from "../models/captioner_source.ts";
import { DECODER_PREFIX } from "../models/lora.ts";
import type { Gpu } from "../gpu/device.ts";
import { Captioner } from "./captioner.ts";
import { makeFolder, openFileFolder, writeFolderAtomically } from "./files.ts";
import { openModelFolder, resolveModelFolder } from "./model_folders.ts";
import { refuseForeignFolder } from "./own_folder.ts";

/** What to write. */
export interface WriteCaptionerOptions {
  /** Run folder, Python project's folder, merged folder, or embedded name. */
  model: string;
  /** Gets a folder for every form. */
  outputDir: string;
  forms: readonly Form[];
  /** Precision of weights. */
  dtype: WrittenDtype;
  /** Encoded images that both must caption alike; none skips the proof. */
  images: readonly Uint8Array[];
  /** Write it although some captions differ. */
  allowDifferences: boolean;
  /** Used for the proof; it stays the caller's. */
  gpu: Gpu;
  onProgress(what: string): void;
}

/** What became of a form. */
export interface WrittenForm {
  form: Form;
  /** Where it is; `undefined` where the form cannot hold this captioner. */
  path: string | undefined;
  /** Why it cannot. */
  reason?: string;
  bytes: number;
  /** Captions with the same tokens, of how many. */
  same: number;
  images: number;
}

const PLANS: Record<Form, (captioner: CaptionerSource, options: { dtype: WrittenDtype }) => PlannedFolder> = {
  decoder: planDecoderFolder,
  llava: planLlavaFolder,
  idefics3: planIdefics3Folder,
  distilvit: planPythonFolder,
};

/**
 * Writes each form to `outputDir/form`, which is replaced where an earlier call wrote it. A form whose conditions do not hold is reported; when it was the only one asked for, that is
 * an error.
 *
 * @throws {UserError} When captions differ, unless that was allowed: nothing of the form is left
 * @throws {UserError} When something else has the name of a form's folder
 */
export async function writeCaptioner(options: WriteCaptionerOptions): Promise<WrittenForm[]> {
  const { forms, images, gpu } = options;
  const folder = await openFileFolder(await resolveModelFolder(options.model));
  const captioner = await openCaptionerSource(folder, openModelFolder);
  const wanted = images.length === 0 ? [] : await captionIds(folder.name, { gpu, images });
  const results: WrittenForm[] = [];
  for (const form of forms) {
    let planned: PlannedFolder;
    try {
      planned = PLANS[form](captioner, options);
    } catch (error) {
      if (!(error instanceof RangeError) || forms.length === 1) throw error;
      results.push({ form, path: undefined, reason: error.message, bytes: 0, same: 0, images: 0 });
      continue;
    }
    results.push(await writeForm(form, planned, { ...options, captioner, wanted }));
  }
  return results;
}

async function writeForm(
  form: Form,
  { plan, texts, notes }: PlannedFolder,
  options: WriteCaptionerOptions & { captioner: CaptionerSource; wanted: readonly string[] },
): Promise<WrittenForm> {
  const { captioner, wanted, images, gpu } = options;
  const path = `${options.outputDir}/${form}`;
  const readme = writtenReadme(form, captioner, notes);
  const contents = new Map([...plan.files(), ...texts, ["README.md", readme] as const]);
  let [bytes, same] = [0, 0];
  await makeFolder(options.outputDir);
  const title = /^# .+$/m.exec(readme)![0];
  await refuseForeignFolder(path, title);
  await writeFolderAtomically(path, async (folder) => {
    for (const [name, content] of contents) {
      options.onProgress(`write ${form}/${name}`);
      await folder.write(name, content);
      bytes += (await Deno.stat(`${folder.path}/${name}`)).size;
    }
    if (wanted.length === 0) return;
    options.onProgress(`caption with ${form}`);
    const proof = form === "decoder" ? await captionerAround(folder.path, captioner) : folder.path;
    const found = await captionIds(proof, { gpu, images }).finally(async () => {
      if (proof !== folder.path) await Deno.remove(proof, { recursive: true });
    });
    same = found.filter((ids, i) => ids === wanted[i]).length;
    if (same < wanted.length && !options.allowDifferences) {
      throw new UserError(
        `Cannot write "${path}": ${
          wanted.length - same
        } of ${wanted.length} captions have other tokens than the captioner's ` +
          "own, as weights were rounded after the merge; use --dtype f32, or --allow-differences",
      );
    }
  });
  return { form, path, bytes, same, images: wanted.length };
}

/** Token ids of every image's greedy caption. */
async function captionIds(
  model: string,
  { gpu, images }: { gpu: Gpu; images: readonly Uint8Array[] },
): Promise<string[]> {
  using captioner = await Captioner.load(model, { gpu });
  const captions = await captioner.captionAll(images, { numBeams: 1, confidence: false });
  return captions.map(({ ids }) => ids.join());
}

/** A temporary folder with a captioner that stands on the merged decoder. */
async function captionerAround(
  decoder: string,
  { settings, trained, texts }: CaptionerSource,
): Promise<string> {
  const path = await Deno.makeTempDir({ prefix: "merged-" });
  const merged = {
    ...settings,
    decoder: { reference: await Deno.realPath(decoder) },
    lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] },
  };
  const kept = new Map([...trained].filter(([name]) => !name.startsWith(DECODER_PREFIX)));
  for (const [name, bytes] of encodeTrained(kept, merged)) await Deno.writeFile(`${path}/${name}`, bytes);
  for (const [name, text] of texts) await Deno.writeTextFile(`${path}/${name}`, text);
  await Deno.writeTextFile(`${path}/config.json`, formatCaptionerConfig(merged));
  return path;
}
