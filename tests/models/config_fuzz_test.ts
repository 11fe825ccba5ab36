/** Configurations that were tampered with, all through the readers that meet files of strangers. */
import assert from "node:assert/strict";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import type { JsonObject, JsonValue } from "../../lib/format/json.ts";
import { parseAdapterConfig } from "../../lib/format/peft.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { parseProcessorConfig } from "../../lib/image/processor.ts";
import { readCaptionerConfig } from "../../lib/models/captioner_files.ts";
import { decoderLinears, decoderSpecs } from "../../lib/models/decoder.ts";
import { openDecoderConfig, openVisionConfig } from "../../lib/models/load.ts";
import { parseText, textSpecs } from "../../lib/models/text.ts";
import { parseTwoTower, twoTowerSpecs } from "../../lib/models/two_tower.ts";
import { visionSpecs } from "../../lib/models/vision.ts";
import { projectPath } from "../../lib/host/model_folders.ts";

const ROUNDS = 10_000;

const folderOf = (text: string) =>
  memoryFolder("fuzz", new Map([["config.json", new TextEncoder().encode(text)]]));

/** Files of the repository, each with the reader that would meet it. */
const CASES: readonly [string, (text: string) => unknown][] = [
  ...["siglip-llama", "siglip-qwen2", "siglip-phi3", "siglip-opt", "vit-gpt2"].map((name) =>
    [`tests/golden/parity/${name}/decoder/config.json`, async (text: string) => {
      const config = await openDecoderConfig(folderOf(text));
      return [decoderSpecs(config), decoderLinears(config)];
    }] as [string, (text: string) => unknown]
  ),
  ...["siglip-llama", "vit-gpt2"].map((name) =>
    [
      `tests/golden/parity/${name}/encoder/config.json`,
      async (text: string) => visionSpecs(await openVisionConfig(folderOf(text))),
    ] as [string, (text: string) => unknown]
  ),
  [
    "tests/golden/parity/siglip-llama/python_checkpoint/config.json",
    (text) => readCaptionerConfig(folderOf(text)),
  ],
  ["data/tiny/captioner/config.json", (text) => readCaptionerConfig(folderOf(text))],
  ["data/tiny/captioner/adapter/adapter_config.json", (text) => parseAdapterConfig(text, "fuzz")],
  ["data/tiny/captioner/preprocessor_config.json", (text) => parseProcessorConfig(JSON.parse(text))],
  [
    "tests/golden/parity/clip/model/config.json",
    (text) => twoTowerSpecs(parseTwoTower(JsonConfig.parse(text, "fuzz"))),
  ],
  [
    "tests/golden/parity/bert/model/config.json",
    (text) => textSpecs(parseText(JsonConfig.parse(text, "fuzz"))),
  ],
];

const VALUES: readonly JsonValue[] = [
  null,
  true,
  "",
  "x",
  "relu",
  "__proto__",
  0,
  -1,
  0.5,
  1,
  7,
  2 ** 31,
  1e15,
  1e300,
  [],
  [1],
  [[]],
  {},
  { type: "yarn", factor: 8 },
];

Deno.test(`${ROUNDS} tampered configurations are read or refused in words, and never anything else`, async () => {
  let state = 4321;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * below);
  };
  const tamperWithValue = (object: JsonObject): void => {
    const keys = Object.keys(object);
    const key = keys[random(keys.length)];
    if (key === undefined) return;
    const inner = object[key];
    if (typeof inner === "object" && inner !== null && !Array.isArray(inner) && random(4) > 0) {
      return tamperWithValue(inner);
    }
    if (random(5) === 0) delete object[key];
    else object[key] = structuredClone(VALUES[random(VALUES.length)]!);
  };
  const tamperWithText = (text: string): string => {
    const at = random(text.length), end = at + random(12);
    const pieces = [
      "",
      '"',
      "{",
      "}",
      "[",
      ",",
      "-",
      "1e999",
      "9007199254740993",
      "\\u0000",
      "\uFEFF",
      "null",
    ];
    return text.slice(0, at) + pieces[random(pieces.length)] + text.slice(end);
  };
  const texts = await Promise.all(CASES.map(([path]) => Deno.readTextFile(projectPath(path))));
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const which = round % CASES.length;
    let text = texts[which]!;
    if (random(3) > 0) {
      const object = JSON.parse(text) as JsonObject;
      for (let edits = 1 + random(3); edits > 0; edits--) tamperWithValue(object);
      text = JSON.stringify(object);
    } else {
      for (let edits = 1 + random(3); edits > 0; edits--) text = tamperWithText(text);
    }
    try {
      await CASES[which]![1](text);
    } catch (error) {
      refused++;
      const isClear = error instanceof Error &&
        (/^Cannot /.test(error.message) || (error instanceof SyntaxError && /JSON/.test(error.message)));
      assert.ok(
        isClear,
        `${CASES[which]![0]} round ${round}: ${error instanceof Error ? error.stack : error}\n${text}`,
      );
    }
  }
  assert.ok(refused > ROUNDS / 4 && refused < ROUNDS, `${refused} of ${ROUNDS} were refused`);
});
