import assert from "node:assert/strict";
import { FORMATS } from "../../demo/formats.ts";

const picture = { name: `my "cat" (1).png`, caption: `A <big> & "red" [cat] \\ dog` };

Deno.test("captions are copied as they are", () => {
  assert.equal(FORMATS.Text(picture), picture.caption);
});

Deno.test("HTML keeps what would end an attribute or begin a tag", () => {
  assert.equal(
    FORMATS.HTML(picture),
    `<img src="my &quot;cat&quot; (1).png" alt="A &lt;big&gt; &amp; &quot;red&quot; [cat] \\ dog">`,
  );
});

Deno.test("Markdown escapes brackets, and puts names with spaces or brackets in angle brackets", () => {
  assert.equal(FORMATS.Markdown(picture), `![A <big> & "red" \\[cat\\] \\\\ dog](<my "cat" (1).png>)`);
  assert.equal(FORMATS.Markdown({ name: "a.png", caption: "A cat." }), "![A cat.](a.png)");
  assert.equal(FORMATS.Markdown({ name: "a<b>.png", caption: "" }), "![](<a\\<b\\>.png>)");
});
