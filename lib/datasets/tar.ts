/**
 * Tar files in the WebDataset convention: members whose names are the same up to the first dot are one row, and each extension is a
 * column. Headers are walked once, and members then read by range.
 *
 * Source: POSIX.1-2001 pax interchange format, `ustar` headers with pax records and GNU long names;
 * https://huggingface.co/docs/hub/datasets-webdataset
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { type ByteSource, readExactly } from "../format/byte_source.ts";
import { resolveInside } from "./file_source.ts";
import { ROW_ERROR, type TableRow, type TableShard } from "./table.ts";

const BLOCK = 512;
/** Largest member that belongs to a row, and largest text among them. */
const MAX_MEMBER_BYTES = 256 * 2 ** 20;
const MAX_TEXT_BYTES = 4 * 2 ** 20;
const MAX_EXTENDED_BYTES = 2 ** 20;
const MAX_MEMBERS = 20_000_000;
/** A group ends after so many rows or bytes, whichever comes first. */
const GROUP_ROWS = 256;
const GROUP_BYTES = 64 * 2 ** 20;
/** Members this near to each other are read at once. */
const GAP_BYTES = 64 * 1024;
const IMAGE_EXTENSIONS = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"];
const TEXT_EXTENSIONS = ["txt", "text", "caption", "json", "cls", "key", "id"];

interface Member {
  extension: string;
  start: number;
  size: number;
}

interface Sample {
  key: string;
  members: Member[];
}

/**
 * Opens a tar file and walks its headers.
 *
 * Columns are `__key__`, the extensions, the fields of `.json` members, and `image`, the first member of a row that is one by its
 * extension.
 *
 * @throws {SyntaxError} If it is no tar file, or cut short
 * @throws {RangeError} If a member is larger than what is believed, or its name leads out of the data set
 */
export async function openTar(source: ByteSource): Promise<TableShard> {
  const samples = await findSamples(source);
  const groups = groupSamples(samples);
  const extensions = [
    ...new Set(samples.flatMap(({ members }) => members.map(({ extension }) => extension))),
  ];
  const fixed = ["__key__", ...(extensions.includes("image") ? [] : ["image"]), ...extensions];
  const [first] = extensions.includes("json")
    ? await readSamples(source, samples.slice(0, 1), undefined)
    : [];
  const fields = Object.keys(first ?? {}).filter((name) => !fixed.includes(name) && name !== ROW_ERROR);
  return {
    name: source.name,
    columns: [...fixed, ...fields],
    groups: groups.map(({ length }) => length),
    read: (group, columns) => readSamples(source, groups[group]!, new Set(columns)),
  };
}

function groupSamples(samples: readonly Sample[]): Sample[][] {
  const groups: Sample[][] = [];
  let bytes = 0;
  for (const sample of samples) {
    const size = sample.members.reduce((sum, member) => sum + member.size, 0);
    const last = groups.at(-1);
    if (last === undefined || last.length === GROUP_ROWS || bytes + size > GROUP_BYTES) {
      groups.push([sample]);
      bytes = size;
    } else {
      last.push(sample);
      bytes += size;
    }
  }
  return groups;
}

async function readSamples(
  source: ByteSource,
  samples: readonly Sample[],
  wanted: ReadonlySet<string> | undefined,
): Promise<TableRow[]> {
  const isWanted = ({ extension }: Member): boolean =>
    wanted === undefined || wanted.has(extension) || extension === "json";
  const chosen = samples.map(({ members }) => {
    const image = wanted === undefined || wanted.has("image") ? imageOf(members) : undefined;
    return members.filter((member) => member === image || isWanted(member));
  });
  const bytes = await readMembers(source, chosen.flat());
  return samples.map(({ key, members }, i): TableRow => {
    const row: Record<string, unknown> = { __key__: key };
    try {
      for (const member of chosen[i]!) {
        const content = bytes.get(member)!;
        const { extension } = member;
        if (!TEXT_EXTENSIONS.includes(extension)) row[extension] = content;
        else {
          const text = new TextDecoder("utf-8", { fatal: true }).decode(content);
          if (extension === "json") addFields(row, JSON.parse(text));
          else row[extension] = text;
        }
        if (member === imageOf(members)) row.image ??= content;
      }
      return row;
    } catch (error) {
      return { [ROW_ERROR]: `the member "${key}" is damaged: ${describeError(error)}` };
    }
  });
}

function addFields(row: Record<string, unknown>, json: unknown): void {
  row.json = json;
  if (typeof json !== "object" || json === null || Array.isArray(json)) return;
  for (const [name, value] of Object.entries(json)) if (!(name in row)) row[name] = value;
}

function imageOf(members: readonly Member[]): Member | undefined {
  return members.find(({ extension }) => IMAGE_EXTENSIONS.includes(extension));
}

