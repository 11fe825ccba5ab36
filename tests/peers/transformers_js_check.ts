/**
 * Exported captioners loaded by stock transformers.js, which knows nothing of this project: the engine's tokens.
 *
 * Not among the tests that every change must pass, as it installs half a gigabyte: `deno task test-transformers-js`.
 */
import assert from "node:assert/strict";
import { onnxComponentFiles, planOnnxWeights } from "../../lib/export/onnx/layouts.ts";
import { onnxTexts } from "../../lib/export/onnx/texts.ts";
import { searchCaptions } from "../../lib/generate/search.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { decodeImage } from "../../lib/host/decode.ts";
import { openFileFolder, writeFolderAtomically } from "../../lib/host/files.ts";
import { neededGraphs } from "../../lib/host/onnx_layout.ts";
import { openModelFolder, projectPath } from "../../lib/host/model_folders.ts";
import { sharp } from "../../lib/host/sharp.ts";
import { parseProcessorConfig, preprocess } from "../../lib/image/processor.ts";
import { type CaptionerSource, openCaptionerSource } from "../../lib/models/captioner_source.ts";
import {
  mixOf,
  type OnnxDtype,
  type OnnxLayout,
  type OnnxMix,
  onnxVariants,
} from "../../lib/models/onnx_layouts.ts";
import { loadTokenizer } from "../../lib/text/tokenizer.ts";
import { captionerFolders } from "../support/captioner_folders.ts";
import { EVERY_FAMILY, NO_SPARE_ROW } from "../support/every_family.ts";
import { randomValues } from "../support/gpu.ts";
import { kernelGenerator } from "../support/onnx_captioner.ts";

const LAYOUTS = ["web-llava", "web-pipeline"] as const;

async function write(
  source: CaptionerSource,
  options: {
    path: string;
    layout: OnnxLayout;
    dtypes: readonly OnnxDtype[];
    mix?: OnnxMix;
    maxInlineBytes?: number;
  },
): Promise<void> {
  const { path, layout, dtypes, mix, maxInlineBytes } = options;
  await writeFolderAtomically(path, async (folder) => {
    const externalFiles: Record<string, number> = {};
    const precisions = { dtypes, ...(mix && { mix }) };
    for (const { component, dtype } of neededGraphs(layout, { variants: onnxVariants(precisions), mix })) {
      const files = onnxComponentFiles(planOnnxWeights(source), {
        layout,
        component,
        dtype,
        version: "0",
        ...(maxInlineBytes === undefined ? {} : { maxInlineBytes }),
      });
      for (const [name, content] of files) await folder.write(name, content);
      const [graph] = files.keys();
      if (files.size > 1) externalFiles[graph!.slice(graph!.lastIndexOf("/") + 1)] = files.size - 1;
    }
    for (const [name, text] of onnxTexts(layout, source, { ...precisions, externalFiles })) {
      await folder.write(name, text);
    }
  });
}

/** What stock transformers.js says of images: captions, and ids where it gives them. */
async function captionWithPeer(
  path: string,
  options: { layout: OnnxLayout; dtype: OnnxDtype | "as-configured"; images: readonly string[] },
): Promise<{ caption: string; ids?: number[] }[]> {
  const config = projectPath("tests/peers/transformers_js/deno.json");
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", "--config", config, projectPath("tests/peers/transformers_js/caption.ts")],
      ...[options.layout, path, options.dtype, ...options.images],
    ],
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line));
}

/** PNG files as large as the encoder takes them, so that nobody resizes. */
async function writeImages(folder: string, side: number, pictures: readonly Uint8Array[]): Promise<string[]> {
  return await Promise.all(pictures.map(async (picture, i) => {
    const raw = { raw: { width: side, height: side, channels: 3 as const } };
    const path = `${folder}/${i}.png`;
    await Deno.writeFile(path, new Uint8Array(await sharp(picture, raw).png().toBuffer()));
    return path;
  }));
}

