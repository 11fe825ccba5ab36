import assert from "node:assert/strict";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import {
  type Calibration,
  CALIBRATION_FILE,
  formatCalibration,
  formatConfidence,
  hashTrainedFiles,
  parseCalibration,
  readCalibration,
  readConfidence,
  reasonToAbstain,
} from "../../lib/models/calibration.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const CALIBRATION: Calibration = {
  thresholds: { logProbPerToken: -0.5, imageGainPerToken: 1.25 },
  trainedFiles: {},
  foundOn: { captions: 60 },
};

Deno.test("thresholds survive being written, one of them may be absent", () => {
  assert.deepEqual(parseCalibration(formatCalibration(CALIBRATION), "x"), CALIBRATION);
  const one = { ...CALIBRATION, thresholds: { logProbPerToken: -0.5, imageGainPerToken: null } };
  assert.deepEqual(parseCalibration(formatCalibration(one), "x"), one);
});

Deno.test("a caption is left out below either threshold, and the reason says which", () => {
  const { thresholds } = CALIBRATION;
  const reason = (logProbPerToken: number, imageGainPerToken: number, other = thresholds) =>
    reasonToAbstain({ logProbPerToken, imageGainPerToken }, other);
  assert.equal(reason(-0.5, 1.25), undefined);
  assert.match(
    reason(-0.51, 2)!,
    /^the model is not sure: log-probability per token -0\.510, below -0\.500$/,
  );
  assert.match(reason(0, 1)!, /^the image hardly matters: .+ by 1\.000, less than 1\.250$/);
  assert.match(reason(-1, 1)!, /not sure.+; the image hardly matters/);
  assert.equal(reason(-9, 2, { logProbPerToken: null, imageGainPerToken: 1 }), undefined);
  assert.match(reason(NaN, 2)!, /not sure/);
  assert.match(reason(0, NaN)!, /hardly matters/);
});

Deno.test("damaged thresholds are refused by name", () => {
  const bad: [string, RegExp][] = [
    ["", /not JSON/],
    ["[]", /an array/],
    ["{}", /"version" is missing/],
    ['{"version":2,"min_log_probability_per_token":0}', /"version" is 2, expected 1/],
    ['{"version":1}', /neither "min_log_probability_per_token" nor "min_image_gain_per_token" is a number/],
    ['{"version":1,"min_log_probability_per_token":NaN}', /not JSON/],
    ['{"version":1,"min_log_probability_per_token":"-1"}', /expected a finite number/],
    ['{"version":1,"min_log_probability_per_token":-1e999}', /expected a finite number/],
    ['{"version":1,"version":1}', /given twice/],
  ];
  for (const [text, message] of bad) {
    assert.throws(() => parseCalibration(text, "run/confidence.json"), (error: Error) => {
      assert.match(error.message, message);
      return error.message.includes('"run/confidence.json"');
    });
  }
});

Deno.test("thresholds hold for the weights they were found for", async () => {
  const weights = bytes("weights");
  const plain = memoryFolder("run", new Map([["projection.safetensors", weights]]));
  assert.equal(await readCalibration(plain), undefined);
  const trainedFiles = await hashTrainedFiles(plain);
  assert.deepEqual(Object.keys(trainedFiles), ["projection.safetensors"]);
  const text = bytes(formatCalibration({ ...CALIBRATION, trainedFiles }));
  const folder = (projection: Uint8Array) =>
    memoryFolder("run", new Map([["projection.safetensors", projection], [CALIBRATION_FILE, text]]));
  assert.deepEqual((await readCalibration(folder(weights)))!.thresholds, CALIBRATION.thresholds);
  await assert.rejects(
    readCalibration(folder(bytes("trained on"))),
    /found for another "projection\.safetensors" than the folder has; calibrate again/,
  );
  // Another form of the same captioner, exported or merged, has not these files.
  const exported = memoryFolder("onnx", new Map([[CALIBRATION_FILE, text]]));
  assert.deepEqual((await readCalibration(exported))!.thresholds, CALIBRATION.thresholds);
});

Deno.test("rows keep their confidence under the names of the output; what is no number is none", () => {
  const confidence = { logProb: -4, logProbPerToken: -0.5, imageGain: 8, imageGainPerToken: 1 };
  const row = formatConfidence(confidence);
  assert.deepEqual(row, {
    log_probability: -4,
    log_probability_per_token: -0.5,
    image_gain: 8,
    image_gain_per_token: 1,
  });
  assert.deepEqual(readConfidence(row), confidence);
  assert.equal(readConfidence({ ...row, image_gain: null }), undefined);
  assert.equal(readConfidence({ ...row, image_gain: "8" }), undefined);
  assert.equal(readConfidence({}), undefined);
});
