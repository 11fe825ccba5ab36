/** Damaged files for readers of untrusted input: seeded mutations, a counted source, and what a reader may do with them. */
import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import type { Rng } from "../../lib/base/rng.ts";
import type { ByteSource, FileFolder } from "../../lib/format/byte_source.ts";
import { isJsonObject, type JsonValue } from "../../lib/format/json.ts";

/** Longest message that still is one: names out of a file must be shortened. */
const MAX_MESSAGE = 4000;
/** Whether text would move a terminal's cursor or colour it. */
const CONTROLS = /[^\P{Cc}\n\t]/u;

/** JSON as text that some reader somewhere has stumbled over. */
const HOSTILE = [
  "null",
  "true",
  "-1",
  "0",
  "-0",
  "1",
  "2",
  "1.5",
  "1e999",
  "-1e999",
  "1e-400",
  "NaN",
  "Infinity",
  "4294967296",
  "9007199254740991",
  "9007199254740993",
  "18446744073709551616",
  '""',
  '"constructor"',
  '"__proto__"',
  '"toString"',
  '"\\u001b[2J"',
  '"\\ud800"',
  `"${"long".repeat(2000)}"`,
  "[]",
  "{}",
  "[1e999]",
  "[null]",
  "[[1]]",
  '[""]',
  '["constructor"]',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":2,"toString":3}',
  `[${"1,".repeat(3000)}1]`,
  "[9007199254740991,9007199254740991]",
  `${"[".repeat(100000)}${"]".repeat(100000)}`,
  `${'{"a":'.repeat(20000)}1${"}".repeat(20000)}`,
  "[".repeat(5000),
];
const HOSTILE_KEYS = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "",
  "\u0000",
  "__metadata__",
  "k".repeat(5000),
];

/** A place in a JSON value: its holder and key. */
interface Place {
  holder: Record<string, JsonValue> | JsonValue[];
  key: string;
}

function placesIn(value: JsonValue): Place[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.keys(value).flatMap((key) => [
    { holder: value as Place["holder"], key },
    ...placesIn((value as Record<string, JsonValue>)[key]!),
  ]);
}

/** JSON text of `value` with one or two things wrong; keys and values may come from `words`. */
export function mutateJson(rng: Rng, value: JsonValue, words: readonly string[] = []): string {
  const copy = JSON.parse(JSON.stringify(value)) as JsonValue;
  const raw: string[] = [];
  // A value that is no JSON value stands as a marked string until the text is there.
  const hole = (text: string): string => `\u2603${raw.push(text) - 1}\u2603`;
  for (let round = rng.int(3); round >= 0; round--) {
    const places = placesIn(copy);
    if (places.length === 0) break;
    const { holder, key } = rng.pick(places);
    const at = holder as Record<string, JsonValue>;
    switch (rng.int(7)) {
      case 0:
        if (Array.isArray(holder)) holder.splice(Number(key), 1);
        else delete at[key];
        break;
      case 1: {
        const other = rng.pick(places);
        const values = other.holder as Record<string, JsonValue>;
        // The trees stay trees: what is moved is copied.
        [at[key], values[other.key]] = [values[other.key]!, at[key]!].map((each) =>
          JSON.parse(JSON.stringify(each ?? null))
        ) as [JsonValue, JsonValue];
        break;
      }
      case 2:
        if (!Array.isArray(holder)) {
          Object.defineProperty(holder, rng.pick([...HOSTILE_KEYS, ...words, key + "x"]), {
            value: at[key]!,
            enumerable: true,
            configurable: true,
            writable: true,
          });
        }
        break;
      case 3:
        at[key] = hole(`${JSON.stringify(at[key])},${JSON.stringify(key)}:${rng.pick(HOSTILE)}`);
        break;
      case 4:
        at[key] = typeof at[key] === "number"
          ? (at[key] as number) + rng.int(5) - 2
          : rng.pick([...words, "x"]);
        break;
      default:
        at[key] = hole(rng.pick(HOSTILE));
    }
  }
  return JSON.stringify(copy).replace(/"\u2603(\d+)\u2603"/g, (_, i) => raw[Number(i)]!);
}

