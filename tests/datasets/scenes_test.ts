import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import {
  CANVAS,
  generateScene,
  isTestScene,
  type ObjectScene,
  type Scene,
  sceneCaption,
  sceneKey,
  sceneToSvg,
  splitOfKey,
} from "../../lib/datasets/scenes.ts";

function drawScenes(seed: number, count: number): Scene[] {
  const rng = new Rng(seed);
  return Array.from({ length: count }, () => generateScene(rng));
}

const scenes = drawScenes(11, 4000);
const objectScenes = scenes.filter((scene): scene is ObjectScene => scene.type === "objects");

Deno.test("the same seed draws the same scenes and pictures", () => {
  const again = drawScenes(11, 50);
  assert.deepEqual(again, scenes.slice(0, 50));
  assert.equal(sceneToSvg(again[7] as Scene, { size: 64 }), sceneToSvg(scenes[7] as Scene, { size: 64 }));
});

Deno.test("captions are short sentences that name each listed object", () => {
  for (const scene of scenes) {
    const { altText, originalAltText, objects } = sceneCaption(scene);
    assert.match(altText, /^[A-Z][a-z ]+\.$/);
    assert.ok(altText.split(" ").length <= 16, altText);
    assert.ok(objects.length >= 1);
    assert.notEqual(originalAltText, altText);
    const stems = altText.toLowerCase().replace("people", "person");
    for (const noun of objects) assert.ok(stems.includes(noun), `${noun} in ${altText}`);
  }
});

Deno.test("caption and key say the same: one caption a key and one key a caption", () => {
  const captionOfKey = new Map<string, string>();
  const keyOfCaption = new Map<string, string>();
  for (const scene of objectScenes) {
    const key = sceneKey(scene);
    const { altText } = sceneCaption(scene);
    assert.equal(captionOfKey.get(key) ?? altText, altText);
    assert.equal(keyOfCaption.get(altText) ?? key, key);
    captionOfKey.set(key, altText);
    keyOfCaption.set(altText, key);
  }
});

Deno.test("objects are at least 14 units large and lie on the canvas", () => {
  for (const scene of objectScenes) {
    for (const { x, bottom, size } of scene.placements) {
      assert.ok(size >= 14);
      assert.ok(
        x - size / 2 >= -0.5 && x + size / 2 <= CANVAS + 0.5 && bottom - size >= -0.5 && bottom <= CANVAS,
      );
    }
  }
});

Deno.test("placements agree with the relation and the counts that the caption tells", () => {
  for (const scene of objectScenes) {
    const main = scene.placements.filter((placement) => placement.group === "main");
    const other = scene.placements.filter((placement) => placement.group === "other");
    assert.equal(main.length, scene.main.count);
    assert.equal(other.length, scene.other?.count ?? 0);
    const [first, second] = [main[0], other[0]];
    if (!first || !second) continue;
    if (scene.relation === "beside" || scene.relation === "left") assert.ok(first.x + 10 < second.x);
    if (scene.relation === "right") assert.ok(first.x > second.x + 10);
    if (scene.relation === "above") assert.ok(first.bottom + 20 < second.bottom);
    if (scene.main.size === "large" && scene.other) assert.ok(first.size >= 1.8 * second.size);
  }
});

Deno.test("the split hangs on the key alone and has about the promised shares", () => {
  const counts = { train: 0, validation: 0, test: 0 };
  const keys = new Set(scenes.map(sceneKey));
  for (const key of keys) {
    counts[splitOfKey(key)]++;
    assert.equal(isTestScene(key), splitOfKey(key) === "test");
  }
  assert.ok(Math.abs(counts.test / keys.size - 0.12) < 0.02);
  assert.ok(Math.abs(counts.validation / keys.size - 0.08) < 0.02);
});

Deno.test("the embedded sample has no test scene in another split", async () => {
  const captions: Record<string, Set<string>> = {};
  for (const split of ["train", "validation", "test"]) {
    const text = await Deno.readTextFile(
      new URL(`../../data/sample/${split}/metadata.jsonl`, import.meta.url),
    );
    const rows = text.trim().split("\n").map((line) => JSON.parse(line));
    assert.ok(rows.length >= 60);
    captions[split] = new Set(
      rows.map((row) => row.alt_text).filter((caption) => caption !== "Text document."),
    );
  }
  for (const caption of captions.test ?? []) {
    assert.ok(!captions.train?.has(caption) && !captions.validation?.has(caption), caption);
  }
});
