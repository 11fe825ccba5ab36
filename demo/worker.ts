/**
 * Runs a captioner beside the page, so that the page answers while it works.
 *
 * @module
 */

import { describeError } from "../lib/base/errors.ts";
import { openConfig } from "../lib/format/json_config.ts";
import { readExactly } from "../lib/format/byte_source.ts";
import { OnnxCaptioner } from "../lib/generate/onnx_captioner.ts";
import { onnxFolderFiles } from "../lib/models/onnx_files.ts";
import type { Download, Reply, Request } from "./messages.ts";
import { decodePicture } from "./pixels.ts";
import { deleteOtherVersions, StoredFolder } from "./stored_folder.ts";

const reply = (message: Reply): void => self.postMessage(message);

let captioner: OnnxCaptioner | undefined;

async function open({ model, runtime, provider }: Extract<Request, { type: "open" }>): Promise<void> {
  const startMs = performance.now();
  const folder = await StoredFolder.at(model);
  const { dtype, files } = onnxFolderFiles(await openConfig(folder), provider);
  folder.names = new Set(files);
  const runtimeFolder = await StoredFolder.at(runtime);
  const wasm = `${provider}.wasm`;
  const sums: Download[] = [];
  const onProgress = (i: number) => (sum: Download): void => {
    sums[i] = { ...sum };
    const add = (key: keyof Download) => sums.reduce((total, one) => total + (one?.[key] ?? 0), 0);
    reply({ type: "download", loaded: add("loaded"), total: add("total") });
  };
  await Promise.all([folder.download(files, onProgress(0)), runtimeFolder.download([wasm], onProgress(1))]);
  const binary = (await runtimeFolder.open(wasm))!;
  captioner = await OnnxCaptioner.load(folder, {
    provider,
    dtype,
    decode: decodePicture,
    wasmBinary: await readExactly(binary, 0, binary.size),
  });
  await Promise.all([deleteOtherVersions(model), deleteOtherVersions(runtime)]);
  const isStored = folder.isStored && runtimeFolder.isStored;
  reply({ type: "opened", dtype, isStored, seconds: (performance.now() - startMs) / 1000 });
}

async function caption({ id, image, numBeams }: Extract<Request, { type: "caption" }>): Promise<void> {
  const bytes = new Uint8Array(await image.arrayBuffer());
  const [found] = await captioner!.captionAll([bytes], {
    numBeams,
    onText: ([text]) => reply({ type: "text", id, text: text! }),
  });
  const { caption, logProb, others, timeMs, outOfDomain } = found!;
  reply({
    type: "captioned",
    id,
    caption,
    probability: Math.exp(logProb),
    others: others.map(({ caption, logProb }) => ({ caption, probability: Math.exp(logProb) })),
    seconds: timeMs / 1000,
    outOfDomain,
  });
}

self.onmessage = async ({ data }: MessageEvent<Request>): Promise<void> => {
  try {
    await (data.type === "open" ? open(data) : caption(data));
  } catch (error) {
    const message = describeError(error);
    reply(data.type === "open" ? { type: "refused", message } : { type: "failed", id: data.id, message });
  }
};
