/**
 * The demo in a real Chromium: what it says equals what the engine says, with and without network, for everybody.
 *
 * Not among the tests that every change must pass, as it needs a browser: `deno task test-browser`.
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { bundleScript } from "../../lib/host/bundle.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { buildDemoSite } from "../../lib/host/demo_site.ts";
import { decodeImage } from "../../lib/host/decode.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { sharp } from "../../lib/host/sharp.ts";
import type { SiteModel } from "../../lib/serve/demo_site.ts";
import {
  accessibilityFaults,
  type Browser,
  buildDemo,
  findChromium,
  launchBrowser,
  type Page,
  type ServedDemo,
  serveDemo,
} from "../support/browser.ts";
import { testGpu } from "../support/gpu.ts";

const IMAGES = Array.from({ length: 8 }, (_, i) => projectPath(`data/sample/test/000${i}.png`));

let root = "";
/** The engine's captions of {@linkcode IMAGES}, by three beams as on the page. */
let wanted: string[] = [];

Deno.test.beforeAll(async () => {
  await findChromium();
  root = await buildDemo();
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const images = await Promise.all(IMAGES.map((path) => Deno.readFile(path)));
  wanted = (await captioner.captionAll(images, { numBeams: 3 })).map(({ caption }) => caption);
  assert.equal(new Set(wanted).size, IMAGES.length);
});

Deno.test.afterAll(async () => {
  if (root !== "") await Deno.remove(root, { recursive: true });
});

/** Waits until a model is open, or could not be; gives what the page says. */
async function openedState(page: Page): Promise<string> {
  const state = page.locator('#state[data-state="ready"], #state[data-state="failed"]');
  await state.waitFor();
  return (await state.textContent())!;
}

/** Gives files to the page and waits for as many results. */
async function captionsOf(
  page: Page,
  files: Parameters<Page["setInputFiles"]>[1],
  count: number,
): Promise<string[]> {
  await page.setInputFiles("#files", files);
  await page.locator('#pictures > [aria-busy="false"]').nth(count - 1).waitFor();
  return await page.locator(".caption").allTextContents();
}

async function withDemo(
  options: { webgpu: boolean },
  check: (demo: ServedDemo, browser: Browser) => Promise<void>,
): Promise<void> {
  const browser = await launchBrowser(options);
  const demo = serveDemo(root);
  try {
    await check(demo, browser);
  } finally {
    await browser.close();
    await demo.stop();
  }
}

/** Playwright keeps sockets and timers of its own. */
function browserTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false, fn });
}

browserTest(
  "on WebAssembly the page captions as the engine does, survives a broken file, and runs without network",
  async () => {
    await withDemo({ webgpu: false }, async (demo, browser) => {
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(error.message));
      await page.goto(demo.url);
      assert.match(await openedState(page), /^Ready: Embedded captioner .* in q8 on WebAssembly/);
      assert.equal(new Set(wanted).size, IMAGES.length);
      assert.deepEqual(await captionsOf(page, IMAGES, IMAGES.length), wanted);
      assert.equal(await page.locator("#pictures details").first().locator("li").count(), 2);

      const broken = { name: "broken.png", mimeType: "image/png", buffer: Buffer.from("no picture") };
      const good = {
        name: "good.png",
        mimeType: "image/png",
        buffer: Buffer.from(await Deno.readFile(IMAGES[1]!)),
      };
      const after = await captionsOf(page, [broken, good], IMAGES.length + 2);
      assert.match(after.at(-2)!, /^Cannot read the file: it is damaged/);
      assert.equal(after.at(-1), wanted[1]);

      await page.evaluate(() => navigator.serviceWorker.ready);
      await demo.stop();
      await page.reload();
      assert.match(await openedState(page), /^Ready: Embedded captioner/);
      assert.deepEqual(await captionsOf(page, IMAGES.slice(0, 2), 2), wanted.slice(0, 2));
      assert.deepEqual(errors, []);
    });
  },
);

