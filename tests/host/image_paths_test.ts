import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import { expandImages } from "../../lib/host/image_paths.ts";
import { projectPath } from "../../lib/host/model_folders.ts";

Deno.test("expandImages finds images by content, by name and through links, and no other files", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/deep/er`, { recursive: true });
    const image = projectPath("data/sample/test/0000.png");
    await Deno.copyFile(image, `${folder}/deep/er/no_extension`);
    await Deno.copyFile(image, `${folder}/b.PNG`);
    await Deno.writeTextFile(`${folder}/a.jpg`, ""); // damaged: captioning it will say so
    await Deno.writeTextFile(`${folder}/metadata.jsonl`, "{}");
    if (Deno.build.os !== "windows") {
      await Deno.symlink(image, `${folder}/link.png`);
      await Deno.symlink(folder, `${folder}/deep/circle`);
    }
    const names = ["a.jpg", "b.PNG", "deep/er/no_extension"];
    if (Deno.build.os !== "windows") names.push("link.png");
    const expected = names.map((name) => `${folder}/${name}`);
    assert.deepEqual(await expandImages([folder]), expected);
    assert.deepEqual(await expandImages([`${folder}//`]), expected);
    assert.deepEqual(await expandImages([`${folder}/metadata.jsonl`]), [`${folder}/metadata.jsonl`]);
    await assert.rejects(expandImages([`${folder}/none`]), UserError);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
