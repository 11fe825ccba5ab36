/**
 * The review page in a real Chromium: by keyboard, at phone width, for everybody.
 *
 * Not among the tests that every change must pass, as it needs a browser: `deno task test-browser`.
 */
import assert from "node:assert/strict";
import { Review } from "../../lib/host/review.ts";
import { accessibilityFaults, launchBrowser, type Page } from "../support/browser.ts";

/** Opens the page on some rows of the embedded sample. Playwright keeps sockets and timers of its own. */
function reviewTest(name: string, check: (page: Page, review: Review) => Promise<void>): void {
  const fn = async () => {
    const folder = await Deno.makeTempDir();
    const browser = await launchBrowser({ webgpu: false });
    const review = await Review.open({
      dataset: "sample",
      captionColumn: "original_alt_text",
      split: "test",
      sample: 6,
      seed: 42,
      maxBadRows: 0.05,
      show: "all",
      decisions: `${folder}/review.db`,
      outputDir: `${folder}/reviewed`,
      format: "image-folder",
      undecided: "keep",
    });
    const server = review.serve(0);
    try {
      const page = await browser.newPage();
      const errors: string[] = [];
      page.on("pageerror", (error) => errors.push(error.message));
      page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      await check(page, review);
      assert.deepEqual(errors, []);
    } finally {
      await browser.close();
      await server.shutdown();
      review[Symbol.dispose]();
      await Deno.remove(folder, { recursive: true });
    }
  };
  Deno.test({ name, sanitizeOps: false, sanitizeResources: false, fn });
}

const atPair = (page: Page, number: number) =>
  page.locator("#place", { hasText: `Pair ${number} of 6` }).waitFor();

reviewTest("pairs are accepted, edited, rejected and taken back by keyboard", async (page, review) => {
  await atPair(page, 1);
  await page.keyboard.press("a");
  await atPair(page, 2);
  assert.match((await page.locator("#status").textContent())!, /Pair 1 accepted, saved/);
  await page.keyboard.press("r");
  await atPair(page, 3);
  await page.keyboard.press("e");
  await page.keyboard.type("A man & <b>a dog</b>");
  await page.locator("#text-terms", { hasText: "man (gender)" }).waitFor();
  await page.keyboard.press("Control+Enter");
  await atPair(page, 4);
  assert.deepEqual(review.counts(), { accept: 1, edit: 1, reject: 1 });
  await page.keyboard.press("ArrowLeft");
  await atPair(page, 3);
  // What was typed is text, with its terms marked.
  assert.equal(await page.locator("#caption").textContent(), "A man & <b>a dog</b>");
  assert.deepEqual(await page.locator("#caption mark").allTextContents(), ["man"]);
  await page.keyboard.press("u");
  await page.locator('#decision[data-decision=""]').waitFor({ state: "attached" });
  await page.locator("#counts", { hasText: "0 edited" }).waitFor();
  assert.deepEqual(review.counts(), { accept: 1, edit: 0, reject: 1 });
  await page.keyboard.press("x");
  await page.locator("#status", { hasText: "Exported 5 pairs" }).waitFor();
});

reviewTest("at the width of a phone nothing is cut off, and nobody is shut out", async (page) => {
  await atPair(page, 1);
  for (const [width, height] of [[1280, 800], [360, 740]] as const) {
    await page.setViewportSize({ width, height });
    await page.locator("#image").evaluate((image: HTMLImageElement) => image.decode());
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${wide} pixels too wide`);
    assert.deepEqual(await accessibilityFaults(page), []);
  }
});
