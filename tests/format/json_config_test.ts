import assert from "node:assert/strict";
import { findDuplicateKey, formatJson } from "../../lib/format/json.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";

const config = JsonConfig.parse(
  `{"hidden_size": 48, "eps": 1e-5, "name": "llama", "tied": true, "ids": [1, 2.5], "parts": ["a"], "none": null,
    "text_config": {"width": "wide"}}`,
  "run/config.json",
);

Deno.test("JsonConfig gives values of the kind asked for", () => {
  assert.equal(config.integer("hidden_size"), 48);
  assert.equal(config.number("eps"), 1e-5);
  assert.equal(config.string("name"), "llama");
  assert.equal(config.choice("name", ["gpt2", "llama"]), "llama");
  assert.equal(config.boolean("tied"), true);
  assert.deepEqual(config.numbers("ids"), [1, 2.5]);
  assert.deepEqual(config.strings("parts"), ["a"]);
  assert.equal(config.object("text_config").string("width"), "wide");
});

Deno.test("JsonConfig treats null as absent", () => {
  assert.equal(config.has("none"), false);
  assert.equal(config.optionalNumber("none"), undefined);
  assert.equal(config.optionalObject("none"), undefined);
  assert.throws(() => config.number("none"), /"none" is missing, expected a number/);
});

Deno.test("JsonConfig names file, key, finding and wish", () => {
  assert.throws(() => config.number("name"), {
    name: "TypeError",
    message: 'Cannot use "run/config.json": "name" is the string "llama", expected a finite number',
  });
  assert.throws(() => config.integer("eps"), /"eps" is the number 0.00001, expected a whole number/);
  assert.throws(
    () => config.object("text_config").number("width"),
    /"text_config.width" is the string "wide"/,
  );
  assert.throws(() => config.strings("ids"), TypeError);
  assert.throws(() => config.numbers("parts"), TypeError);
  assert.throws(() => config.boolean("ids"), /is an array, expected true or false/);
  assert.throws(() => config.choice("name", ["gpt2", "opt"]), /"llama", expected one of gpt2, opt/);
  assert.throws(() => config.integer("hiden_size"), {
    name: "RangeError",
    message:
      'Cannot use "run/config.json": "hiden_size" is missing, expected a whole number; there is a "hidden_size"',
  });
});

Deno.test("JsonConfig does not find inherited keys and refuses numbers past the largest", () => {
  assert.equal(config.has("constructor"), false);
  assert.equal(config.has("__proto__"), false);
  assert.throws(() => JsonConfig.parse(`{"a": 1e999}`, "c").number("a"), /expected a finite number/);
});

Deno.test("JsonConfig refuses text that is not one object", () => {
  assert.throws(() => JsonConfig.parse("{", "c.json"), /Cannot parse "c.json": it is not JSON/);
  assert.throws(() => JsonConfig.parse("[1]", "c.json"), /it holds an array, expected a JSON object/);
  assert.throws(() => JsonConfig.parse(`{"a":1,"a":2}`, "c.json"), /the key "a" is given twice/);
});

Deno.test("findDuplicateKey tells keys from strings and objects from each other", () => {
  assert.equal(findDuplicateKey(`{"a":["a","a",{"a":1}],"b":{"a":"\\"a\\":"}}`), undefined);
  assert.equal(findDuplicateKey(`[{"x\\\\":1},{"x\\\\":2 , "x\\\\" :3}]`), "x\\");
  assert.equal(findDuplicateKey(`"a"`), undefined);
});

Deno.test("formatJson sorts keys at every depth", () => {
  assert.equal(
    formatJson({ b: [{ d: 1, c: null }], a: "x" }),
    `{
  "a": "x",
  "b": [
    {
      "c": null,
      "d": 1
    }
  ]
}
`,
  );
});
