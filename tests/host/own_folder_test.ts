import assert from "node:assert/strict";
import { UserError } from "../../lib/base/errors.ts";
import { refuseForeignFolder } from "../../lib/host/own_folder.ts";

const MARK = "# Written by a test";

Deno.test("refuseForeignFolder lets go what is not there, empty or its own, and nothing else", async () => {
  const folder = await Deno.makeTempDir();
  const at = (name: string) => refuseForeignFolder(`${folder}/${name}`, MARK);
  try {
    await at("none");
    await Deno.mkdir(`${folder}/empty`);
    await at("empty");
    await Deno.mkdir(`${folder}/own`);
    await Deno.writeTextFile(`${folder}/own/README.md`, `---\na: b\n---\n\n${MARK}\n`);
    await Deno.writeTextFile(`${folder}/own/model.safetensors`, "");
    await at("own");
    await Deno.mkdir(`${folder}/foreign`);
    await Deno.writeTextFile(`${folder}/foreign/model.safetensors`, "");
    await assert.rejects(at("foreign"), UserError);
    await Deno.writeTextFile(`${folder}/foreign/README.md`, "# My model\n");
    await assert.rejects(at("foreign"), /foreign": a folder of other origin .+ remove it, or name another/);
    await Deno.writeTextFile(`${folder}/file`, "");
    await assert.rejects(at("file"), /a file of other origin/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
