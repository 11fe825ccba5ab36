/**
 * Which files of a repository make a model: what is downloaded, and what is pushed. The lists are here and nowhere else.
 *
 * @module
 */

/** What belongs to a model, by path from its root. */
const MODEL_FILES = [
  /^(generation_|preprocessor_|processor_|adapter_)?config\.json$/,
  /^tokenizer[\w.-]*\.json$/,
  /^(special_tokens_map|added_tokens|vocab|confidence)\.json$/,
  /^(vocab|merges)\.txt$/,
  /^[\w.-]+\.safetensors(\.index\.json)?$/,
  /^adapter\/(adapter_config\.json|adapter_model\.safetensors)$/,
];

/** Graphs of an exported captioner, and weights beside them. */
const GRAPH = /^((onnx|vision_encoder|language_model)\/)?[\w.-]+\.onnx(_data(_\d+)?)?$/;

/** What is pushed beside it: what people read. */
const PAGES = [/^(README|LICENSE|NOTICE)(\.md|\.txt)?$/, /^report\.html$/, /^adapter\/README\.md$/];

/** What has a fitting name but is the state of a training run, or the same weights a second time. */
const NOT_MODEL = /^(optimizer|scheduler|trainer_state|training_args|consolidated)\b/;

/** Formats that run code when they are read. */
const PICKLES = /\.(bin|pt|pth|ckpt|pkl|pickle|msgpack|h5)$/i;

const SHARD = /^(.+)-(\d{5})-of-(\d{5})\.safetensors$/;

/**
 * The files of a listing that are downloaded for a model: configuration, tokenizer, image processor, adapter, and its weights in
 * safetensors once: not the shards where there is a single file, and no variants such as `model.fp16.safetensors`.
 * Where there is nothing in safetensors: the graphs of an exported captioner.
 */
export function selectModelFiles(paths: Iterable<string>): string[] {
  const all = [...paths];
  const hasSingle = all.includes("model.safetensors");
  const isExported = !all.some((path) => path.endsWith(".safetensors"));
  return all.filter((path) => {
    if (isExported && GRAPH.test(path)) return true;
    if (!belongsToModel(path)) return false;
    if (!path.startsWith("model")) return true;
    if (/^model\.(?!safetensors)[^/]*\.safetensors/.test(path)) return false;
    return !(hasSingle && (SHARD.test(path) || path.endsWith(".index.json")));
  });
}

/** Whether a file of a run's or model's folder is pushed to the Hub. */
export function isPublished(path: string): boolean {
  return belongsToModel(path) || PAGES.some((pattern) => pattern.test(path));
}

function belongsToModel(path: string): boolean {
  return MODEL_FILES.some((pattern) => pattern.test(path)) && !NOT_MODEL.test(path);
}

/**
 * Names of files that a model must have and that are not among `paths`, as far as they can be told: shards whose siblings or index
 * are there, weights where there is only a configuration. Empty for a complete model, adapter or captioner.
 *
 * @param paths Files that are there
 * @param indexed Files that `model.safetensors.index.json` names, if it is there
 */
export function findMissingModelFiles(paths: readonly string[], indexed: Iterable<string> = []): string[] {
  const there = new Set(paths);
  const wanted = new Set(indexed);
  for (const path of paths) {
    const [, stem, , count] = SHARD.exec(path) ?? [];
    if (count === undefined) continue;
    for (let i = 1; i <= Number(count); i++) {
      wanted.add(`${stem}-${String(i).padStart(5, "0")}-of-${count}.safetensors`);
    }
    wanted.add(`${stem}.safetensors.index.json`);
  }
  if (there.has("adapter_config.json")) wanted.add("adapter_model.safetensors");
  else if (there.has("preprocessor_config.json") || there.has("tokenizer.json")) {
    // Half a model on purpose: an image processor or a tokenizer alone.
    if (there.has("config.json") && !hasWeights(paths) && wanted.size === 0) wanted.add("model.safetensors");
  } else {
    wanted.add("config.json");
    if (!hasWeights(paths) && wanted.size === 1) wanted.add("model.safetensors");
  }
  return [...wanted].filter((path) => !there.has(path)).sort();
}

function hasWeights(paths: readonly string[]): boolean {
  return paths.some((path) => path.endsWith(".safetensors") || GRAPH.test(path));
}

/** Weights that are there only in formats which run code when they are read: such a model cannot be used. */
export function findPickles(paths: readonly string[]): string[] {
  return hasWeights(paths) ? [] : paths.filter((path) => PICKLES.test(path));
}
