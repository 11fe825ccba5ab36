/** Data sets so small that a split is empty: said, not passed over. */
import assert from "node:assert/strict";
import { projectPath } from "../../lib/host/model_folders.ts";
import { inTemporaryFolder, runTaskScript } from "../support/hub_client.ts";

Deno.test("training without validation images says that nothing is evaluated", async () => {
  await inTemporaryFolder(async (folder) => {
    const sample = projectPath("data/sample/test");
    const lines = (await Deno.readTextFile(`${sample}/metadata.jsonl`)).split("\n").slice(0, 2);
    await Deno.mkdir(`${folder}/two`);
    await Deno.writeTextFile(`${folder}/two/metadata.jsonl`, lines.join("\n"));
    for (const name of ["0000.png", "0001.png"]) {
      await Deno.copyFile(`${sample}/${name}`, `${folder}/two/${name}`);
    }
    const flags = "--encoder-model embedded:siglip --decoder-model embedded:llama --max-steps 1";
    const { code, stdout, stderr } = await runTaskScript(
      "tasks/train.ts",
      [...flags.split(" "), "--dataset", `${folder}/two`, "--save-dir", `${folder}/runs`],
      {},
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout + stderr, /No validation images: nothing is evaluated on the way/);
  });
});
