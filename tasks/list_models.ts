/**
 * Lists base models that are known to work, and the presets that pair them.
 *
 * @module
 */

import { createCommand, runTask } from "../lib/host/arguments.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { DECODER_FAMILIES } from "../lib/models/decoder_families.ts";
import { DECODERS, ENCODERS, type KnownModel, PRESETS } from "../lib/models/presets.ts";
import { VISION_FAMILIES } from "../lib/models/vision_families.ts";

await runTask(() => {
  const { json } = createCommand("list-models", "List base models and presets")
    .option("--json", "print one JSON object", false)
    .parse().opts();
  if (json) {
    const brief = ({ id, millions, remark }: KnownModel) => ({ id, millions, remark });
    console.log(
      JSON.stringify({
        encoders: ENCODERS.map(brief),
        decoders: DECODERS.map(brief),
        presets: PRESETS,
        encoder_families: Object.keys(VISION_FAMILIES),
        decoder_families: DECODER_FAMILIES,
      }),
    );
    return Promise.resolve();
  }
  const rows = (models: readonly KnownModel[]): string[][] =>
    models.map(({ id, millions, remark }) => [id, `${millions} M`, remark]);
  const header = (what: string): string[] => [what, "parameters", ""];
  console.log(formatTable(rows(ENCODERS), { header: header("encoders (--encoder-model)"), right: [1] }));
  console.log();
  console.log(formatTable(rows(DECODERS), { header: header("decoders (--decoder-model)"), right: [1] }));
  console.log();
  console.log(
    formatTable(
      Object.entries(PRESETS).map(([name, { encoder, decoder, maxLength }]) => [
        name === "default" ? "train" : `train-${name}`,
        encoder,
        decoder,
        String(maxLength),
      ]),
      { header: ["preset", "encoder", "decoder", "longest caption"], right: [3] },
    ),
  );
  console.log(
    `\nAny other model of these families works too, by Hub id or folder. Encoders: ${
      Object.keys(VISION_FAMILIES).join(", ")
    }. Decoders: ${DECODER_FAMILIES.join(", ")}.`,
  );
  return Promise.resolve();
});
