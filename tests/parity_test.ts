/** Parity with PyTorch: the golden cases as tests, and what the comparison says of cases that do not agree. */
import assert from "node:assert/strict";
import { findParityCases, formatParity, runParityCase } from "../lib/host/parity.ts";
import { compare, compareIds, compareNames } from "../lib/host/parity_rows.ts";
import { testGpu } from "./support/gpu.ts";

const GOLDEN = new URL("golden/parity", import.meta.url).pathname;

/** A copy of a golden case that a test may change. */
async function copyCase(name: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  const copy = async (from: string, to: string): Promise<void> => {
    await Deno.mkdir(to, { recursive: true });
    for await (const { name, isDirectory } of Deno.readDir(from)) {
      if (isDirectory) await copy(`${from}/${name}`, `${to}/${name}`);
      else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
    }
  };
  await copy(`${GOLDEN}/${name}`, folder);
  return folder;
}

/** The folders in tests/golden/parity. */
const CASES = [
  "bert",
  "clip",
  "roberta",
  "siglip-llama",
  "siglip-llama-bf16-mlp-unfreeze",
  "siglip-llama-odd",
  "siglip-opt",
  "siglip-phi3",
  "siglip-qwen2",
  "siglip-two-tower",
  "siglip-two-tower-odd",
  "vit-gpt2",
];

const HIDDEN_STATES = [0, 1, 2, 3].map((layer) => `hidden_states.${layer}`);

/** What has to be compared, by kind of case. */
const WANTED = {
  training: [
    "vision_features",
    "prefix_embeddings",
    "logits",
    "loss",
    "gradient",
    "greedy_ids",
    "beam3_ids",
    "losses of all steps",
    "final_loss_batch0",
    "projection after training",
    "lora after training",
  ],
  contrastive: ["image_embeds", "text_embeds", "logits_per_image", "loss", "gradient"],
  clip: ["image_features", "text_features", "logits_per_image", "paired_cosine"],
  text: HIDDEN_STATES,
};

function kindOf(name: string): keyof typeof WANTED {
  if (name.startsWith("siglip-two-tower")) return "contrastive";
  if (name === "clip") return name;
  return name === "bert" || name === "roberta" ? "text" : "training";
}

for (const name of CASES) {
  Deno.test(`everything agrees with PyTorch: ${name}`, async () => {
    const report = await runParityCase(await testGpu(), `${GOLDEN}/${name}`);
    assert.equal(report.status, "passed", formatParity(report, { verbose: true }));
    const compared = report.rows.map(({ what }) => what.replace(/^grad\..*/, "gradient"));
    const wanted = WANTED[kindOf(name)];
    assert.deepEqual(wanted.filter((what) => !compared.includes(what)), []);
    // What vanishes on paper may pass by size; everything else agrees to a hundredth of what is allowed.
    const loose = report.rows.filter((row) => row.note === undefined && row.relative > 0.1 * row.tolerance);
    assert.deepEqual(loose, []);
  });
}

