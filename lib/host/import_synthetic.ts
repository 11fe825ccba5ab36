/**
 * Generated pictures taken into a data set: each with the caption that its prompt came from, if it shows what that says.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { readObjects } from "../datasets/captions.ts";
import { type BadRow, BadRows } from "../datasets/bad_rows.ts";
import { SYNTHETIC } from "../datasets/image_folder.ts";
import { cosine, siglipScore } from "../evaluate/similarity.ts";
import { isJsonObject } from "../format/json.ts";
import type { Gpu } from "../gpu/device.ts";
import { identifyImage } from "../image/decode.ts";
import { preprocess } from "../image/processor.ts";
import { findProtectedTerms } from "../quality/protected_terms.ts";
import { normalizeCaption } from "../text/normalize.ts";
import { ClipScorer } from "./clip_scorer.ts";
import { decodeImage } from "./decode.ts";
import { readBounded } from "./file_source.ts";
import { filesBelow, writeFolderAtomically } from "./files.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { refuseForeignFolder } from "./own_folder.ts";
import { startProgress } from "./progress.ts";

/** Options of {@linkcode importSynthetic}. */
export interface ImportSyntheticOptions {
  /** Folder of pictures; those in folders below it count. */
  dir: string;
  /** File of prompts. @default the one `.jsonl` file of the folder that has prompts */
  prompts?: string | undefined;
  /** CLIP or SigLIP that looks at the pictures: folder, Hub id or `embedded:siglip`. */
  model: string;
  /** Least cosine of picture and caption. @default {no limit} */
  minScore?: number | undefined;
  /** Share of the other captions that must suit a picture less than its own, in [0, 1]. */
  minRank: number;
  /** Folder that is made. */
  outputDir: string;
  /** Share of pictures that may be unusable. */
  maxBadRows: number;
  /** Ends it. */
  signal?: AbortSignal | undefined;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** What an import came to. */
export interface ImportResult {
  /** The folder. */
  readonly path: string;
  /** Pictures in it. */
  readonly imported: number;
  /** Prompts that no picture was found for. */
  readonly promptsWithoutImage: number;
  /** Pictures whose name leads to no prompt. */
  readonly unmatched: readonly string[];
  /** Pictures that do not show what their caption says, with their scores. */
  readonly dropped: readonly { readonly image: string; readonly score: number; readonly rank: number }[];
  /** Pictures that are another's copies. */
  readonly duplicates: readonly string[];
  /** Pictures that cannot be read. */
  readonly badRows: readonly BadRow[];
  /** Mean cosine of those that were imported. */
  readonly meanScore: number;
}

/** A prompt as its file has it. */
interface Prompt {
  readonly id: string;
  readonly prompt: string;
  readonly caption: string;
  readonly objects: readonly string[];
  readonly seed?: number;
}

/** What the README of such a folder says, by which it is known as one that may be replaced. */
const MARK = "Imported by `deno task import-synthetic`";
const MAX_PROMPT_BYTES = 512e6;
const BATCH = 16;
/** Other captions that a picture is held against; more would say the same. */
const MAX_RIVALS = 1000;

/** Imports a folder of pictures. @throws {UserError} If there are no prompts, no pictures, or none that can be used */
export async function importSynthetic(gpu: Gpu, options: ImportSyntheticOptions): Promise<ImportResult> {
  const { dir, model, outputDir, signal, quiet = false } = options;
  await refuseForeignFolder(outputDir, MARK);
  const names = (await filesBelow(dir)).map(({ path }) => path).sort();
  if (names.length === 0) {
    throw new UserError(`Cannot import "${dir}": there is no such folder, or nothing in it`);
  }
  const prompts = await readPrompts(options, names);
  const { matched, unmatched } = matchImages(
    names.filter((name) => /\.(?:png|jpe?g|webp|avif|gif|bmp|tiff?)$/i.test(name)),
    prompts,
  );
  if (matched.length === 0) {
    throw new UserError(
      `Cannot import "${dir}": none of its ${unmatched.length} pictures is named by the id or the seed of a prompt, as p00001.png is`,
    );
  }
  const badRows = new BadRows({ maxFraction: options.maxBadRows });
  const scorer = await ClipScorer.open(gpu, { model, batchSize: BATCH });
  using progress = startProgress({ label: "screen", total: matched.length, quiet });
  const [seen, lines, dropped, duplicates] = [
    new Set<string>(),
    [] as string[],
    [] as ImportResult["dropped"][number][],
    [] as string[],
  ];
  let sum = 0;
  try {
    const captions = [...new Set(prompts.map(({ caption }) => caption))];
    const embedded = new Map<string, Float32Array>();
    for (const [i, vector] of (await scorer.embedTexts(captions)).entries()) {
      embedded.set(captions[i]!, vector);
    }
    await writeFolderAtomically(outputDir, async (folder) => {
      for (let start = 0; start < matched.length; start += BATCH) {
        signal?.throwIfAborted();
        const read = await readImages(dir, matched.slice(start, start + BATCH), { badRows, scorer });
        const vectors = await scorer.embedImages(read.map(({ pixels }) => pixels));
        for (const [i, { image, bytes, prompt, format }] of read.entries()) {
          const sha256 = await sha256Hex(bytes);
          if (seen.has(sha256)) {
            duplicates.push(image);
            continue;
          }
          seen.add(sha256);
          const score = cosine(vectors[i]!, embedded.get(prompt.caption)!);
          const rank = rankOf(score, vectors[i]!, rivalsOf(prompt, captions, embedded));
          if (rank < options.minRank || score < (options.minScore ?? -Infinity)) {
            dropped.push({ image, score, rank });
            continue;
          }
          sum += score;
          const name = `${String(lines.length).padStart(6, "0")}.${format === "jpeg" ? "jpg" : format}`;
          await folder.write(`train/${name}`, bytes);
          lines.push(
            `${
              JSON.stringify({
                file_name: name,
                alt_text: prompt.caption,
                objects: prompt.objects,
                source: SYNTHETIC,
                source_id: prompt.id,
                prompt: prompt.prompt,
                ...(prompt.seed !== undefined && { seed: prompt.seed }),
                score,
                ...(scorer.model.config.family === "siglip" && {
                  siglip_score: siglipScore(score, scorer.model),
                }),
              })
            }\n`,
          );
        }
        progress.update(start + read.length);
      }
      badRows.check(matched.length);
      if (lines.length === 0) {
        throw new UserError(
          `Cannot import "${dir}": none of ${matched.length} pictures shows what its caption says (--min-score, --min-rank)`,
        );
      }
      await folder.write("train/metadata.jsonl", lines.join(""));
      await folder.write("README.md", describe(options));
    });
  } finally {
    scorer.destroy();
  }
  const used = new Set(matched.map(({ prompt }) => prompt.id));
  return {
    path: outputDir,
    imported: lines.length,
    promptsWithoutImage: prompts.filter(({ id }) => !used.has(id)).length,
    unmatched,
    dropped,
    duplicates,
    badRows: badRows.rows,
    meanScore: sum / lines.length,
  };
}

function describe({ model, minScore, minRank }: ImportSyntheticOptions): string {
  const least = minScore === undefined ? "" : `a cosine of at least ${minScore} and `;
  return `# Synthetic pictures\n\n${MARK}: made by an image model from prompts, screened by ${model}: ${least}` +
    `a caption that suits better than ${
      minRank * 100
    } % of the others.\n\nColumns: \`alt_text\`, \`objects\`, ` +
    "`source` (always `synthetic`: such rows are trained on and never validated or tested with), `source_id` (the prompt), " +
    "`prompt`, `seed`, `score` (cosine of picture and caption).\n";
}

async function readPrompts(
  { dir, prompts: path }: ImportSyntheticOptions,
  names: readonly string[],
): Promise<Prompt[]> {
  if (path !== undefined) return parsePrompts(path, await readText(path));
  const found: Prompt[][] = [];
  for (const name of names.filter((name) => name.endsWith(".jsonl"))) {
    const text = await readText(`${dir}/${name}`);
    if (/"prompt"\s*:/.test(text.slice(0, 100_000)) && !/"custom_id"\s*:/.test(text.slice(0, 1000))) {
      found.push(parsePrompts(`${dir}/${name}`, text));
    }
  }
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  throw new UserError(
    `Cannot import "${dir}": ${
      found.length === 0 ? "no file of prompts is in it" : `${found.length} files of prompts are in it`
    }; name the .jsonl that generate-prompts wrote with --prompts`,
  );
}

async function readText(path: string): Promise<string> {
  return new TextDecoder().decode(await readBounded(path, MAX_PROMPT_BYTES));
}

function parsePrompts(path: string, text: string): Prompt[] {
  const prompts = text.split("\n").flatMap((line, place): Prompt[] => {
    if (line.trim() === "") return [];
    const refuse = (why: string) =>
      new UserError(`Cannot read the prompts of "${path}", line ${place + 1}: ${why}`);
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch (error) {
      throw refuse(`not JSON: ${describeError(error)}`);
    }
    if (!isJsonObject(row) || typeof row.prompt !== "string") throw refuse('it has no text "prompt"');
    const { id, prompt, caption = prompt, objects, seed } = row;
    if (typeof caption !== "string") throw refuse('"caption" is no text');
    const clean = normalizeCaption(caption);
    if (clean === "") throw refuse("its caption is empty");
    const terms = findProtectedTerms(clean).map(({ text }) => `"${text}"`);
    if (terms.length > 0) throw refuse(`its caption says ${terms.join(", ")}; curate it first`);
    return [{
      id: typeof id === "string" ? id : `p${String(place + 1).padStart(5, "0")}`,
      prompt,
      caption: clean,
      objects: readObjects(objects) ?? [],
      ...(typeof seed === "number" && { seed }),
    }];
  });
  if (prompts.length === 0) throw new UserError(`Cannot read the prompts of "${path}": it has none`);
  return prompts;
}

/** Pictures by the prompt that their names tell: its id (`p00001-2.png`), or its seed as the last number (`00000-123.png`). */
function matchImages(
  names: readonly string[],
  prompts: readonly Prompt[],
): { matched: { image: string; prompt: Prompt }[]; unmatched: string[] } {
  const byId = new Map(prompts.map((prompt) => [prompt.id.toLowerCase(), prompt]));
  const bySeed = new Map<string, Prompt | undefined>();
  for (const prompt of prompts) {
    if (prompt.seed === undefined) continue;
    const seed = String(prompt.seed);
    // A seed that two prompts share tells neither.
    bySeed.set(seed, bySeed.has(seed) ? undefined : prompt);
  }
  const matched: { image: string; prompt: Prompt }[] = [];
  const unmatched: string[] = [];
  for (const image of names) {
    const stem = image.split("/").at(-1)!.replace(/\.\w+$/, "").toLowerCase();
    const prompt = byId.get(stem) ?? byId.get(stem.replace(/[-_. ]\d+$/, "")) ??
      bySeed.get(/(\d+)$/.exec(stem)?.[1] ?? "");
    if (prompt === undefined) unmatched.push(image);
    else matched.push({ image, prompt });
  }
  return { matched, unmatched };
}

async function readImages(
  dir: string,
  some: readonly { image: string; prompt: Prompt }[],
  { badRows, scorer }: { badRows: BadRows; scorer: ClipScorer },
) {
  const read = await Promise.all(some.map(async ({ image, prompt }) => {
    try {
      const bytes = await readBounded(`${dir}/${image}`, MAX_IMAGE_BYTES);
      const pixels = preprocess(await decodeImage(bytes), scorer.processor);
      return { image, prompt, bytes, pixels, format: identifyImage(bytes)! };
    } catch (error) {
      badRows.add(image, describeError(error));
      return undefined;
    }
  }));
  return read.filter((one) => one !== undefined);
}

function rivalsOf(
  { caption, objects }: Prompt,
  captions: readonly string[],
  embedded: ReadonlyMap<string, Float32Array>,
): Float32Array[] {
  // Another caption of the same object may suit as well.
  const rivals = captions.filter((other) =>
    other !== caption && !objects.some((noun) => other.toLowerCase().includes(noun))
  );
  return rivals.slice(0, MAX_RIVALS).map((other) => embedded.get(other)!);
}

/** Share of rivals that suit an image less than its caption does; 1 where there are none. */
function rankOf(score: number, image: Float32Array, rivals: readonly Float32Array[]): number {
  if (rivals.length === 0) return 1;
  return rivals.filter((rival) => cosine(image, rival) < score).length / rivals.length;
}
