import assert from "node:assert/strict";
import { locateModel } from "../../demo/model_reference.ts";

/** Answers as the Hub does, of one repository; `location` is a page's. */
async function withHub(check: () => Promise<void>, answer: (url: string) => Response): Promise<void> {
  const { fetch } = globalThis;
  globalThis.fetch = (input) => Promise.resolve(answer(String(input)));
  Object.defineProperty(globalThis, "location", {
    value: new URL("https://page.org/demo/"),
    configurable: true,
  });
  try {
    await check();
  } finally {
    globalThis.fetch = fetch;
    delete (globalThis as { location?: unknown }).location;
  }
}

const origins = ["https://huggingface.co"];
const locate = (text: string) => locateModel(text, { origins });

Deno.test("a Hub id is pinned to its commit, and its folder for browsers is found", async () => {
  const asked: string[] = [];
  await withHub(async () => {
    const { title, base } = await locate(" org/model ");
    assert.equal(title, "org/model");
    assert.equal(base, "https://huggingface.co/org/model/resolve/abc/web-llava/");
    assert.equal(
      (await locate("org/model/other@v1.0")).base,
      "https://huggingface.co/org/model/resolve/abc/other/",
    );
  }, (url) => {
    asked.push(url);
    return Response.json({ sha: "abc", siblings: [{ rfilename: "web-llava/config.json" }] });
  });
  assert.deepEqual(asked.map((url) => url.split("/models/")[1]), [
    "org/model/revision/main",
    "org/model/revision/v1.0",
  ]);
});

Deno.test("addresses are taken from the page's own site and from allowed ones", async () => {
  await withHub(async () => {
    assert.equal((await locate("https://page.org/models/a")).base, "https://page.org/models/a/");
    assert.equal((await locate("https://huggingface.co/org/model/resolve/main")).title, "main");
    await assert.rejects(
      locate("https://else.org/a/"),
      /may fetch from page\.org, huggingface\.co alone; build it with --origin https:\/\/else\.org/,
    );
  }, () => new Response());
});

Deno.test("what is no model is refused with what was expected", async () => {
  await withHub(async () => {
    await assert.rejects(locate("cat"), /expected a Hub id such as org\/name/);
    await assert.rejects(locate("org/none"), /the Hub answers 404/);
    await assert.rejects(locateModel("org/model", { origins: [] }), /this page was made without the Hub/);
  }, () => new Response(null, { status: 404 }));
});