Deno.test("a changed weight, gradient and id fail, each in its own row", async () => {
  const folder = await copyCase("siglip-llama");
  try {
    const path = `${folder}/expected.safetensors`;
    const bytes = await Deno.readFile(path);
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const change = (name: string, set: (view: DataView) => void): void => {
      const [start] = header[name].data_offsets;
      set(new DataView(bytes.buffer, 8 + length + start));
    };
    const gradient = Object.keys(header).find((name) => name.includes("layers.1.self_attn.v_proj.lora_B"))!;
    change(gradient, (view) => view.setFloat32(0, view.getFloat32(0, true) + 0.01, true));
    change("beam3_ids", (view) => view.setInt32(0, 77, true));
    await Deno.writeFile(path, bytes);
    const report = await runParityCase(await testGpu(), folder);
    assert.equal(report.status, "failed");
    const bad = report.rows.filter(({ passed }) => !passed);
    assert.deepEqual(bad.map(({ what }) => what), [
      gradient.replace(".default.weight", ".weight"),
      "beam3_ids",
    ]);
    const text = formatParity(report, { verbose: false });
    assert.match(text, /: 2 of 40 comparisons FAILED/);
    assert.match(text, /beam3_ids .* FAILED {2}1 of \d+ differ/);
    assert.ok(text.split("\n").length < formatParity(report, { verbose: true }).split("\n").length);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("another model family is not supported, a damaged case fails; both say why", async () => {
  const gpu = await testGpu();
  const folder = await copyCase("siglip-llama");
  try {
    const path = `${folder}/decoder/config.json`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replace('"model_type": "llama"', '"model_type": "mamba"'));
    const other = await runParityCase(gpu, folder);
    assert.equal(other.status, "not supported");
    assert.match(other.reason!, /"model_type" is "mamba", expected one of llama, /);
    assert.match(formatParity(other, { verbose: false }), /: not supported: Cannot use /);
    await Deno.writeTextFile(path, text);
    await Deno.truncate(`${folder}/inputs.safetensors`, 5000);
    const damaged = await runParityCase(gpu, folder);
    assert.equal(damaged.status, "failed");
    assert.match(damaged.reason!, /inputs\.safetensors/);
    await Deno.remove(`${folder}/inputs.safetensors`);
    const missing = await runParityCase(gpu, folder);
    assert.equal(missing.status, "failed");
    assert.match(missing.reason!, /inputs\.safetensors": it does not exist/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("cases are found at a folder or anywhere below it, and no case is an error", async () => {
  assert.deepEqual((await findParityCases(GOLDEN)).map((path) => path.split("/").at(-1)), CASES);
  assert.deepEqual(await findParityCases(`${GOLDEN}/siglip-llama/`), [`${GOLDEN}/siglip-llama`]);
  const empty = await Deno.makeTempDir();
  try {
    await assert.rejects(findParityCases(empty), {
      name: "UserError",
      message: /^Cannot compare ".*": neither /,
    });
    await Deno.mkdir(`${empty}/a/b/c`, { recursive: true });
    await Deno.writeTextFile(`${empty}/a/b/c/case.json`, "{}");
    assert.deepEqual(await findParityCases(empty), [`${empty}/a/b/c`]);
  } finally {
    await Deno.remove(empty, { recursive: true });
  }
  await assert.rejects(findParityCases(`${GOLDEN}/nowhere`), {
    name: "UserError",
    message: /does not exist/,
  });
});

Deno.test("the task exits with 1 when a case is not supported", async () => {
  const folder = await copyCase("siglip-two-tower");
  try {
    const path = `${folder}/model/config.json`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replaceAll('"model_type": "siglip"', '"model_type": "blip"'));
    const task = new URL("../tasks/parity.ts", import.meta.url).pathname;
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", task, folder, "--json"],
    }).output();
    assert.equal(code, 1);
    const { passed, cases } = JSON.parse(new TextDecoder().decode(stdout));
    assert.equal(passed, false);
    assert.equal(cases[0].status, "not supported");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("comparisons see lengths, NaN, infinities, missing names and captions that go on", () => {
  const tolerance = 1e-3;
  assert.equal(compare("x", [[1, 2.001], [1, 2]], { tolerance }).passed, true);
  const off = compare("x", [[1, 2.01], [1, 2]], { tolerance });
  assert.equal(off.passed, false);
  assert.ok(Math.abs(off.absolute - 0.01) < 1e-12 && Math.abs(off.relative - 0.005) < 1e-12);
  for (const got of [[1], [1, 2, 3], [1, NaN], [1, Infinity], []]) {
    const row = compare("x", [got, [1, 2]], { tolerance });
    assert.equal(row.passed, false);
    assert.equal(row.relative, Infinity);
    assert.ok(row.note !== undefined);
  }
  assert.equal(compare("x", [[NaN], [NaN]], { tolerance }).passed, false);
  assert.equal(compare("x", [[0], [0]], { tolerance }).passed, true);
  assert.equal(compare("x", [[5e-8], [0]], { tolerance }).passed, false);
  const rounded = compare("x", [[5e-8], [0]], { tolerance, rounding: 1e-7 });
  assert.ok(rounded.passed && rounded.note === "nothing but rounding");
  assert.equal(compare("x", [[5e-7], [0]], { tolerance, rounding: 1e-7 }).passed, false);
  assert.equal(compareIds("x", [1, 2], [1, 2]).passed, true);
  assert.equal(compareIds("x", [1, 2, 3], [1, 2]).passed, false);
  assert.equal(compareIds("x", [1], [1, 2]).passed, false);
  assert.equal(compareNames("x", ["a", "b"], ["b", "a"]).passed, true);
  assert.equal(compareNames("x", ["a"], ["b", "a"]).passed, false);
  assert.equal(compareNames("x", ["a", "b"], ["a"]).passed, false);
});
