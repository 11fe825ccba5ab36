import assert from "node:assert/strict";
import { formatCsvRow, parseCsv, type ParseCsvOptions } from "../../lib/format/csv.ts";

function parse(text: string, options?: ParseCsvOptions): (readonly string[])[] {
  return [...parseCsv(text, options)].map(({ fields }) => fields);
}

Deno.test("plain, quoted and empty fields", () => {
  assert.deepEqual(parse('a,b,c\n1,"x, ""y""",\n,,\n'), [["a", "b", "c"], ["1", 'x, "y"', ""], ["", "", ""]]);
  assert.deepEqual(parse("a;b", { delimiter: ";" }), [["a", "b"]]);
  assert.deepEqual(parse("a,"), [["a", ""]]);
  assert.deepEqual(parse(""), []);
});

Deno.test("every kind of line end separates, empty lines and a byte order mark are skipped", () => {
  assert.deepEqual(parse("\uFEFFa,b\r\n\r\n1,2\r3,4\n\n"), [["a", "b"], ["1", "2"], ["3", "4"]]);
});

Deno.test("a quoted field may span lines, and later records know their line", () => {
  const records = [...parseCsv('h\n"one\r\ntwo\nthree"\nlast')];
  assert.deepEqual(records.map(({ line }) => line), [1, 2, 5]);
  assert.equal(records[1]?.fields[0], "one\r\ntwo\nthree");
});

Deno.test("damaged quotes are refused with their line", () => {
  assert.throws(() => parse('a\nb,"never closed\n'), {
    name: "SyntaxError",
    message: /line 2.*never closed/,
  });
  assert.throws(() => parse('a\n"x"y\n'), { name: "SyntaxError", message: /line 2.*"y"/ });
});

Deno.test("endless records and fields are refused", () => {
  assert.throws(() => parse("a,b,c", { maxFields: 2 }), RangeError);
  assert.throws(() => parse("abcd", { maxFieldLength: 3 }), RangeError);
  assert.throws(() => parse("a", { delimiter: "" }), RangeError);
});

Deno.test("a record is written so that it is read back, and formulas are disarmed", () => {
  const cells = ["a", "x, y", 'say "hi"', "two\nlines", "", "-1.5", "+3e4"];
  assert.deepEqual(parse(formatCsvRow(cells)), [cells]);
  const formulas = ["=1+1", "+cmd", "-x", "@SUM(A1)", "\tx", "\r"];
  assert.deepEqual(parse(formatCsvRow(formulas)), [formulas.map((text) => `'${text}`)]);
  assert.deepEqual(parse(formatCsvRow(formulas, { formulas: "kept" })), [formulas]);
});
