/**
 * The flags of `deno task curate`, and what it says at the end.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { Split } from "../datasets/rows.ts";
import { type Command, createCommand, Option, parseInteger, parseNumber } from "./arguments.ts";
import type { AskOptions, AskResult, CurateDataOptions, CurateResult } from "./curate.ts";
import { CURATED_FORMATS } from "./curated_dataset.ts";
import { SINGLE_DATASET_NAMES } from "./dataset_options.ts";

/** What the flags come to. */
export interface CurateCommandOptions {
  readonly data: CurateDataOptions;
  /** How a model is asked; absent with `--rules`. */
  readonly ask?: AskOptions;
  /** Estimate only. */
  readonly dryRun: boolean;
  /** Print the result for machines. */
  readonly json: boolean;
  /** Repository of the Hub to push to. */
  readonly pushToHub?: string;
  /** Whether a repository that has to be made is private. */
  readonly isPrivate: boolean;
}

const SPLIT_CHOICES = ["train", "validation", "test", "all"] as const;

function addDataFlags(command: Command<[], { debug?: true }>) {
  return command
    .option(
      "--dataset <name>",
      `data set: ${SINGLE_DATASET_NAMES}, an id of the Hub (org/name[@revision]), a folder or a file`,
      "sample",
    )
    .addOption(
      new Option("--split <name>", "the split that is curated").choices(SPLIT_CHOICES).default(
        "all" as Split | "all",
      ),
    )
    .addOption(
      new Option("--dataset-split <name>", "as --split, which the Python project calls so").choices(
        SPLIT_CHOICES,
      ).hideHelp(),
    )
    .option("--sample <count>", "at most so many rows of every split", parseInteger({ min: 1 }))
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .option("--image-column <name>", "column of images (default: the first usual name there is)")
    .option("--output-dir <folder>", "folder that is made; an earlier result is replaced", "curated")
    .addOption(
      new Option("--format <name>", "how the result is laid out").choices(CURATED_FORMATS).default(
        "image-folder" as const,
      ),
    )
    .option("--push-to-hub <org/name>", "push the result, which has to be parquet")
    .addOption(
      new Option("--target-dataset <org/name>", "as --push-to-hub, which the Python project calls so")
        .hideHelp(),
    )
    .option("--private", "a repository that has to be made is private", false)
    .option("--rules", "rewrite by rules, without a model", false)
    .option("--max-bad-rows <share>", "share of rows that may be bad", parseNumber({ min: 0, max: 1 }), 0.05)
    .option(
      "--seed <number>",
      "of splits that no folder names",
      parseInteger({ min: 0, max: 2 ** 32 - 1 }),
      42,
    );
}

function addAskFlags<Options extends Record<string, unknown>>(command: Command<[], Options>) {
  return command
    .option("--api-base <url>", "address of an OpenAI-compatible interface", "https://api.openai.com/v1")
    .option("--model <name>", "the model, as the server calls it", "gpt-4o")
    .option("--api-key-env <name>", "variable of the environment that holds the key", "OPENAI_API_KEY")
    .addOption(
      new Option("--mode <which>", "show the model the images, or the captions alone").choices(
        ["vision", "text"] as const,
      ).default("vision" as const),
    )
    .option("--batch-size <rows>", "rows in a request", parseInteger({ min: 1, max: 50 }), 5)
    .option("--concurrency <requests>", "requests at a time", parseInteger({ min: 1, max: 100 }), 4)
    .addOption(
      new Option("--json-mode <which>", "ask for JSON by its schema, as an object, or in words").choices(
        ["schema", "object", "text"] as const,
      ).default("schema" as const),
    )
    .option(
      "--temperature <number>",
      "0 for the likeliest words",
      parseNumber({ min: 0, max: 2 }),
      0,
    )
    .option("--attempts <count>", "how often a row is asked about", parseInteger({ min: 1, max: 20 }), 3)
    .option("--max-words <count>", "most words of a caption", parseInteger({ min: 3, max: 200 }), 40)
    .option(
      "--image-size <pixels>",
      "longer side of images as sent",
      parseInteger({ min: 32, max: 4096 }),
      512,
    )
    .option("--image-tokens <count>", "what an image counts as, for estimates", parseInteger({ min: 0 }), 765)
    .option("--retries <count>", "attempts of a request that fails", parseInteger({ min: 1, max: 50 }), 6)
    .option("--timeout <seconds>", "longest wait for an answer", parseNumber({ min: 0.05 }), 120)
    .option("--requests-per-minute <count>", "at most so many requests a minute", parseNumber({ min: 0.01 }))
    .option("--tokens-per-minute <count>", "at most so many tokens a minute", parseNumber({ min: 1 }))
    .option("--price-in <dollars>", "price of a million tokens sent", parseNumber({ min: 0 }))
    .option("--price-out <dollars>", "price of a million tokens answered", parseNumber({ min: 0 }))
    .option("--max-cost <dollars>", "stop before the run costs more", parseNumber({ min: 0 }))
    .option("--max-requests <count>", "stop after so many requests", parseInteger({ min: 1 }))
    .option("--cache <file>", "SQLite file of answers", "alt_text_cache.db")
    .addOption(
      new Option("--on-failure <what>", "rows without a usable answer: leave out, or rewrite by rules")
        .choices(["skip", "rules"] as const).default("skip" as const),
    )
    .option("--retry-rejected", "ask again about rows that had no usable answer", false)
    .option("--dry-run", "count requests, estimate tokens and cost, and send nothing", false)
    .option("--json", "print the result as one JSON object", false);
}