browserTest(
  "on WebGPU the page captions as the engine does, and says why it would not choose a software adapter",
  async () => {
    await withDemo({ webgpu: true }, async (demo, browser) => {
      const page = await browser.newPage();
      await page.goto(demo.url);
      assert.match(await openedState(page), /on WebAssembly.* WebGPU would run on the processor here/);
      await page.selectOption("#provider", "webgpu");
      await page.locator('#state[data-state="busy"]').waitFor();
      assert.match(await openedState(page), /^Ready: .* in q4 on WebGPU.* You chose it\./);
      // Kernels on a software adapter take a second and more for a token.
      page.setDefaultTimeout(180_000);
      await page.selectOption("#beams", "1");
      assert.deepEqual(await captionsOf(page, IMAGES.slice(0, 2), 2), wanted.slice(0, 2));
    });
  },
);

browserTest(
  "pictures are pasted, dropped and taken from the samples; captions grow; the keyboard stays among them",
  async () => {
    await withDemo({ webgpu: false }, async (demo, browser) => {
      const page = await browser.newPage();
      await page.goto(demo.url);
      await openedState(page);
      await page.evaluate(() => {
        const shown: string[] = [];
        Object.assign(globalThis, { shown });
        const watch = () => shown.push(document.querySelector(".caption")?.textContent ?? "");
        new MutationObserver(watch).observe(document.body, { subtree: true, childList: true });
      });
      for (const [i, type] of (["paste", "drop"] as const).entries()) {
        await page.evaluate(({ type, bytes }) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], `${type}.png`, { type: "image/png" }));
          const event = type === "paste"
            ? new ClipboardEvent(type, { clipboardData: data, bubbles: true })
            : new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }, { type, bytes: [...await Deno.readFile(IMAGES[i]!)] });
        await page.locator('#pictures > [data-state="done"]').nth(i).waitFor();
      }
      await page.locator(".sample").nth(2).focus();
      await page.keyboard.press("Enter");
      await page.locator('#pictures > [data-state="done"]').nth(2).waitFor();
      assert.deepEqual(await page.locator(".caption").allTextContents(), wanted.slice(0, 3));
      assert.deepEqual(await page.locator("h3").allTextContents(), ["paste.png", "drop.png", "0002.png"]);
      const shown = await page.evaluate(() => (globalThis as unknown as { shown: string[] }).shown);
      const grown = new Set(shown.filter((text) => text.endsWith(" …")));
      assert.ok(grown.size >= 3, `the caption was shown as ${[...grown].join(" | ")}`);

      const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
      await page.locator('[aria-label="Caption again: paste.png"]').focus();
      await page.keyboard.press("Enter");
      await page.locator('#pictures > [data-state="done"]').nth(2).waitFor();
      assert.equal(await focused(), "Caption again: paste.png");
      await page.locator('[aria-label="Remove: drop.png"]').focus();
      await page.keyboard.press("Enter");
      assert.equal(await page.locator("#pictures > li").count(), 2);
      assert.ok(await page.evaluate(() => document.activeElement?.closest("#pictures") !== null));
      await page.click("text=Remove all");
      assert.equal(await page.locator("#results").isVisible(), false);
    });
  },
);

browserTest(
  "axe finds nothing: empty, with captions, with everything unfolded, light and dark, wide and narrow",
  async () => {
    await withDemo({ webgpu: false }, async (demo, browser) => {
      for (const colorScheme of ["light", "dark"] as const) {
        for (const width of [1280, 360]) {
          const context = await browser.newContext({
            colorScheme,
            viewport: { width, height: 800 },
            hasTouch: width < 500,
          });
          const page = await context.newPage();
          await page.goto(demo.url);
          await openedState(page);
          const where = `${colorScheme} ${width}`;
          assert.deepEqual(await accessibilityFaults(page), [], where);
          await captionsOf(page, [IMAGES[0]!, projectPath("deno.json")], 2);
          await page.evaluate(() => document.querySelectorAll("details").forEach((one) => one.open = true));
          assert.deepEqual(await accessibilityFaults(page), [], where);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(overflow <= 0, `${where}: ${overflow} pixels too wide`);
          await context.close();
        }
      }
    });
  },
);