/** Bytes with a few of them changed, cut off, added, moved or doubled. */
export function mutateBytes(rng: Rng, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes);
  const at = (): number => rng.int(Math.max(1, copy.length));
  switch (rng.int(6)) {
    case 0:
      return copy.slice(0, at());
    case 1: {
      const longer = new Uint8Array(copy.length + 1 + rng.int(20));
      longer.set(copy);
      return longer;
    }
    case 2: {
      const [from, to] = [at(), at()];
      copy.copyWithin(to, from, from + rng.int(16));
      return copy;
    }
    case 3:
      return copy.slice(at());
    default:
      for (let count = rng.int(4); count >= 0; count--) {
        copy[at()] = rng.pick([0, 0xff, 0x80, 0x22, 0x7b, 0x7d, 0x2c, rng.int(256)]);
      }
      return copy;
  }
}

/** Files in memory that say what was asked of them. */
export class CountedFolder implements FileFolder {
  /** Bytes asked for, by file. */
  readonly asked = new Map<string, number>();
  constructor(readonly name: string, readonly files: ReadonlyMap<string, Uint8Array>) {}

  open(path: string): Promise<ByteSource | undefined> {
    const bytes = this.files.get(path);
    if (bytes === undefined) return Promise.resolve(undefined);
    const size = bytes.length;
    return Promise.resolve({
      name: `${this.name}/${path}`,
      size,
      read: (start, end) => {
        // A file on disk gives memory for what is asked before it knows what there is.
        assert.ok(
          Number.isSafeInteger(start) && start >= 0 && start <= end && end <= size,
          `bytes ${start} to ${end} of ${size} asked of ${path}`,
        );
        this.asked.set(path, (this.asked.get(path) ?? 0) + end - start);
        return Promise.resolve(bytes.slice(start, end));
      },
    });
  }

  /** Asserts that no file was read more than twice over. */
  check(): void {
    for (const [path, count] of this.asked) {
      const size = this.files.get(path)!.length;
      assert.ok(count <= 2 * size, `${count} bytes asked of ${path}, which has ${size}`);
    }
  }
}

/**
 * Asserts that an error is one that a reader of files may throw: of a known class, naming the file or its folder, short, and without what
 * moves a terminal.
 */
function assertRefusal(error: unknown, name: string): void {
  assert.ok(error instanceof Error, `thrown was ${error}`);
  const known = [SyntaxError, RangeError, TypeError, UserError].some((kind) => error.constructor === kind);
  assert.ok(known, `${error.stack}`);
  assert.ok(error.message.includes(name), `not named: ${error.stack!.slice(0, 2000)}`);
  assert.ok(!/call stack|Invalid (array|typed array|string) length/.test(error.message), error.message);
  assert.ok(
    error.message.length <= MAX_MESSAGE,
    `${error.message.length} characters: ${error.message.slice(0, 300)}`,
  );
  assert.ok(
    !CONTROLS.test(error.message),
    `control characters: ${JSON.stringify(error.message.slice(0, 300))}`,
  );
}

/**
 * Reads a damaged file of `folder`: whether it could be read. Whatever happens, no byte is read more than twice.
 *
 * @param name of the file or folder, which an error must give
 */
export async function readOrRefuse(
  folder: CountedFolder,
  name: string,
  read: (folder: CountedFolder) => Promise<void>,
): Promise<boolean> {
  let error: unknown;
  try {
    await read(folder);
  } catch (thrown) {
    error = thrown;
  }
  if (error !== undefined) assertRefusal(error, name);
  folder.check();
  return error === undefined;
}

/** Every string in a JSON value, keys included: words for mutations. */
export function wordsIn(value: JsonValue): string[] {
  if (typeof value === "string") return [value];
  if (Array.isArray(value)) return value.flatMap(wordsIn);
  return isJsonObject(value) ? Object.entries(value).flatMap(([key, each]) => [key, ...wordsIn(each)]) : [];
}
