/**
 * The page of a quality report in a real Chromium: complete without network, for everybody, by keyboard.
 *
 * Not among the tests that every change must pass, as it needs a browser: `deno task test-browser`.
 */
import assert from "node:assert/strict";
import { parseQualityArguments } from "../../lib/host/quality_command.ts";
import { reportQuality } from "../../lib/host/quality_report.ts";
import { accessibilityFaults, launchBrowser, type Page } from "../support/browser.ts";
import { testGpu } from "../support/gpu.ts";

let root = "";
Deno.test.beforeAll(async () => {
  root = await Deno.makeTempDir();
  const options = { ...parseQualityArguments(["--split", "all"]), gpu: await testGpu(), quiet: true };
  await reportQuality({ ...options, split: "test", outputDir: `${root}/before` });
  await reportQuality({ ...options, outputDir: `${root}/report`, compare: `${root}/before` });
});
Deno.test.afterAll(() => Deno.remove(root, { recursive: true }));

/** Playwright keeps sockets and timers of its own. */
function browserTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false, fn });
}

async function withPage(
  options: { width: number; colorScheme: "light" | "dark"; javaScriptEnabled?: boolean },
  check: (page: Page) => Promise<void>,
): Promise<void> {
  const { width, ...rest } = options;
  const browser = await launchBrowser({ webgpu: false });
  try {
    const context = await browser.newContext({ ...rest, viewport: { width, height: 800 }, offline: true });
    const page = await context.newPage();
    const problems: string[] = [];
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("request", (request) => {
      if (!/^(file|data):/.test(request.url())) problems.push(request.url());
    });
    await page.goto(`file://${root}/report/report.html`);
    await check(page);
    assert.deepEqual(problems, []);
  } finally {
    await browser.close();
  }
}

browserTest("axe finds nothing, with everything unfolded, light and dark, wide and narrow", async () => {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1280, 360]) {
      await withPage({ width, colorScheme }, async (page) => {
        await page.evaluate(() => document.querySelectorAll("details").forEach((one) => one.open = true));
        const where = `${colorScheme} ${width}`;
        assert.deepEqual(await accessibilityFaults(page), [], where);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${where}: ${overflow} pixels too wide`);
        const broken = await page.evaluate(() =>
          [...document.images].filter((one) => !one.complete || one.naturalWidth === 0).length
        );
        assert.equal(broken, 0, "every picture is shown");
      });
    }
  }
});

browserTest("charts are read out by arrow keys and by pointer", async () => {
  await withPage({ width: 1000, colorScheme: "light" }, async (page) => {
    assert.equal(await page.locator("figure[data-readouts]").count(), 4);
    const figure = page.locator("figure[data-readouts]").first();
    const slider = figure.locator("input[type=range]");
    await slider.focus();
    await page.keyboard.press("End");
    assert.equal(
      await figure.locator("output").textContent(),
      "The rarest 100.0 % of the objects have 100.0 % of the mentions",
    );
    assert.match((await slider.getAttribute("aria-valuetext"))!, /100\.0 %/);
    await page.keyboard.press("Home");
    assert.match((await figure.locator("output").textContent())!, /rarest 0\.0 %/);
    const box = (await figure.locator("svg").boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    assert.match((await figure.locator("output").textContent())!, /rarest (4|5)\d\.\d %/);
  });
});

browserTest("the gallery is sorted and filtered by keyboard, and says how many are shown", async () => {
  await withPage({ width: 1000, colorScheme: "light" }, async (page) => {
    const values = (name: string) =>
      page.locator("#gallery > article:visible").evaluateAll(
        (cards, key) => cards.map((card) => Number((card as HTMLElement).dataset[key])),
        name,
      );
    const combined = await values("combined");
    assert.equal(combined.length, 120);
    assert.deepEqual(combined, combined.toSorted((a, b) => b - a));
    await page.locator("#sort").focus();
    await page.keyboard.press("ArrowDown");
    const clip = await values("clip");
    assert.deepEqual(clip, clip.toSorted((a, b) => a - b));
    await page.selectOption("#filter", "too_short");
    const shown = await page.locator("#gallery > article:visible").count();
    assert.ok(shown > 0 && shown < 120);
    assert.equal(await page.locator("#shown").textContent(), `${shown} of 120 pairs shown`);
  });
});

browserTest("without a script everything is there but the controls", async () => {
  await withPage({ width: 1000, colorScheme: "light", javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("#gallery > article").count(), 120);
    assert.equal(await page.locator("figure svg").count(), 4);
    assert.equal(await page.locator("#controls").isVisible(), false);
  });
});