browserTest("neither the page nor its worker can send anything elsewhere", async () => {
  await withDemo({ webgpu: false }, async (demo, browser) => {
    const page = await browser.newPage();
    await page.goto(demo.url);
    await openedState(page);
    /** What fetching from another port of this machine says; another machine would not answer here anyway. */
    const attempt = async (): Promise<string> => {
      const scope = globalThis as unknown as EventTarget;
      const violation = new Promise<string>((resolve) =>
        scope.addEventListener(
          "securitypolicyviolation",
          (event) => resolve((event as SecurityPolicyViolationEvent).effectiveDirective),
          { once: true },
        )
      );
      return await Promise.race([
        fetch("http://localhost:1/secret").then(() => "sent", () => violation),
        new Promise<string>((resolve) => setTimeout(() => resolve("not forbidden"), 5000)),
      ]);
    };
    assert.equal(await page.evaluate(attempt), "connect-src");
    const [worker] = page.workers();
    assert.equal(await worker!.evaluate(attempt), "connect-src");
  });
});

browserTest(
  "a model of the Hub and one of this device are stored, listed, deleted; captions are copied",
  async () => {
    await withDemo({ webgpu: false }, async (demo, browser) => {
      const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"] });
      const asked: string[] = [];
      await context.route("https://huggingface.co/**", async (route) => {
        const url = route.request().url();
        asked.push(url);
        const headers = { "access-control-allow-origin": "*" };
        if (url.includes("/api/models/org/model/revision/main")) {
          const siblings = [{ rfilename: "web-llava/config.json" }];
          return await route.fulfill({ headers, json: { sha: "0123abc", siblings } });
        }
        const prefix = "https://huggingface.co/org/model/resolve/0123abc/web-llava/";
        if (!url.startsWith(prefix)) return await route.fulfill({ status: 404, headers });
        await route.fulfill({ headers, path: `${demo.path}/models/embedded/${url.slice(prefix.length)}` });
      });
      const page = await context.newPage();
      await page.goto(demo.url);
      await openedState(page);
      const load = async (reference: string): Promise<string> => {
        await page.fill("#reference", reference);
        await page.press("#reference", "Enter");
        await page.locator('#state:not([data-state="ready"])').waitFor();
        return await openedState(page);
      };
      await page.click("text=Another model");
      assert.match(await load("org/none"), /^Cannot find "org\/none": the Hub answers 404/);
      assert.match(
        await load("https://example.org/a"),
        /this page may fetch from .* alone; build it with --origin/,
      );
      assert.match(await load("org/model"), /^Ready: org\/model in q8/);
      assert.deepEqual(await captionsOf(page, [IMAGES[0]!], 1), [wanted[0]]);

      await page.setInputFiles("#folder", `${demo.path}/models/embedded`);
      await page.locator('#state[data-state="busy"]').waitFor();
      assert.match(await openedState(page), /^Ready: embedded \(this device\) in q8/);
      await page.click('button:has-text("Caption again")');
      await page.locator('#pictures > [data-state="done"]').waitFor();
      assert.equal(await page.textContent(".caption"), wanted[0]);

      await page.click("text=Copy HTML");
      await page.locator("text=Copied").first().waitFor();
      const copied = await page.evaluate(() => navigator.clipboard.readText());
      assert.equal(copied, `<img src="0000.png" alt="${wanted[0]}">`);

      await page.click("text=Stored on this device");
      assert.equal(await page.locator("#stored li").count(), 4);
      await page.click('[aria-label="Delete org/model"]');
      await page.locator('[aria-label="Delete org/model"]').waitFor({ state: "detached" });
      await page.reload();
      await openedState(page);
      const titles = await page.locator("#models option").allTextContents();
      assert.deepEqual(titles, ["Embedded captioner (drawn scenes)", "embedded (this device)"]);
      assert.ok(asked.every((url) => !url.includes("?")), "only names of files are told");
    });
  },
);

