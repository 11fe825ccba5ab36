/**
 * The flags of `demo`, and what it prints.
 *
 * @module
 */

import { contentSecurityPolicy, HUB_ORIGINS } from "../serve/demo_site.ts";
import { createCommand, parseInteger, parseOrigin } from "./arguments.ts";
import { buildDemoSite } from "./demo_site.ts";
import { makeFolder } from "./files.ts";
import { projectPath } from "./model_folders.ts";
import { serveFolder } from "./static_server.ts";
import { formatBytes, formatTable } from "./terminal.ts";
import { readProofImages } from "./proof_images.ts";

/** Where the site lies that is served. */
const SERVED_FOLDER = ".cache/demo";

/** Parses the command line, builds, and serves until it is interrupted unless only files were asked for. */
export async function runDemoCommand(args: readonly string[], signal: AbortSignal): Promise<void> {
  const options = createCommand(
    "demo",
    "Caption pictures in a browser: build the page, and serve it to this machine",
  )
    .option("--build <dir>", "write static files for any host, and stop")
    .option("--port <number>", "where it is served", parseInteger({ min: 0, max: 65535 }), 8000)
    .option("--model <dirs...>", "exported folders (deno task export) that come with the page")
    .option(
      "--origin <urls...>",
      "other sites that the page may fetch models from",
      (text, before: string[] | undefined) => [...before ?? [], parseOrigin(text)],
    )
    .option("--no-hub", "the page may not fetch from the Hugging Face Hub")
    .option(
      "--check <count>",
      "images that the bundled captioner must caption like the engine",
      parseInteger({ min: 0 }),
      4,
    )
    .option("--json", "print one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  const outputDir = options.build ?? projectPath(SERVED_FOLDER);
  if (options.build === undefined) await makeFolder(projectPath(".cache"));
  const origins = [...options.hub ? HUB_ORIGINS : [], ...options.origin ?? []];
  const images = await readProofImages({ check: options.check });
  await buildDemoSite({
    outputDir,
    models: options.model ?? [],
    origins,
    images,
    onProgress: (what) => {
      signal.throwIfAborted();
      console.error(what);
    },
  });
  const files = await sizesBelow(outputDir);
  const server = options.build === undefined
    ? serveFolder({
      path: outputDir,
      port: options.port,
      headers: { "content-security-policy": contentSecurityPolicy(origins) },
    })
    : undefined;
  const url = server === undefined ? undefined : `http://localhost:${server.addr.port}/`;
  console.log(
    options.json
      ? JSON.stringify({ path: outputDir, url, files: Object.fromEntries(files) })
      : describe(files, outputDir, url),
  );
  if (server === undefined) return;
  signal.addEventListener("abort", () => void server.shutdown());
  if (signal.aborted) void server.shutdown(); // while it was being built
  await server.finished;
}

/** Bytes of every file, by path. */
async function sizesBelow(folder: string, prefix = ""): Promise<[string, number][]> {
  const found: [string, number][] = [];
  for await (const entry of Deno.readDir(`${folder}/${prefix}`)) {
    const path = prefix + entry.name;
    if (entry.isDirectory) found.push(...await sizesBelow(folder, `${path}/`));
    else found.push([path, (await Deno.stat(`${folder}/${path}`)).size]);
  }
  return found.sort(([a], [b]) => a.localeCompare(b));
}

function describe(files: readonly [string, number][], outputDir: string, url: string | undefined): string {
  const total = files.reduce((sum, [, bytes]) => sum + bytes, 0);
  const rows = files.map(([path, bytes]) => [path, formatBytes(bytes)]);
  const table = formatTable([...rows, ["all", formatBytes(total)]], { header: ["file", "size"], right: [1] });
  const end = url === undefined
    ? `written: ${outputDir}\nAny static host serves it, from any folder; https, or http on this machine.`
    : `Open ${url} (Ctrl-C stops).\nWebAssembly runs in one thread, which needs no cross-origin headers (COOP, COEP).`;
  return `${table}\n\n${end}`;
}
