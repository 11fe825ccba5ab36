/**
 * Comma-separated values, read record by record, and written.
 *
 * Source: RFC 4180; lone line feeds and carriage returns end records too, and a byte order mark is skipped.
 *
 * @module
 */

/** One record of a CSV text. */
export interface CsvRecord {
  /** Line on which the record begins, from 1. */
  readonly line: number;
  /** Unquoted, in order; never none. */
  readonly fields: readonly string[];
}

/** Options of {@linkcode parseCsv}. */
export interface ParseCsvOptions {
  /** One character between fields. @default "," */
  readonly delimiter?: string;
  /** Most fields of a record. @default 1000 */
  readonly maxFields?: number;
  /** Most UTF-16 units of a field. @default 1000000 */
  readonly maxFieldLength?: number;
}

/**
 * Yields the records of a text; empty lines are skipped. Records may have different numbers of fields: the caller knows how many it wants.
 *
 * @throws {SyntaxError} If a quote is never closed, or something other than a delimiter follows a closing quote
 * @throws {RangeError} If the delimiter is not one character, or a record or field is beyond its limit
 */
export function* parseCsv(text: string, options: ParseCsvOptions = {}): Generator<CsvRecord> {
  const { delimiter = ",", maxFields = 1000, maxFieldLength = 1_000_000 } = options;
  if (delimiter.length !== 1 || delimiter === '"' || delimiter === "\n" || delimiter === "\r") {
    throw new RangeError(
      `Cannot read CSV with delimiter ${JSON.stringify(delimiter)}: expected one character`,
    );
  }
  const end = text.length;
  let at = text.startsWith("\uFEFF") ? 1 : 0;
  let line = 1;
  while (at < end) {
    const startLine = line;
    const fields: string[] = [];
    let inRecord = true;
    while (inRecord) {
      let field: string;
      if (text[at] === '"') {
        const close = closingQuote(text, at, startLine);
        field = text.slice(at + 1, close).replaceAll('""', '"');
        line += countLineEnds(text, at, close);
        at = close + 1;
        if (at < end && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") {
          throw new SyntaxError(
            `Cannot read CSV, line ${line}: ${
              JSON.stringify(text[at])
            } after a closing quote, expected "${delimiter}" or the end of the line`,
          );
        }
      } else {
        const start = at;
        while (at < end && text[at] !== delimiter && text[at] !== "\n" && text[at] !== "\r") at++;
        field = text.slice(start, at);
      }
      if (field.length > maxFieldLength || fields.length === maxFields) {
        throw new RangeError(
          `Cannot read CSV, line ${startLine}: more than ${maxFields} fields or a field longer than ${maxFieldLength} characters`,
        );
      }
      fields.push(field);
      inRecord = at < end && text[at] === delimiter;
      if (inRecord) at++;
    }
    if (text[at] === "\r" && text[at + 1] === "\n") at++;
    at++;
    line++;
    if (fields.length > 1 || fields[0] !== "") yield { line: startLine, fields };
  }
}

/**
 * One record with its line end. Cells that a spreadsheet would take for a formula get a `'` before them, unless they are to be kept; numbers
 * do not.
 *
 * Source: OWASP, "CSV Injection"
 */
export function formatCsvRow(
  cells: readonly string[],
  { formulas = "disarmed" }: { formulas?: "disarmed" | "kept" } = {},
): string {
  const safe = formulas === "kept" ? cells : cells.map(disarm);
  const quoted = safe.map((text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return `${quoted.join(",")}\r\n`;
}

function disarm(text: string): string {
  const isFormula = /^[=+\-@\t\r]/.test(text) && (text.trim() === "" || !Number.isFinite(Number(text)));
  return isFormula ? `'${text}` : text;
}

/** Position of the quote that closes the one at `open`; doubled quotes stand for one inside. */
function closingQuote(text: string, open: number, line: number): number {
  let at = text.indexOf('"', open + 1);
  while (at >= 0 && text[at + 1] === '"') at = text.indexOf('"', at + 2);
  if (at < 0) throw new SyntaxError(`Cannot read CSV, line ${line}: a quote is never closed`);
  return at;
}

function countLineEnds(text: string, start: number, end: number): number {
  let count = 0;
  for (let at = start; at < end; at++) {
    if (text[at] === "\n" || (text[at] === "\r" && text[at + 1] !== "\n")) count++;
  }
  return count;
}