Deno.test("stock transformers.js gives the embedded captioner's tokens in every layout and precision", async () => {
  const temporary = await Deno.makeTempDir();
  const folder = await openFileFolder(projectPath("data/tiny/captioner"));
  const source = await openCaptionerSource(folder, openModelFolder);
  const side = source.config.vision.imageSize;
  const pictures = await Promise.all([0, 1, 2].map(async (i) => {
    const picture = sharp(projectPath(`data/sample/test/000${i}.png`));
    return new Uint8Array(
      await picture.resize(side, side).removeAlpha().toColourspace("srgb").raw().toBuffer(),
    );
  }));
  const images = await writeImages(temporary, side, pictures);
  using captioner = await Captioner.load("embedded:captioner");
  const want = await captioner.captionAll(await Promise.all(images.map((path) => Deno.readFile(path))), {
    numBeams: 1,
  });
  assert.equal(new Set(want.map(({ caption }) => caption)).size, 3);
  const dtypes = ["fp32", "fp16", "q8", "q4"] as const;
  for (const layout of LAYOUTS) {
    const path = `${temporary}/${layout}`;
    await write(source, { path, layout, dtypes });
    for (const dtype of dtypes) {
      const found = await captionWithPeer(path, { layout, dtype, images });
      assert.deepEqual(
        found.map(({ caption }) => caption),
        want.map(({ caption }) => caption),
        `${layout} ${dtype}`,
      );
      if (layout === "web-llava") {
        assert.deepEqual(
          found.map(({ ids }) => ids),
          want.map(({ ids }) => ids),
          dtype,
        );
      }
    }
    // Only the graphs of a mix are there, and nobody says which: config.json does.
    const mix = mixOf(layout, { encoder: "fp16", decoder: "q8", embed_tokens: "fp32" });
    await write(source, { path: `${path}-mixed`, layout, dtypes: [], mix });
    const found = await captionWithPeer(`${path}-mixed`, { layout, dtype: "as-configured", images });
    assert.deepEqual(
      found.map(({ caption }) => caption),
      want.map(({ caption }) => caption),
      `${layout} mixed`,
    );
  }
  await Deno.remove(temporary, { recursive: true });
});

for (const [name, options] of [...EVERY_FAMILY, ["gpt2 without a spare row", NO_SPARE_ROW] as const]) {
  Deno.test(`stock transformers.js gives the tokens of ${name}, weights beside the graphs`, async () => {
    const temporary = await Deno.makeTempDir();
    const folders = captionerFolders(options);
    const opened = await openCaptionerSource(folders.folder, folders.openModel);
    const { imageSize: side } = folders.config.vision;
    const processor = { image_processor_type: "SiglipImageProcessor", size: { height: side, width: side } };
    const source: CaptionerSource = {
      ...opened,
      texts: new Map([...opened.texts, ["preprocessor_config.json", JSON.stringify(processor)]]),
    };
    const noise = Uint8Array.from(randomValues(side * side * 3, 5), (value) => (value + 1) * 127);
    const images = await writeImages(temporary, side, [noise]);
    const { maxLength } = source.settings;
    const { generator, destroy } = await kernelGenerator(folders, { maxNewTokens: maxLength });
    const pixelValues = preprocess(
      await decodeImage(await Deno.readFile(images[0]!)),
      parseProcessorConfig(processor),
    );
    const [hypotheses] = await searchCaptions(generator, pixelValues, { eosIds: [2], count: 1 });
    const best = hypotheses![0]!;
    destroy();
    const tokenizer = loadTokenizer(JSON.parse(source.texts.get("tokenizer.json")!), {});
    for (const layout of LAYOUTS) {
      const path = `${temporary}/${layout}`;
      await write(source, { path, layout, dtypes: ["fp32"], maxInlineBytes: 2000 });
      const [found] = await captionWithPeer(path, { layout, dtype: "fp32", images });
      if (layout === "web-llava") assert.deepEqual(found!.ids, best.ids);
      assert.equal(found!.caption, tokenizer.decode(best.ids, { skipSpecialTokens: true }).trim(), layout);
    }
    await Deno.remove(temporary, { recursive: true });
  });
}