/** Reads members, near ones at once; each gets memory of its own. */
async function readMembers(
  source: ByteSource,
  members: readonly Member[],
): Promise<Map<Member, Uint8Array<ArrayBuffer>>> {
  const found = new Map<Member, Uint8Array<ArrayBuffer>>();
  for (let at = 0; at < members.length;) {
    const { start } = members[at]!;
    let next = at + 1;
    const endOf = (i: number) => members[i]!.start + members[i]!.size;
    while (next < members.length && members[next]!.start - endOf(next - 1) <= GAP_BYTES) next++;
    const bytes = await readExactly(source, start, endOf(next - 1));
    for (; at < next; at++) {
      found.set(members[at]!, bytes.slice(members[at]!.start - start, endOf(at) - start));
    }
  }
  return found;
}

async function findSamples(source: ByteSource): Promise<Sample[]> {
  const samples: Sample[] = [];
  let count = 0;
  for await (const { name, start, size } of walkHeaders(source)) {
    let path: string;
    try {
      path = resolveInside("", name);
    } catch (error) {
      throw new RangeError(`Cannot read "${source.name}": ${describeError(error)}`, { cause: error });
    }
    if (++count > MAX_MEMBERS) {
      throw new RangeError(`Cannot read "${source.name}": more than ${MAX_MEMBERS} members`);
    }
    const slash = path.lastIndexOf("/") + 1;
    const dot = path.indexOf(".", slash);
    // Names without an extension, and hidden ones, are no part of a row.
    if (dot <= slash) continue;
    const key = path.slice(0, dot);
    const extension = path.slice(dot + 1).toLowerCase();
    const most = TEXT_EXTENSIONS.includes(extension) ? MAX_TEXT_BYTES : MAX_MEMBER_BYTES;
    if (size > most) {
      throw new RangeError(
        `Cannot read "${source.name}": "${name}" has ${size} bytes, expected at most ${most}`,
      );
    }
    const last = samples.at(-1);
    if (last?.key === key) last.members.push({ extension, start, size });
    else samples.push({ key, members: [{ extension, start, size }] });
  }
  return samples;
}

/** Regular members. */
async function* walkHeaders(
  source: ByteSource,
): AsyncGenerator<{ name: string; start: number; size: number }> {
  const damaged = (at: number, why: string) =>
    new SyntaxError(`Cannot read "${source.name}" as tar: at byte ${at} ${why}`);
  let extended: { path?: string; size?: number } = {};
  for (let at = 0; at < source.size;) {
    if (source.size - at < BLOCK) throw damaged(at, "it is cut short");
    const header = await readExactly(source, at, at + BLOCK);
    if (header.every((byte) => byte === 0)) return;
    if (!hasChecksum(header)) throw damaged(at, "there is no header of a member");
    const type = String.fromCharCode(header[156]!);
    const size = extended.size ?? readNumber(header.subarray(124, 136));
    const start = at + BLOCK;
    if (!(size >= 0) || start + size > source.size) {
      throw damaged(at, `a member claims ${size} bytes, ${source.size - start} are there`);
    }
    at = start + Math.ceil(size / BLOCK) * BLOCK;
    if (type === "x" || type === "L") {
      if (size > MAX_EXTENDED_BYTES) throw damaged(at, `a header claims ${size} bytes`);
      const content = await readExactly(source, start, start + size);
      extended = type === "x"
        ? { ...extended, ...readPax(content) }
        : { ...extended, path: readText(content) };
      continue;
    }
    if (type === "g") continue;
    const prefix = readText(header.subarray(257, 262)) === "ustar" ? readText(header.subarray(345, 500)) : "";
    const short = readText(header.subarray(0, 100));
    const name = extended.path ?? (prefix === "" ? short : `${prefix}/${short}`);
    extended = {};
    // Folders, links and devices are no data.
    if (type === "0" || type === "\0" || type === "7") yield { name, start, size };
  }
}

function hasChecksum(header: Uint8Array): boolean {
  let sum = 0;
  for (const [i, byte] of header.entries()) sum += i >= 148 && i < 156 ? 32 : byte;
  return sum === readNumber(header.subarray(148, 156));
}

/** Octal digits, or big-endian binary behind a set high bit, as GNU writes large sizes. */
function readNumber(field: Uint8Array): number {
  if ((field[0]! & 0x80) === 0) {
    const text = readText(field).trim();
    return /^[0-7]+$/.test(text) ? parseInt(text, 8) : NaN;
  }
  let value = field[0]! & 0x7f;
  for (const byte of field.subarray(1)) value = value * 256 + byte;
  return Number.isSafeInteger(value) ? value : NaN;
}

/** Up to the first zero byte. */
function readText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Records `length key=value\n`, of which path and size matter. */
function readPax(bytes: Uint8Array): { path?: string; size?: number } {
  const found: { path?: string; size?: number } = {};
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = Number(new TextDecoder().decode(bytes.subarray(at, space)));
    if (space < 0 || !(length > 0) || at + length > bytes.length) break;
    const [, key, value = ""] = /^([^=]*)=([\s\S]*)\n$/.exec(
      new TextDecoder().decode(bytes.subarray(space + 1, at + length)),
    ) ?? [];
    if (key === "path") found.path = value;
    if (key === "size") found.size = /^\d+$/.test(value) ? Number(value) : NaN;
    at += length;
  }
  return found;
}
