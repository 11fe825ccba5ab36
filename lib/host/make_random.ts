/**
 * Random models on disk: folders that load, train and caption as the published ones of their shapes do, apart from what they say.
 *
 * @module
 */

import { planRandomModel } from "../export/random_model.ts";
import { formatJson, type JsonObject } from "../format/json.ts";
import { knownModel, type PresetName, PRESETS } from "../models/presets.ts";
import { makeFolder, writeFolderAtomically } from "./files.ts";
import { projectPath } from "./model_folders.ts";
import { refuseForeignFolder } from "./own_folder.ts";
import { startProgress } from "./progress.ts";

/** What to make. */
export interface MakeRandomOptions {
  preset: PresetName;
  /** Gets `encoder/` and `decoder/`. */
  outputDir: string;
  dtype: "f32" | "bf16" | "f16";
  seed: number;
}

/** In the `README.md` of every folder made here. */
const MARK = "made by `deno task make-random`";

const DTYPES = { f32: "F32", bf16: "BF16", f16: "F16" } as const;
const TORCH = { f32: "float32", bf16: "bfloat16", f16: "float16" };

/**
 * Writes both models; those of an earlier call are replaced.
 *
 * @returns their folders and sizes in bytes
 * @throws {UserError} If something else is in their place
 */
export async function makeRandomModels(
  options: MakeRandomOptions,
): Promise<{ path: string; model: string; bytes: number }[]> {
  const { preset, outputDir, dtype, seed } = options;
  const made: { path: string; model: string; bytes: number }[] = [];
  await makeFolder(outputDir);
  for (const part of ["encoder", "decoder"]) await refuseForeignFolder(`${outputDir}/${part}`, MARK);
  for (
    const [part, id] of [["encoder", PRESETS[preset].encoder], ["decoder", PRESETS[preset].decoder]] as const
  ) {
    const model = knownModel(id);
    const path = `${outputDir}/${part}`;
    const plan = planRandomModel(model, { dtype: DTYPES[dtype], seed });
    let bytes = 0;
    using progress = startProgress({ label: `write ${part}`, total: plan.specs.size });
    await writeFolderAtomically(path, async (folder) => {
      for (const [name, content] of plan.files()) {
        await folder.write(
          name,
          typeof content === "string" ? content : counted(content, (size) => {
            bytes += size;
          }, progress),
        );
      }
      // The end token is the tokenizer's: a random model takes any.
      const ends: JsonObject = part === "decoder" ? { bos_token_id: 0, eos_token_id: 0 } : {};
      await folder.write("config.json", formatJson({ ...model.config, ...ends, torch_dtype: TORCH[dtype] }));
      if (model.processor) await folder.write("preprocessor_config.json", formatJson(model.processor));
      for (const name of part === "decoder" ? ["tokenizer.json", "tokenizer_config.json"] : []) {
        await folder.write(name, await Deno.readFile(projectPath(`data/tiny/llama/${name}`)));
      }
      await folder.write(
        "README.md",
        `Random numbers in the shapes of ${id}, seed ${seed}, ${MARK}` +
          (part === "decoder" ? "; the tokenizer is the embedded one, whose ids fit any vocabulary" : "") +
          ".\n",
      );
    });
    made.push({ path, model: id, bytes });
  }
  return made;
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  count: (bytes: number) => void,
  progress: { update(done: number): void },
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const chunk of chunks) {
    count(chunk.length);
    progress.update(done++);
    yield chunk;
  }
}