/**
 * Reads a command line of `deno task curate`.
 *
 * @throws {UserError} If flags contradict each other, or a key is missing
 */
export function parseCurateArguments(
  args: readonly string[],
  getEnv: (name: string) => string | undefined,
): CurateCommandOptions {
  const command = createCommand(
    "curate",
    "Rewrite captions under inclusive guidelines, by a language model or by rules, into a data set with both",
  );
  const options = addAskFlags(addDataFlags(command)).parse(args as string[], { from: "user" }).opts();
  const { datasetSplit, split, maxBadRows, seed, outputDir, format, dryRun, json, rules } = options;
  const data: CurateDataOptions = {
    dataset: options.dataset,
    split: datasetSplit ?? split,
    sample: options.sample,
    captionColumn: options.captionColumn,
    imageColumn: options.imageColumn,
    maxBadRows,
    seed,
    outputDir,
    format,
  };
  const pushToHub = options.pushToHub ?? options.targetDataset;
  if (pushToHub !== undefined && format !== "parquet") {
    throw new UserError(
      `Cannot push "${pushToHub}" as ${format}: the Hub shows parquet; add --format parquet`,
    );
  }
  const common = {
    data,
    dryRun,
    json,
    isPrivate: options.private,
    ...(pushToHub !== undefined && { pushToHub }),
  };
  if (rules) {
    if (dryRun) throw new UserError("Cannot estimate --rules: they cost nothing; leave out --dry-run");
    return common;
  }
  const { priceIn, priceOut, maxCost } = options;
  if ((priceIn === undefined) !== (priceOut === undefined)) {
    throw new UserError("Cannot count costs: give both --price-in and --price-out");
  }
  if (maxCost !== undefined && priceIn === undefined) {
    throw new UserError("Cannot limit costs: --max-cost needs the prices, --price-in and --price-out");
  }
  const key = getEnv(options.apiKeyEnv);
  const isLocal = URL.canParse(options.apiBase) &&
    /^(localhost|127\.|\[::1\]|10\.|192\.168\.)/.test(new URL(options.apiBase).hostname);
  if (!key && !isLocal && !dryRun) {
    throw new UserError(
      `Cannot ask ${options.apiBase}: no key in ${options.apiKeyEnv}; set it, name another variable with --api-key-env, ` +
        "or use --rules, which asks nobody",
    );
  }
  const ask: AskOptions = {
    ...options,
    ...(key && { apiKey: key }),
    timeoutMs: options.timeout * 1000,
    retry: { attempts: options.retries },
    prices: priceIn === undefined ? undefined : { input: priceIn, output: priceOut! },
  };
  return { ...common, ask };
}

/** What would be asked, for people. */
export function describeEstimate({ known, asked, bill }: AskResult): string {
  const { requests, inputTokens, outputTokens, cost } = bill;
  return [
    `${asked} rows to ask about in ${requests} requests; ${known} answers are kept already`,
    `about ${inputTokens} tokens sent and ${outputTokens} answered, if every first answer can be used`,
    cost === undefined
      ? "cost unknown: give --price-in and --price-out, in dollars for a million tokens"
      : `about $${cost.toFixed(cost < 0.1 ? 4 : 2)}`,
  ].join("\n");
}

const LISTED = 5;

/** What was curated, for people. */
export function describeCuration(result: CurateResult): string {
  const { path, rows, changed, terms, rejected, badRows, faults, ask } = result;
  const splits = Object.entries(rows).map(([split, count]) => `${split} ${count}`).join(", ");
  const list = (what: string, some: readonly { id: string; reason: string }[]) => {
    const shown = some.slice(0, LISTED).map(({ id, reason }) => `${id}: ${reason}`).join("; ");
    return some.length === 0 ? [] : [`${some.length} ${what}: ${shown}${some.length > LISTED ? "; …" : ""}`];
  };
  const cost = ask?.bill.cost === undefined ? "" : `, $${ask.bill.cost.toFixed(4)}`;
  return [
    `rows: ${splits}; ${changed} with other captions than before`,
    `protected terms: ${terms.before} before, ${terms.after} after`,
    ...(ask === undefined ? [] : [
      `asked about ${ask.asked} rows in ${ask.bill.requests} requests: ${ask.bill.inputTokens} tokens sent, ${ask.bill.outputTokens} answered${cost}; ${ask.known} answers were kept`,
    ]),
    ...list("rows without a usable answer", rejected),
    ...list("captions to look at", faults),
    ...list("bad rows skipped", badRows),
    `written to ${path}`,
  ].join("\n");
}
