/**
 * The demo as static files for any host: addresses are relative, so that it works below any folder.
 *
 * @module
 */

import { createRequire } from "node:module";
import { dirname } from "node:path";
import { UserError } from "../base/errors.ts";
import { formatJson, type JsonObject } from "../format/json.ts";
import { JsonConfig, openConfig } from "../format/json_config.ts";
import type { OnnxProvider } from "../generate/onnxruntime.ts";
import { onnxFolderFiles } from "../models/onnx_files.ts";
import { contentSecurityPolicy, type Site, SITE_SAMPLES, type SiteModel } from "../serve/demo_site.ts";
import { bundleScript } from "./bundle.ts";
import { exportOnnx } from "./export_onnx.ts";
import { type FolderWriter, makeFolder, openFileFolder, stat, writeFolderAtomically } from "./files.ts";
import { EMBEDDED_CAPTIONER, projectPath } from "./model_folders.ts";
import type { ProofImage } from "./proof_images.ts";
import { refuseForeignFolder } from "./own_folder.ts";

/** What is built. */
export interface DemoSiteOptions {
  /** Gets the site; an earlier one is replaced. */
  outputDir: string;
  /** Exported folders that come with the page, before the embedded captioner. */
  models: readonly string[];
  /** Other origins that the page may fetch models from. */
  origins: readonly string[];
  /** Encoded images on which the embedded captioner's export is checked; none skips that. */
  images: readonly ProofImage[];
  onProgress(what: string): void;
}

const SCRIPTS = ["page", "worker", "service_worker"] as const;
/** WebAssembly of the two builds that lib/generate/onnxruntime.ts loads. */
const WASM_FILES = {
  wasm: "ort-wasm-simd-threaded.wasm",
  webgpu: "ort-wasm-simd-threaded.asyncify.wasm",
} as const satisfies Record<OnnxProvider, string>;
const PROVIDERS = ["wasm", "webgpu"] as const;

/** Words by which a later build knows the folder as its own. */
const MARK = "written by `deno task demo`";
const README = `# Captioner

The page that captions pictures in a browser, ${MARK}. Put these files on any static host, also in a sub-folder.
`;

/**
 * Writes the site.
 *
 * @throws {UserError} when a script cannot be bundled, a model is no exported folder, or something else is in the place
 */
export async function buildDemoSite(options: DemoSiteOptions): Promise<void> {
  const { outputDir, models, origins, onProgress } = options;
  await refuseForeignFolder(outputDir, MARK);
  await writeFolderAtomically(outputDir, async (folder) => {
    const page = new Map<string, string | Uint8Array>();
    for (const name of SCRIPTS) {
      onProgress(`bundle demo/${name}.ts`);
      page.set(`${name}.js`, await bundleScript(`demo/${name}.ts`));
    }
    const html = await Deno.readTextFile(projectPath("demo/index.html"));
    page.set("index.html", html.replace("%POLICY%", contentSecurityPolicy(origins)));
    for (const name of ["style.css", "icon.svg"]) {
      page.set(name, await Deno.readFile(projectPath(`demo/${name}`)));
    }
    for (const name of SITE_SAMPLES) {
      page.set(`samples/${name}`, await Deno.readFile(projectPath(`data/sample/test/${name}`)));
    }
    const site: Site = {
      models: [],
      onnxruntime: await copyRuntime(folder),
      origins: [...origins],
      files: ["./", "site.json", ...page.keys()].filter((name) => name !== "service_worker.js"),
    };
    for (const path of models) site.models.push(await copyModel(folder, path, onProgress));
    site.models.push(await exportEmbedded(folder, options));
    page.set("site.json", formatJson(site as unknown as JsonObject));
    const version = await hash([...page.values()]);
    page.set("service_worker.js", `const SITE_VERSION="${version}";${page.get("service_worker.js")}`);
    for (const [name, content] of page) await folder.write(name, content);
    await folder.write("README.md", README);
  });
}

/** Gives the package's version. */
async function copyRuntime(folder: FolderWriter): Promise<string> {
  const require = createRequire(import.meta.url);
  const pathOf = (provider: OnnxProvider): string =>
    require.resolve(`onnxruntime-web/${WASM_FILES[provider]}`);
  for (const provider of PROVIDERS) {
    await folder.write(`onnxruntime/${provider}.wasm`, await Deno.readFile(pathOf(provider)));
  }
  const description = `${dirname(dirname(pathOf("wasm")))}/package.json`;
  return JsonConfig.parse(await Deno.readTextFile(description), description).string("version");
}

async function copyModel(
  folder: FolderWriter,
  path: string,
  onProgress: (what: string) => void,
): Promise<SiteModel> {
  const inner = `${path}/web-llava`;
  const from = await stat(`${path}/config.json`) === undefined && await stat(inner) !== undefined
    ? inner
    : path;
  const files = await neededFiles(from);
  const title = path.replace(/[/\\]+$/, "").split(/[/\\]/).at(-1)!;
  const target = `models/${title.replace(/[^\w.-]/g, "_")}/`;
  if (await stat(`${folder.path}/${target}`) !== undefined) {
    throw new UserError(`Cannot build the demo: two models are called "${title}"; rename a folder`);
  }
  for (const file of files) {
    onProgress(`copy ${title}/${file}`);
    if (await stat(`${from}/${file}`) === undefined) {
      throw new UserError(`Cannot build the demo with "${from}": it has no "${file}"; export it again`);
    }
    await folder.write(`${target}${file}`, (await Deno.open(`${from}/${file}`)).readable);
  }
  return { title, path: target, version: await hashFiles(folder, files.map((file) => target + file)) };
}

/** Eight bits for WebAssembly, four for WebGPU; both checked against the engine. */
async function exportEmbedded(folder: FolderWriter, options: DemoSiteOptions): Promise<SiteModel> {
  const { images, onProgress } = options;
  const outputDir = `${folder.path}/export`;
  const target = "models/embedded/";
  const [exported] = await exportOnnx({
    model: EMBEDDED_CAPTIONER,
    outputDir,
    layouts: ["web-llava"],
    dtypes: ["q8", "q4"],
    images,
    minAgreement: 0.9,
    onProgress,
  });
  await makeFolder(`${folder.path}/models`);
  await Deno.rename(exported!.path, `${folder.path}/${target}`);
  await Deno.remove(outputDir, { recursive: true });
  const files = await neededFiles(`${folder.path}/${target}`);
  const version = await hashFiles(folder, files.map((file) => target + file));
  return { title: "Embedded captioner (drawn scenes)", path: target, version };
}

/** Files of an exported folder that one device or the other needs. */
async function neededFiles(path: string): Promise<string[]> {
  const config = await openConfig(await openFileFolder(path));
  return [...new Set(PROVIDERS.flatMap((provider) => onnxFolderFiles(config, provider).files))];
}

async function hashFiles(folder: FolderWriter, paths: readonly string[]): Promise<string> {
  return await hash(await Promise.all(paths.map((path) => Deno.readFile(`${folder.path}/${path}`))));
}

/** Twelve hexadecimal digits that change with any of the contents. */
async function hash(contents: readonly (string | Uint8Array)[]): Promise<string> {
  const digests = await Promise.all(contents.map((content) => {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    return crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  }));
  const all = await crypto.subtle.digest("SHA-256", await new Blob(digests).arrayBuffer());
  return [...new Uint8Array(all, 0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