browserTest(
  "own captioners come first in the site, which is the same for the same files and replaces nothing foreign",
  async () => {
    const folder = await Deno.makeTempDir();
    const build = (models: string[], outputDir = `${folder}/site`) =>
      buildDemoSite({ outputDir, models, origins: [], images: [], onProgress: () => {} });
    const embedded = `${root}/apps/captioner/models/embedded`;
    try {
      await Deno.mkdir(`${folder}/my export`);
      await copyFolder(embedded, `${folder}/my export/web-llava`);
      await build([`${folder}/my export/`]);
      const read = (name: string) => Deno.readTextFile(`${folder}/site/${name}`);
      const before = [await read("site.json"), await read("service_worker.js")];
      const { models } = JSON.parse(before[0]!);
      assert.deepEqual(models.map(({ title, path }: SiteModel) => [title, path]), [
        ["my export", "models/my_export/"],
        ["Embedded captioner (drawn scenes)", "models/embedded/"],
      ]);
      assert.equal(models[0].version, models[1].version);
      assert.doesNotMatch((await read("index.html")) + (await read("style.css")), /(src|href)="\/|url\(\//);
      assert.match(await read("index.html"), /connect-src 'self';/);
      await build([`${folder}/my export`]);
      assert.deepEqual([await read("site.json"), await read("service_worker.js")], before);

      await assert.rejects(build([embedded, `${embedded}/`]), /two models are called "embedded"/);
      await assert.rejects(build([], `${folder}/my export`), /a folder of other origin is there/);
      await Deno.remove(`${folder}/my export/web-llava/tokenizer.json`);
      await assert.rejects(build([`${folder}/my export`]), /it has no "tokenizer.json"; export it again/);
      assert.deepEqual([await read("site.json"), await read("service_worker.js")], before);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

/** Copies files and folders. */
async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    await (isDirectory
      ? copyFolder(`${from}/${name}`, `${to}/${name}`)
      : Deno.copyFile(`${from}/${name}`, `${to}/${name}`));
  }
}

browserTest(
  "pixels are those that the engine decodes: PNG, JPEG turned by EXIF, colour profile ignored",
  async () => {
    await withDemo({ webgpu: false }, async (demo, browser) => {
      const page = await browser.newPage();
      await page.goto(demo.url);
      await page.evaluate(`(() => {${await bundleScript("tests/demo/pixels_probe.ts")}})()`);
      const picture = await Deno.readFile(IMAGES[0]!);
      const cut = sharp(picture).extract({ left: 0, top: 0, width: 97, height: 61 });
      const cases: [string, Uint8Array, number][] = [
        ["PNG", picture, 0],
        ["JPEG", await cut.clone().jpeg({ quality: 90 }).toBuffer(), 0],
        ["turned", await cut.clone().jpeg({ quality: 90 }).withMetadata({ orientation: 6 }).toBuffer(), 0],
        ["profile", await cut.clone().withIccProfile("p3").png().toBuffer(), 0],
      ];
      for (const [name, bytes, tolerance] of cases) {
        const want = await decodeImage(new Uint8Array(bytes));
        const found = await page.evaluate(async (values) => {
          const decode = (globalThis as unknown as {
            decodePicture: (
              bytes: Uint8Array,
            ) => Promise<{ width: number; height: number; data: Uint8Array }>;
          }).decodePicture;
          const { width, height, data } = await decode(Uint8Array.from(values));
          return { width, height, data: [...data] };
        }, [...bytes]);
        assert.deepEqual([found.width, found.height], [want.width, want.height], name);
        const difference = Math.max(...found.data.map((value, i) => Math.abs(value - want.data[i]!)));
        assert.ok(difference <= tolerance, `${name}: pixels differ by ${difference}`);
      }
    });
  },
);
