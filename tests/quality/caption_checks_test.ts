import assert from "node:assert/strict";
import { checkCaption } from "../../lib/quality/caption_checks.ts";

/** Captions with the flags that a person gave them. */
const LABELLED: readonly (readonly [caption: string, flags: string])[] = [
  ["Four red buses in the snow.", ""],
  ["A person in a grey hat rides a bicycle past a church.", ""],
  ["Two dogs play with a ball on the beach.", ""],
  ["A stack of pancakes with butter and syrup.", ""],
  ["A sign that reads 'Download the app' above a door.", ""],
  ["A page of handwritten notes beside a cup.", ""],
  ["Image credits roll on a screen in a dark room.", ""],
  ["An old photograph hangs above a fireplace.", ""],
  ["A photographer takes a picture of a bride.", ""],
  ["Platform 9 of a railway station at night.", ""],
  ["A Volkswagen van on a road along the coast.", ""],
  ["La Boqueria market stall with fruit.", ""],
  ["A red car (seen from above) on a bridge.", ""],
  ["A cat < 1 year old sleeps on a chair.", ""],
  ["A thinking emoji on a yellow wall.", ""],
  ["A person listens to music with headphones.", ""],
  ["Ein Hund und eine Katze auf dem Sofa", "other_language"],
  ["Un chien et un chat sur le canapé", "other_language"],
  ["Dos perros con una pelota en la playa", "other_language"],
  ["Due cani con una palla sulla spiaggia", "other_language"],
  ["Dois cães com uma bola na praia", "other_language"],
  ["Twee honden met een bal op het strand", "other_language"],
  ["海滩上的两只狗在玩球", "other_language too_short"],
  ["Две собаки играют с мячом", "other_language"],
  ["Café tables in front of the Müller bakery.", ""],
  ["IMG_2043.JPG", "file_name too_short"],
  ["DSC00012", "file_name too_short"],
  ["photo-1529.png", "file_name"],
  ["20210304_112233", "file_name too_short"],
  ["sunset_beach_0042.jpeg", "file_name too_short"],
  ["Screenshot 2021-03-04 at 11.22.33", "file_name"],
  ["d41d8cd98f00b204e9800998ecf8427e", "file_name too_short"],
  ["Image of a dog on a lawn.", "boilerplate"],
  ["This is a picture of two cats", "boilerplate"],
  ["The image shows a red car.", "boilerplate"],
  ["Image may contain: one person, outdoor", "boilerplate"],
  ["No photo description available.", "boilerplate"],
  ["image", "boilerplate too_short"],
  ["N/A", "boilerplate too_short"],
  ["Businesswoman smiling, stock photo", "boilerplate"],
  ["Sunset over the lake. Photo by Jane Doe", "boilerplate"],
  ["I'm sorry, I can't describe this image.", "boilerplate"],
  ["A dog runs and you can hear it barking.", "not_visible"],
  ["A person is thinking about dinner.", "not_visible"],
  ["Two people on their way home from work.", "not_visible"],
  ["A dog named Rex sits on a porch.", "not_visible"],
  ["A kitchen that smells of fresh bread.", "not_visible"],
  ["The photo was taken last year in a park.", "not_visible"],
  ["A house that used to be a school.", "not_visible"],
  ["A lone tree, which symbolizes hope.", "not_visible"],
  ["A <b>red</b> car on a road.", "markup"],
  ["A dog on a sofa https://example.com/dog", "markup"],
  ["Salt &amp; pepper on a table.", "markup"],
  ["dog", "too_short"],
  ["red car", "too_short"],
  ["", "too_short"],
  ["a dog a dog a dog a dog a dog", "repetitive"],
  ["a red bus and a red bus and a red bus", "repetitive"],
];

Deno.test("captions are flagged as people flagged them", () => {
  const wrong = LABELLED.flatMap(([caption, wanted]) => {
    const found = checkCaption(caption).join(" ");
    return found === wanted ? [] : [`${caption}: ${found || "nothing"}, expected ${wanted || "nothing"}`];
  });
  assert.deepEqual(wrong, []);
  assert.ok(LABELLED.length > 50);
});

Deno.test("length is counted in words", () => {
  const words = Array.from({ length: 61 }, (_, i) => `word${i}`);
  assert.deepEqual(checkCaption(words.join(" ")), ["too_long"]);
  assert.deepEqual(checkCaption(words.slice(1).join(" ")), []);
});

Deno.test("a caption made to be slow is checked all the same", () => {
  // Backtracking that grows with the square would take minutes here.
  assert.ok(checkCaption(`${"a ".repeat(20_000)}<`).includes("too_long"));
  assert.ok(checkCaption("_".repeat(50_000)).includes("too_short"));
  assert.ok(checkCaption("<a".repeat(20_000)).includes("too_short") === false);
});
