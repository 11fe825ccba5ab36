/** Saying nothing, holding texts against images, and the thresholds that both need: through the command line and the embedded captioner. */
import assert from "node:assert/strict";
import { drawNonPhotograph } from "../../lib/datasets/non_photographs.ts";
import { openCalibration, requireCalibration, writeCalibration } from "../../lib/host/calibration.ts";
import { confidencesOf } from "../../lib/host/calibrate.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { exportOnnx } from "../../lib/host/export_onnx.ts";
import { filesBelow } from "../../lib/host/files.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { encodeBmp } from "../../lib/image/bmp.ts";
import { CALIBRATION_FILE, reasonToAbstain } from "../../lib/models/calibration.ts";
import { testGpu } from "../support/gpu.ts";
import { inTemporaryFolder } from "../support/hub_client.ts";

const SCENE = projectPath("data/sample/test/0000.png");
const OTHER_SCENE = projectPath("data/sample/test/0001.png");

/** The embedded captioner under another path, without thresholds. */
async function copyCaptioner(folder: string): Promise<string> {
  const from = projectPath("data/tiny/captioner");
  await Deno.mkdir(`${folder}/captioner/adapter`, { recursive: true });
  for (const { path } of await filesBelow(from)) {
    if (path !== CALIBRATION_FILE) await Deno.copyFile(`${from}/${path}`, `${folder}/captioner/${path}`);
  }
  return `${folder}/captioner`;
}

async function run(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...args],
    cwd: projectPath(""),
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

const caption = (...args: string[]) => run("mod.ts", "caption", "--model", "embedded:captioner", ...args);
const jsonLines = (text: string) => text.trim().split("\n").map((line) => JSON.parse(line));

Deno.test("caption --abstain captions a scene, and says of noise and of a blank picture why it does not", async () => {
  await inTemporaryFolder(async (folder) => {
    const [noise, blank] = [`${folder}/noise.bmp`, `${folder}/blank.bmp`];
    await Deno.writeFile(noise, encodeBmp(drawNonPhotograph("noise", 77)));
    await Deno.writeFile(blank, encodeBmp(drawNonPhotograph("blank", 77)));
    const json = await caption("--abstain", "--json", SCENE, noise, blank);
    assert.equal(json.code, 3, json.stderr);
    const [first, ...others] = jsonLines(json.stdout);
    assert.equal(first.caption, "Four red buses in the snow.");
    assert.ok(!("reason" in first) && first.image_gain_per_token > 1);
    assert.ok(Math.abs(first.log_probability / first.tokens - first.log_probability_per_token) < 1e-12);
    for (const { caption, reason, log_probability_per_token } of others) {
      assert.equal(caption, null);
      assert.match(reason, /the model is not sure|the image hardly matters/);
      assert.ok(log_probability_per_token < 0);
    }
    const plain = await caption("--abstain", SCENE, noise);
    assert.equal(plain.code, 3);
    assert.equal(plain.stdout, `${SCENE}\tFour red buses in the snow.\n${noise}\t\n`);
    assert.match(plain.stderr, /noise\.bmp: no caption: /);
    const sure = await caption("--abstain", SCENE);
    assert.equal(sure.code, 0, sure.stderr);
    // What failed weighs more than what was left out.
    await Deno.writeTextFile(`${folder}/broken.png`, "no image");
    assert.equal((await caption("--abstain", noise, `${folder}/broken.png`)).code, 1);
  });
});

Deno.test("caption --score holds a text against images, with a verdict where there are thresholds", async () => {
  const text = "Four red buses in the snow.";
  const scored = await caption("--score", text, "--json", SCENE, OTHER_SCENE);
  assert.equal(scored.code, 3, scored.stderr);
  const [fits, other] = jsonLines(scored.stdout);
  assert.deepEqual([fits.text, fits.accepted, fits.image], [text, true, SCENE]);
  assert.equal(other.accepted, false);
  assert.match(other.reason, /not sure.+hardly matters/);
  assert.ok(other.image_gain < 0);
  const [captioned] = jsonLines((await caption("--json", SCENE)).stdout);
  for (const field of ["log_probability", "image_gain", "tokens"]) {
    assert.ok(Math.abs(fits[field] - captioned[field]) < 1e-3, field);
  }
  const plain = await caption("--score", text, SCENE);
  assert.equal(plain.code, 0);
  assert.match(plain.stdout, /0000\.png\t-0\.\d+ per token\t2\.\d+ by the image\tfits\n$/);
});

Deno.test("texts that cannot be scored, and flags that do not go together, are refused", async () => {
  for (
    const [args, code, message] of [
      [["--score", " "], 1, /Cannot score a text without visible characters/],
      [
        ["--score", "red ".repeat(50)],
        1,
        /text of \d+ tokens, its end included: the captioner was trained for 30/,
      ],
      [["--score", "A cat.", "--abstain"], 2, /'--score <text>' cannot be used with option '--abstain'/],
    ] as const
  ) {
    const refused = await caption(...args, SCENE);
    assert.equal(refused.code, code, refused.stderr);
    assert.match(refused.stderr, message);
    assert.equal(refused.stdout, "");
  }
});

