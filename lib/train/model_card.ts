/**
 * README.md of a run: a Hugging Face model card.
 *
 * @module
 */

import { formatMetric, metricTitle } from "./report.ts";

/** What the card says. */
export interface ModelCardData {
  /** Name of the run. */
  name: string;
  /** Name of the vision encoder. */
  encoder: string;
  /** Name of the language model. */
  decoder: string;
  /** Data sets as given on the command line. */
  datasets: readonly string[];
  /** Settings by name, in order. */
  settings: readonly (readonly [name: string, value: string])[];
  /** Scores of the best model. */
  metrics: Readonly<Record<string, number>>;
  /** What the metrics were computed on. */
  metricsOn: string;
  /** Command that captions an image with it. */
  captionCommand: string;
}

/** Writes the card, with the metadata that the Hugging Face hub reads in front. */
export function formatModelCard(data: ModelCardData): string {
  const text = (value: string) => JSON.stringify(value);
  const results = Object.entries(data.metrics).map(([name, value]) =>
    `          - type: ${text(name.replace(/^eval_/, ""))}\n            value: ${value}\n            name: ${
      text(metricTitle(name))
    }`
  );
  const rows = (pairs: readonly (readonly [string, string])[]) =>
    pairs.map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`).join("\n");
  return `---
language: en
library_name: peft
pipeline_tag: image-to-text
base_model:
  - ${text(data.encoder)}
  - ${text(data.decoder)}
base_model_relation: adapter
tags:
  - image-captioning
  - generated_from_trainer
model-index:
  - name: ${text(data.name)}
    results:
      - task:
          type: image-to-text
        dataset:
          type: imagefolder
          name: ${text(data.datasets.join(", "))}
        metrics:
${results.length === 0 ? "          []" : results.join("\n")}
---

# ${data.name}

An image captioner: the image features of \`${data.encoder}\`, projected to be the prefix of \`${data.decoder}\`, which was adapted by LoRA.
Trained on ${data.datasets.map((name) => `\`${name}\``).join(", ")}.

\`\`\`sh
${data.captionCommand}
\`\`\`

## Results on the ${data.metricsOn}

| metric | value |
|---|---|
${rows(Object.entries(data.metrics).map(([name, value]) => [metricTitle(name), formatMetric(name, value)]))}

## Settings

| setting | value |
|---|---|
${rows(data.settings)}

## Files

\`projection.safetensors\` and \`adapter/\` (PEFT) are what was trained; \`config.json\` names the base models, which are not included.
\`report.html\` shows the training.
`;
}

/** Text that cannot break out of a table's cell. */
function cell(text: string): string {
  return text.replaceAll("|", "\\|").replace(/\s+/g, " ");
}
