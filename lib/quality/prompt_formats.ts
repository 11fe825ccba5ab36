/**
 * Prompts as files: for reading in again, for people, and as image generators take them.
 *
 * Sources: script "Prompts from file or textbox" of AUTOMATIC1111/stable-diffusion-webui, whose lines are flags by shell rules;
 * OpenAI's Batch API, https://developers.openai.com/api/docs/guides/batch, and images/generations
 *
 * @module
 */

import { formatCsvRow } from "../format/csv.ts";
import type { PromptRow } from "./prompts.ts";

/** The first four are those of the Python project. */
export const PROMPT_FORMATS = ["jsonl", "json", "txt", "csv", "stable-diffusion", "dall-e"] as const;

/** One of {@linkcode PROMPT_FORMATS}. */
export type PromptFormat = typeof PROMPT_FORMATS[number];

/** Options of {@linkcode formatPrompts}. */
export interface FormatPromptsOptions {
  readonly format: PromptFormat;
  /** Side of the pictures, pixels. @default 512 for Stable Diffusion, 1024 for DALL-E */
  readonly size?: number | undefined;
  /** The model that DALL-E's requests name. @default "dall-e-3" */
  readonly imageModel?: string | undefined;
}

/** The text of a file of prompts. */
export function formatPrompts(prompts: readonly PromptRow[], options: FormatPromptsOptions): string {
  const { format } = options;
  const lines = (line: (row: PromptRow) => string) => prompts.map((row) => `${line(row)}\n`).join("");
  switch (format) {
    case "jsonl":
      return lines((row) => JSON.stringify(row));
    case "json":
      return `${JSON.stringify(prompts, null, 2)}\n`;
    case "txt":
      return lines(({ prompt }) => prompt);
    case "csv":
      return formatCsvRow([
        "prompt",
        "objects",
        "type",
        "original_count",
        "id",
        "caption",
        "category",
        "seed",
      ]) +
        prompts.map((row) =>
          formatCsvRow([
            row.prompt,
            row.objects.join(";"),
            row.type,
            [row.original_count].flat().join(";"),
            row.id,
            row.caption,
            row.category,
            String(row.seed),
          ])
        ).join("");
    case "stable-diffusion": {
      const { size = 512 } = options;
      // Names hold no quotes of this kind (prompts.ts), but a backslash or quote would end the shell's word.
      return lines(({ prompt, seed }) =>
        `--prompt "${prompt.replace(/["\\]/g, "")}" --seed ${seed} --width ${size} --height ${size}`
      );
    }
    case "dall-e": {
      const { size = 1024, imageModel = "dall-e-3" } = options;
      return lines(({ id, prompt }) =>
        JSON.stringify({
          custom_id: id,
          method: "POST",
          url: "/v1/images/generations",
          body: { model: imageModel, prompt, n: 1, size: `${size}x${size}` },
        })
      );
    }
  }
}