Deno.test("without thresholds abstaining is refused with the command that finds them; damaged ones are named", async () => {
  await inTemporaryFolder(async (folder) => {
    const model = await copyCaptioner(folder);
    assert.equal(await openCalibration(model), undefined);
    await assert.rejects(requireCalibration(model), {
      name: "UserError",
      message: new RegExp(`it has no confidence\\.json; .+ deno task evaluate --calibrate --model ${model}`),
    });
    const refused = await caption("--abstain", "--model", model, SCENE);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /deno task evaluate --calibrate/);
    const scored = await caption("--score", "A cat.", "--json", "--model", model, SCENE);
    assert.equal(scored.code, 0);
    assert.match(scored.stderr, /no verdict/);
    assert.ok(!("accepted" in JSON.parse(scored.stdout)));
    await Deno.writeTextFile(`${model}/${CALIBRATION_FILE}`, '{"version":1,"min_log_pr');
    await assert.rejects(openCalibration(model), {
      name: "UserError",
      message: /confidence\.json.+not JSON.+deno task evaluate --calibrate/,
    });
    // Captions as such need no thresholds.
    assert.equal((await caption("--model", model, SCENE)).code, 0);
    await assert.rejects(writeCalibration("org/name", (await openCalibration("embedded:captioner"))!), {
      name: "UserError",
      message: /Cannot keep thresholds with "org\/name"/,
    });
  });
});

Deno.test("evaluate --calibrate keeps thresholds with the model, and refuses a handful of captions", async () => {
  await inTemporaryFolder(async (folder) => {
    const model = await copyCaptioner(folder);
    const args = ["--model", model, "--calibrate", "--error-metric", "exact", "--num-beams", "1", "--json"];
    const out = ["--output-dir", `${folder}/out`, "--bootstrap-samples", "10"];
    const few = await run("tasks/evaluate.ts", ...args, ...out, "--sample", "20");
    assert.equal(few.code, 1);
    assert.match(few.stderr, /Cannot calibrate on 20 captions: expected at least 30/);
    assert.equal(await openCalibration(model), undefined);
    const kinds = ["--non-photographs", "noise", "blank", "--non-photograph-count", "10"];
    const goal = ["--target-error", "0.02"];
    const done = await run("tasks/evaluate.ts", ...args, ...out, ...kinds, ...goal);
    assert.equal(done.code, 0, done.stderr);
    const { calibration, coverage, count } = JSON.parse(done.stdout);
    assert.equal(count, 60);
    assert.ok(calibration.coverage > 0.5 && calibration.error <= 0.02);
    assert.deepEqual(Object.keys(calibration.false_captions), ["noise", "blank"]);
    assert.ok(coverage.log_probability_per_token.area <= coverage.error);
    const kept = (await openCalibration(model))!;
    assert.deepEqual(kept.thresholds, {
      logProbPerToken: calibration.min_log_probability_per_token,
      imageGainPerToken: calibration.min_image_gain_per_token,
    });
    assert.equal(kept.foundOn["split"], "validation");
    const page = await Deno.readTextFile(`${folder}/out/report.html`);
    assert.match(page, /Coverage against error/);
    const rows = jsonLines(await Deno.readTextFile(`${folder}/out/scores.jsonl`));
    assert.ok(rows.every((row) => Number.isFinite(row.image_gain_per_token)));
    assert.match(await Deno.readTextFile(`${folder}/out/scores.csv`), /,image_gain_per_token\r\n/);
    // Training goes on: the thresholds are those of another model.
    const weights = `${model}/projection.safetensors`;
    const bytes = await Deno.readFile(weights);
    bytes[bytes.length - 1]! ^= 1;
    await Deno.writeFile(weights, bytes);
    await assert.rejects(openCalibration(model), /found for another "projection\.safetensors"/);
  });
});

Deno.test("what calibration cannot work with is refused before anything is captioned", async () => {
  for (
    const [args, message] of [
      [["--predictions", "p.json", "--calibrate"], /Cannot calibrate predictions: give --model DIR/],
      [
        ["--model", "embedded:captioner", "--calibrate", "--temperature", "1"],
        /Cannot calibrate sampled captions/,
      ],
      [["--model", "org/name", "--calibrate"], /Cannot keep thresholds with "org\/name"/],
      [["--target-error", "0.1", "--target-coverage", "0.5"], /cannot be used with option/],
      [["--target-error", "2"], /1/],
    ] as const
  ) {
    const refused = await run("tasks/evaluate.ts", ...args);
    assert.ok(refused.code === 1 || refused.code === 2);
    assert.match(refused.stderr, message);
  }
});

Deno.test("an exported captioner has the thresholds of its model", async () => {
  await inTemporaryFolder(async (outputDir) => {
    const layouts = ["parts", "web-llava", "web-pipeline"] as const;
    await exportOnnx({
      model: "embedded:captioner",
      outputDir,
      layouts,
      dtypes: ["q8"],
      images: [],
      minAgreement: 0,
      gpu: await testGpu(),
      onProgress: () => {},
    });
    const wanted = await openCalibration("embedded:captioner");
    for (const layout of layouts) assert.deepEqual(await openCalibration(`${outputDir}/${layout}`), wanted);
  });
});

Deno.test("the embedded captioner says nothing of noise and blank pictures, and captions its held-out scenes", async () => {
  using captioner = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
  const { thresholds } = (await openCalibration("embedded:captioner"))!;
  for (const kind of ["noise", "blank"] as const) {
    // Other pictures than those of the calibration.
    const found = await confidencesOf(captioner, kind, { count: 16, firstSeed: 5_000_000 });
    const captioned = found.filter((one) => reasonToAbstain(one, thresholds) === undefined);
    assert.equal(captioned.length, 0, `${captioned.length} of 16 pictures of ${kind} are captioned`);
  }
  const names = Array.from({ length: 24 }, (_, i) => `data/sample/test/${String(i).padStart(4, "0")}.png`);
  const scenes = await Promise.all(names.map((name) => Deno.readFile(projectPath(name))));
  const captions = await captioner.captionAll(scenes);
  const kept = captions.filter(({ confidence }) => reasonToAbstain(confidence!, thresholds) === undefined);
  assert.ok(kept.length >= 19, `${kept.length} of 24 scenes are captioned`);
});
