/** A Chromium for tests, and the demo served to it: the one file that knows the packages that drive and judge pages. */
import axe from "axe-core";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { UserError } from "../../lib/base/errors.ts";
import { buildDemoSite } from "../../lib/host/demo_site.ts";
import { stat } from "../../lib/host/files.ts";
import { serveFolder } from "../../lib/host/static_server.ts";
import { HUB_ORIGINS } from "../../lib/serve/demo_site.ts";

export type { Browser, BrowserContext, Page };

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/opt/google/chrome/chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

/** Path of an installed Chromium; `CHROMIUM` names another. @throws {UserError} when there is none */
export async function findChromium(): Promise<string> {
  const named = Deno.env.get("CHROMIUM");
  for (const path of named === undefined ? PLACES : [named]) if ((await stat(path))?.isFile) return path;
  throw new UserError(
    named === undefined
      ? "Cannot test in a browser: no Chromium is installed; install one (Debian: apt-get install chromium), or name it with CHROMIUM=path"
      : `Cannot test in a browser: CHROMIUM names "${named}", which is no file`,
  );
}

/** Starts it without a window; `webgpu` gives it a software adapter. */
export async function launchBrowser({ webgpu }: { webgpu: boolean }): Promise<Browser> {
  const gpu = webgpu
    ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    : ["--disable-gpu"];
  return await chromium.launch({
    executablePath: await findChromium(),
    // Who runs tests as root, in a container, has no sandbox.
    args: ["--headless", "--no-sandbox", ...gpu],
  });
}

/** Builds the demo below a folder, as hosts have it that have other pages; gives the host's root. */
export async function buildDemo(): Promise<string> {
  const root = await Deno.makeTempDir();
  const path = `${root}/apps/captioner`;
  await Deno.mkdir(`${root}/apps`);
  await buildDemoSite({
    outputDir: path,
    models: [],
    origins: HUB_ORIGINS,
    images: [],
    onProgress: () => {},
  });
  return root;
}

/** The demo, served without any header of its own. */
export interface ServedDemo {
  url: string;
  /** Folder of the files. */
  path: string;
  stop(): Promise<void>;
}

/** Serves what {@linkcode buildDemo} made. */
export function serveDemo(root: string): ServedDemo {
  const server = serveFolder({ path: root, port: 0, headers: {} });
  const folder = "apps/captioner";
  return {
    url: `http://localhost:${server.addr.port}/${folder}/`,
    path: `${root}/${folder}`,
    stop: () => server.shutdown(),
  };
}

/** Rules of accessibility that the page breaks, with the elements that break them. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    })
  );
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}
