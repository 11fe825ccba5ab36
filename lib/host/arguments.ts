/**
 * Command lines: the one file that knows the argument parser. Usage errors exit with 2, other errors with 1, an interrupt
 * with 130.
 *
 * @module
 */

import { Command, type CommandUnknownOpts, InvalidArgumentError } from "@commander-js/extra-typings";
import { CommanderError } from "commander";
import { describeError, suggest, UserError } from "../base/errors.ts";
import { describeJson, type JsonObject, type JsonValue } from "../format/json.ts";
import { showCursor } from "./terminal.ts";

export {
  Argument,
  Command,
  type CommandUnknownOpts,
  InvalidArgumentError,
  Option,
} from "@commander-js/extra-typings";

/** Exit codes of every task; `abstained`: nothing failed, but there is an image without a caption that is sure enough. */
export const EXIT_CODES = {
  ok: 0,
  error: 1,
  usage: 2,
  abstained: 3,
  interrupted: 130,
  terminated: 143,
} as const;

/**
 * Begins a task's command. Unknown flags and surplus arguments are refused with a suggestion; `--help` shows defaults and
 * choices. It has `--debug`; add options with their parsers, then call `parse()` inside {@linkcode runTask}.
 *
 * @example
 * ```ts ignore
 * await runTask(async ({ interrupted }) => {
 *   const options = createCommand("train", "Fine-tune a captioner")
 *     .option("--batch-size <count>", "images in a step", parseInteger({ min: 1 }), 8)
 *     .addOption(new Option("--projection-type <type>", "projection").choices(["linear", "mlp"] as const).default("linear"))
 *     .parse().opts();
 * });
 * ```
 */
export function createCommand(name: string, description: string): Command<[], { debug?: true }> {
  return new Command(name)
    .description(description)
    .exitOverride()
    .showHelpAfterError("Run with --help to see every option")
    .option("--debug", "show the stack trace of an error");
}

/** Bounds of a numeric option, both included. */
export interface NumberBounds {
  /** Smallest value accepted. */
  min?: number;
  /** Largest value accepted. */
  max?: number;
}

/** A parser of whole numbers for `option()`: refuses text, fractions, NaN and what is out of bounds. */
export function parseInteger(bounds: NumberBounds = {}): (text: string) => number {
  return (text) => checkBounds(/^[+-]?\d+$/.test(text) ? Number(text) : NaN, "a whole number", bounds);
}

/** A parser of decimal numbers such as `3e-4`, for `option()`: refuses text, NaN, infinity and what is out of bounds. */
export function parseNumber(bounds: NumberBounds = {}): (text: string) => number {
  const decimal = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  return (text) => checkBounds(decimal.test(text) ? Number(text) : NaN, "a number", bounds);
}

/** A parser of comma-separated names for `option()`: `q_proj,v_proj`. */
export function parseNames(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new InvalidArgumentError("Expected names separated by commas.");
  return names;
}

/** A parser of numbers by name for `option()`: `q_proj=8,mlp.up_proj=4`. */
export function parsePattern(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [, name, value] = /^\s*(\^?[\w.]+)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part) ?? [];
      if (name === undefined) throw new InvalidArgumentError("Expected name=number, separated by commas.");
      return [name, Number(value)];
    }),
  );
}

function checkBounds(value: number, kind: string, { min = -Infinity, max = Infinity }: NumberBounds): number {
  const bounds = [
    ...(min > -Infinity ? [`at least ${min}`] : []),
    ...(max < Infinity ? [`at most ${max}`] : []),
  ];
  const isWhole = kind === "a whole number";
  if (!Number.isFinite(value) || value < min || value > max || (isWhole && !Number.isSafeInteger(value))) {
    throw new InvalidArgumentError(
      `Expected ${kind}${bounds.length > 0 ? `, ${bounds.join(" and ")}` : ""}.`,
    );
  }
  return value;
}

/**
 * Fills options that the command line left at their default from a configuration file's fields, named like the flags
 * (`batch-size`), with underscores or in camel case. Values go through the options' own parsers.
 *
 * @param command A parsed command.
 * @param config The file's fields, and its name for messages.
 * @throws {UserError} If a field is no option, or its value is refused.
 */
