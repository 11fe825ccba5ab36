/**
 * How a request asks for its captions to be searched: fields of a form, of JSON, or of the query, all under the same names.
 *
 * @module
 */

import { suggest } from "../base/errors.ts";

/** Options of a request; what is absent is the server's default. */
export interface RequestOptions {
  numBeams?: number;
  maxNewTokens?: number;
  temperature?: number;
  topP?: number;
  repetitionPenalty?: number;
  seed?: number;
}

interface Field {
  option: keyof RequestOptions;
  min: number;
  max: number;
  whole: boolean;
  description: string;
}

/** Fields by their name in requests. */
export const OPTION_FIELDS: Readonly<Record<string, Field>> = {
  num_beams: { option: "numBeams", min: 1, max: 16, whole: true, description: "Beams; 1 is greedy." },
  max_new_tokens: {
    option: "maxNewTokens",
    min: 1,
    max: 4096,
    whole: true,
    description: "Most tokens of a caption.",
  },
  temperature: {
    option: "temperature",
    min: 0,
    max: 10,
    whole: false,
    description: "Above 0 samples instead of searching.",
  },
  top_p: { option: "topP", min: 0, max: 1, whole: false, description: "Nucleus of sampling." },
  repetition_penalty: {
    option: "repetitionPenalty",
    min: 0.1,
    max: 10,
    whole: false,
    description: "Above 1 makes repeated tokens unlikelier.",
  },
  seed: { option: "seed", min: 0, max: 2 ** 32 - 1, whole: true, description: "Of sampling." },
};

/**
 * Reads the options among named values; numbers may be text.
 *
 * @throws {RangeError} for an unknown name, or a value that is no number or out of bounds
 */
export function readRequestOptions(
  values: Iterable<readonly [name: string, value: unknown]>,
): RequestOptions {
  const options: RequestOptions = {};
  for (const [name, value] of values) {
    const field = Object.hasOwn(OPTION_FIELDS, name) ? OPTION_FIELDS[name] : undefined;
    if (field === undefined) {
      const near = suggest(name, Object.keys(OPTION_FIELDS));
      throw new RangeError(
        `There is no option "${name}"${near === undefined ? "" : `; did you mean "${near}"?`}`,
      );
    }
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    if (!isWithin(number, field)) {
      throw new RangeError(`"${name}" is ${JSON.stringify(value)}, expected ${describeBounds(field)}`);
    }
    options[field.option] = number;
  }
  return options;
}

/** Images in flight together; the server sets it, so no request names it. */
const BATCH_SIZE = { option: "batchSize", min: 1, max: 256, whole: true } as const;

/** Checks options that a program gives. @throws {RangeError} If one is out of its bounds */
export function checkCaptionOptions(options: RequestOptions & { batchSize?: number }): void {
  for (const field of [...Object.values(OPTION_FIELDS), BATCH_SIZE]) {
    const value: unknown = options[field.option];
    if (value === undefined || isWithin(value, field)) continue;
    throw new RangeError(
      `Cannot caption: ${field.option} is ${JSON.stringify(value)}, expected ${describeBounds(field)}`,
    );
  }
}

type Bounds = Pick<Field, "min" | "max" | "whole">;

function isWithin(value: unknown, { min, max, whole }: Bounds): value is number {
  return typeof value === "number" && value >= min && value <= max && (!whole || Number.isInteger(value));
}

const describeBounds = ({ min, max, whole }: Bounds) =>
  `${whole ? "a whole number" : "a number"} from ${min} to ${max}`;
