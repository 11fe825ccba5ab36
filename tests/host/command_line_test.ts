import assert from "node:assert/strict";
import { projectPath } from "../../lib/host/model_folders.ts";

const ROOT = projectPath("");
const IMAGE = `${ROOT}data/sample/test/0000.png`;

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", `${ROOT}mod.ts`, "caption", ...args],
    cwd: ROOT,
    stdout: "piped",
    stderr: "piped",
  });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

Deno.test("caption refuses an unknown flag with a suggestion", async () => {
  const { code, err } = await run("--num-beam", "3", IMAGE);
  assert.equal(code, 2);
  assert.match(err, /--num-beams/);
});

Deno.test("caption names a model that is not there and what to give instead", async () => {
  const { code, err } = await run("--model", "no/such/model", IMAGE);
  assert.equal(code, 1);
  assert.match(err, /no\/such\/model/);
  assert.match(err, /config\.json/);
});

Deno.test("caption prints one JSON object an image, keeps going past damaged ones, and exits with 1", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const bytes = await Deno.readFile(IMAGE);
    await Deno.writeFile(`${folder}/a.png`, bytes);
    await Deno.writeFile(`${folder}/b.png`, bytes.subarray(0, bytes.length / 2));
    await Deno.writeFile(`${folder}/c.png`, new Uint8Array());
    await Deno.writeFile(`${folder}/d.txt`, new TextEncoder().encode("no image"));
    const files = ["a.png", "b.png", "c.png"].map((name) => `${folder}/${name}`);
    const { code, out, err } = await run(
      "--model",
      "embedded:captioner",
      "--num-beams",
      "1",
      "--json",
      ...files,
    );
    assert.equal(code, 1, err);
    const lines = out.trim().split("\n").map((line) => JSON.parse(line));
    assert.equal(lines.length, 3);
    for (const [i, name] of ["b.png", "c.png"].entries()) {
      assert.deepEqual(Object.keys(lines[i + 1]), ["image", "error"]);
      assert.equal(lines[i + 1].image, `${folder}/${name}`);
      assert.match(err, new RegExp(`${name}: .+`));
    }
    assert.equal(lines[0].image, `${folder}/a.png`);
    assert.ok(lines[0].caption.length > 3);
    assert.ok(lines[0].log_probability < 0 && lines[0].tokens > 1);
    assert.match(err, /2 of 3 images/);
    assert.doesNotMatch(err, /XDG_RUNTIME_DIR/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