export function applyConfig(command: CommandUnknownOpts, config: { fields: JsonObject; name: string }): void {
  for (const [key, value] of Object.entries(config.fields)) {
    const attribute = camelCase(key);
    const option = command.options.find((candidate) => candidate.attributeName() === attribute);
    if (option === undefined) {
      const near = suggest(attribute, command.options.map((candidate) => candidate.attributeName()));
      throw new UserError(
        `Cannot use "${config.name}": "${key}" is not an option` +
          (near ? `; did you mean "${kebabCase(near)}"?` : ""),
      );
    }
    const source = command.getOptionValueSource(attribute);
    if (source !== undefined && source !== "default") continue;
    command.setOptionValueWithSource(
      attribute,
      parseValue(option, value, `"${config.name}": "${key}"`),
      "config",
    );
  }
}

function parseValue(option: CommandUnknownOpts["options"][number], value: JsonValue, where: string): unknown {
  const refuse = (wanted: string) =>
    new UserError(`Cannot use ${where} is ${describeJson(value)}, expected ${wanted}`);
  if (option.isBoolean() || option.negate) {
    if (typeof value !== "boolean") throw refuse("true or false");
    return value;
  }
  const items = Array.isArray(value) ? value : [value];
  if (!items.every((item) => typeof item === "string" || typeof item === "number")) {
    throw refuse("text or a number");
  }
  if (items.length !== 1 && !option.variadic && option.parseArg !== parseNames) throw refuse("one value");
  try {
    if (option.parseArg === parseNames) return items.flatMap((item) => parseNames(String(item)));
    const parsed = items.map((item) =>
      option.parseArg ? option.parseArg(String(item), undefined) : String(item)
    );
    // Choices come back from their parser as lists where the option takes several.
    return option.variadic ? parsed.flat() : parsed[0];
  } catch (error) {
    // The parser's sentence, made to follow "expected".
    const wanted = (message: string) =>
      message.replace(/^Expected /, "").replace(/^Allowed choices are /, "one of ").replace(/\.$/, "");
    throw error instanceof CommanderError ? refuse(wanted(error.message)) : error;
  }
}

/** A flag's name as its value's: `lora-r` and `lora_r` are `loraR`. */
export const camelCase = (key: string): string =>
  key.replace(/[-_]+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase());
const kebabCase = (key: string) => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What a task's main function is given. */
export interface TaskContext {
  /**
   * Asks to be told of an interrupt instead of being ended by it: the first Ctrl-C (or SIGTERM) aborts the signal, so that
   * the task can save and return; a second one ends the process at once. The exit code is 130 (143) either way.
   */
  handleInterrupt(): AbortSignal;
}

/** The origin of an address: `https://models.example.org`. */
export function parseOrigin(text: string): string {
  const url = URL.parse(text);
  if (url === null || url.origin === "null") {
    throw new InvalidArgumentError("Expected an address such as https://models.example.org.");
  }
  return url.origin;
}

/**
 * Runs a task and ends the process. An error is shown as one line on stderr; its stack follows under `--debug`.
 *
 * @param main The task; it may give another exit code than 0.
 */
export async function runTask(main: (context: TaskContext) => Promise<number | void>): Promise<never> {
  const stopping = new AbortController();
  let isHandled = false;
  let interruptCode: number | undefined;
  const onInterrupt = (code: number) => () => {
    const isFirst = interruptCode === undefined;
    interruptCode = code;
    if (isHandled && isFirst) return stopping.abort();
    showCursor();
    Deno.exit(code);
  };
  Deno.addSignalListener("SIGINT", onInterrupt(EXIT_CODES.interrupted));
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", onInterrupt(EXIT_CODES.terminated));
  let code: number;
  try {
    code = await main({ handleInterrupt: () => (isHandled = true, stopping.signal) }) ?? EXIT_CODES.ok;
  } catch (error) {
    const isStopped = interruptCode !== undefined && (error as Error)?.name === "AbortError";
    if (isStopped) console.error("Interrupted; run the same command again to continue");
    code = isStopped ? EXIT_CODES.interrupted : reportError(error);
  }
  showCursor();
  Deno.exit(interruptCode ?? code);
}

/** Shows an error and gives the exit code it stands for. */
function reportError(error: unknown): number {
  if (error instanceof CommanderError) {
    // The parser has already written its message, or the help that was asked for.
    return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
  }
  console.error(`error: ${describeError(error)}`);
  if (Deno.args.includes("--debug")) console.error(error);
  else if (!(error instanceof UserError)) console.error("Run again with --debug for the stack trace");
  return EXIT_CODES.error;
}
