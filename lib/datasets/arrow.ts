/**
 * Arrow IPC files and streams, as `save_to_disk` writes them, read batch by batch. The one file that imports apache-arrow, and only
 * when there is such a file.
 *
 * A stream has no index, but its messages are headers followed by bodies of known length: walking the headers gives one. Of a batch
 * only the buffers of the wanted columns are read.
 *
 * Source: https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 *
 * @module
 */

import type * as Arrow from "apache-arrow";
import { joinBytes } from "../base/bytes.ts";
import { describeError } from "../base/errors.ts";
import { type ByteSource, readExactly } from "../format/byte_source.ts";
import { checkFooter, checkMessage } from "./arrow_check.ts";
import {
  MAX_GROUP_BYTES,
  MAX_GROUP_ROWS,
  MAX_GROUPS,
  plainValue,
  type TableRow,
  type TableShard,
} from "./table.ts";

/** Largest header of a message. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;
/** Messages begin with it since Arrow 0.15. */
const CONTINUATION = 0xffffffff;
/** Files, as opposed to streams, begin with it, padded to eight bytes. */
const FILE_MAGIC = "ARROW1";
/** Longest list in a cell. */
const MAX_LIST_LENGTH = 100_000;
/** Buffers this near to each other are read at once. */
const GAP_BYTES = 64 * 1024;

type Library = typeof Arrow;

/** Where a message lies: its header from `start` to `bodyStart`, then its body. */
interface Place {
  readonly start: number;
  readonly bodyStart: number;
  readonly end: number;
}

/** A batch of rows. */
interface Batch extends Place {
  readonly rows: number;
  /** Buffers of the body, relative to its start. */
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
}

/**
 * Opens an Arrow file or stream and walks the headers of its messages.
 *
 * @throws {SyntaxError} If it is neither, or cut short, or compressed
 * @throws {RangeError} If a message claims more than is believed
 */
export async function openArrow(source: ByteSource): Promise<TableShard> {
  const library = await import("apache-arrow");
  const { schema, schemaBytes, dictionaries, batches } = await walkMessages(source, library);
  return {
    name: source.name,
    columns: schema.fields.map(({ name }) => name),
    groups: batches.map(({ rows }) => rows),
    async read(group, columns, wanted) {
      const batch = batches[group];
      if (batch === undefined) {
        throw new RangeError(`Cannot read batch ${group} of "${source.name}": it has ${batches.length}`);
      }
      const parts = [schemaBytes];
      for (const { start, end } of dictionaries) parts.push(await readExactly(source, start, end));
      parts.push(await readBatch(source, batch, wantedBuffers(schema, columns, library)));
      const bytes = joinBytes(parts);
      for (const part of parts.slice(1)) part.buffer.transfer(0);
      const rows = decodeRows(source, bytes, { library, columns, rows: batch.rows, wanted });
      // Rows have copies; waiting for the collector would let several batches pile up.
      bytes.buffer.transfer(0);
      return rows;
    },
  };
}

async function walkMessages(source: ByteSource, library: Library) {
  const { Message, MessageHeader } = library;
  const damaged = (at: number, why: string) =>
    new SyntaxError(`Cannot read "${source.name}" as Arrow: at byte ${at} ${why}`);
  const isFile = await hasMagic(source);
  let at = isFile ? 8 : 0;
  let schema: Arrow.Schema | undefined;
  let schemaBytes = new Uint8Array(0);
  const dictionaries: Place[] = [];
  const batches: Batch[] = [];
  while (at < source.size) {
    if (source.size - at < 8) throw damaged(at, "it is cut short");
    const prefix = new DataView((await readExactly(source, at, at + 8)).buffer);
    // A stream of Hugging Face always has the mark; what lacks it is something else, or older than 2019.
    if (prefix.getUint32(0, true) !== CONTINUATION) throw damaged(at, "there is no message");
    const headerBytes = prefix.getInt32(4, true);
    if (headerBytes === 0) break;
    const bodyStart = at + 8 + headerBytes;
    if (headerBytes < 0 || bodyStart > source.size) throw damaged(at, `a header claims ${headerBytes} bytes`);
    if (headerBytes > MAX_HEADER_BYTES) {
      throw new RangeError(
        `Cannot read "${source.name}": a header of ${headerBytes} bytes, expected at most ${MAX_HEADER_BYTES}`,
      );
    }
    const header = await readExactly(source, at + 8, bodyStart);
    let message: Arrow.Message;
    let content: unknown;
    try {
      checkMessage(header);
      message = Message.decode(header);
      content = message.header();
    } catch (error) {
      throw damaged(at, `a header is damaged: ${describeError(error)}`);
    }
    const { bodyLength } = message;
    const end = bodyStart + bodyLength;
    if (!(bodyLength >= 0) || end > source.size) {
      throw damaged(at, `a message claims ${bodyLength} bytes, ${source.size - bodyStart} are there`);
    }
    if (bodyLength > MAX_GROUP_BYTES) {
      throw new RangeError(
        `Cannot read "${source.name}": a batch of ${bodyLength} bytes, expected at most ${MAX_GROUP_BYTES}; write it again ` +
          `with smaller batches`,
      );
    }
    const place = { start: at, bodyStart, end };
    if (message.headerType === MessageHeader.Schema) {
      schema = content as Arrow.Schema;
      schemaBytes = await readExactly(source, at, end);
    } else if (message.headerType === MessageHeader.DictionaryBatch) dictionaries.push(place);
    else if (message.headerType === MessageHeader.RecordBatch) {
      batches.push({ ...place, ...checkBatch(source, content as BatchHeader, bodyLength) });
      if (batches.length > MAX_GROUPS) {
        throw new RangeError(`Cannot read "${source.name}": more than ${MAX_GROUPS} batches`);
      }
    } else throw damaged(at, "there is a message that is no batch of rows");
    at = end;
  }
  if (schema === undefined && isFile) {
    // Some writers leave the schema of a file to its footer.
    schema = await readFooterSchema(source, library);
    schemaBytes = frameMessage(Message.encode(Message.from(schema)));
  }
  if (schema === undefined) throw damaged(0, "there is no schema");
  return { schema, schemaBytes, dictionaries, batches };
}

async function hasMagic(source: ByteSource): Promise<boolean> {
  if (source.size < 8) return false;
  return new TextDecoder("latin1").decode(await readExactly(source, 0, FILE_MAGIC.length)) === FILE_MAGIC;
}

async function readFooterSchema(source: ByteSource, { RecordBatchReader }: Library): Promise<Arrow.Schema> {
  const tailBytes = 4 + FILE_MAGIC.length;
  const damaged = (why: string) => new SyntaxError(`Cannot read "${source.name}" as Arrow: ${why}`);
  if (source.size < 8 + tailBytes) throw damaged("it is cut short");
  const tail = await readExactly(source, source.size - tailBytes, source.size);
  const length = new DataView(tail.buffer).getInt32(0, true);
  const start = source.size - tailBytes - length;
  if (length < 0 || start < 8 || length > MAX_HEADER_BYTES) {
    throw damaged(`its footer claims ${length} bytes`);
  }
  const footer = await readExactly(source, start, start + length);
  try {
    checkFooter(footer);
    const head = await readExactly(source, 0, 8);
    return RecordBatchReader.from(joinBytes([head, footer, tail])).open().schema;
  } catch (error) {
    throw damaged(`its footer is damaged: ${describeError(error)}`);
  }
}

/** A header as it lies in a stream: mark, length, and zeros up to eight bytes. */
function frameMessage(header: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = Math.ceil(header.length / 8) * 8;
  const bytes = new Uint8Array(8 + length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CONTINUATION, true);
  view.setInt32(4, length, true);
  bytes.set(header, 8);
  return bytes;
}

/** What is used of the header of a batch. */
interface BatchHeader {
  readonly length: number;
  readonly buffers: readonly { readonly offset: number; readonly length: number }[];
  readonly compression: unknown;
}

function checkBatch(
  source: ByteSource,
  header: BatchHeader,
  bodyLength: number,
): Pick<Batch, "rows" | "buffers"> {
  const damaged = (why: string) => new SyntaxError(`Cannot read "${source.name}": a batch ${why}`);
  if (header.compression) {
    throw damaged(
      "is compressed, which save_to_disk never does; write it again without compression, or as parquet",
    );
  }
  const rows = header.length;
  // Every type but null takes a bit a row at least.
  const most = Math.min(MAX_GROUP_ROWS, 8 * bodyLength);
  if (!(rows >= 0 && rows <= most)) throw damaged(`has ${rows} rows, expected at most ${most}`);
  const buffers = header.buffers.map(({ offset, length }) => ({ offset, length }));
  for (const { offset, length } of buffers) {
    if (!(offset >= 0 && length >= 0 && offset + length <= bodyLength)) {
      throw damaged(`has a buffer at bytes ${offset} to ${offset + length} of ${bodyLength}`);
    }
  }
  return { rows, buffers };
}

/** Which buffers of a batch belong to the wanted columns; `undefined` if a type has none that can be counted, then all do. */
function wantedBuffers(
  schema: Arrow.Schema,
  columns: readonly string[],
  { DataType }: Library,
): boolean[] | undefined {
  const wanted: boolean[] = [];
  let isKnown = true;
  const visit = (type: Arrow.DataType, isWanted: boolean): void => {
    const own = DataType.isNull(type)
      ? 0
      : DataType.isStruct(type) || DataType.isFixedSizeList(type)
      ? 1
      : DataType.isUtf8(type) || DataType.isBinary(type) || DataType.isLargeUtf8(type) ||
          DataType.isLargeBinary(type)
      ? 3
      : 2;
    if (DataType.isUnion(type) || DataType.isUtf8View(type) || DataType.isBinaryView(type)) isKnown = false;
    for (let i = 0; i < own; i++) wanted.push(isWanted);
    if (DataType.isDictionary(type)) return;
    for (const child of type.children ?? []) visit(child.type, isWanted);
  };
  for (const { name, type } of schema.fields) visit(type, columns.includes(name));
  return isKnown ? wanted : undefined;
}

/** A batch as it lies in the file; buffers that are not wanted stay zeros, which the system gives without reading anything. */
async function readBatch(
  source: ByteSource,
  { start, bodyStart, end, buffers }: Batch,
  wanted: boolean[] | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  if (wanted === undefined || wanted.length !== buffers.length) return await readExactly(source, start, end);
  const ranges = [{ start, end: bodyStart }];
  for (const [i, { offset, length }] of buffers.entries()) {
    if (!wanted[i] || length === 0) continue;
    const from = bodyStart + offset;
    const last = ranges.at(-1)!;
    if (from >= last.end && from - last.end <= GAP_BYTES) last.end = from + length;
    else ranges.push({ start: from, end: from + length });
  }
  const bytes = new Uint8Array(end - start);
  for (const range of ranges) {
    bytes.set(await readExactly(source, range.start, range.end), range.start - start);
  }
  return bytes;
}

function decodeRows(
  source: ByteSource,
  bytes: Uint8Array,
  { library, columns, rows, wanted }: {
    library: Library;
    columns: readonly string[];
    rows: number;
    wanted: Uint32Array | undefined;
  },
): TableRow[] {
  try {
    const table = library.tableFromIPC(bytes);
    if (table.numRows !== rows) throw new RangeError(`found ${table.numRows} rows, expected ${rows}`);
    const found = columns.flatMap((name) => {
      const vector = table.getChild(name);
      return vector === null ? [] : [[name, vector] as const];
    });
    const chosen = wanted && new Set(wanted);
    return Array.from({ length: rows }, (_, row) => {
      if (chosen?.has(row) === false) return {};
      return Object.fromEntries(found.map(([name, vector]) => [name, plainCell(vector.get(row), library)]));
    });
  } catch (error) {
    throw new SyntaxError(`Cannot read a batch of "${source.name}": ${describeError(error)}`, {
      cause: error,
    });
  }
}

/** Vectors of lists become lists, rows of structures plain objects. */
function plainCell(value: unknown, library: Library): unknown {
  if (value instanceof library.Vector && value.length > MAX_LIST_LENGTH) {
    throw new RangeError(`a list of ${value.length} entries, expected at most ${MAX_LIST_LENGTH}`);
  }
  if (value instanceof library.Vector) return Array.from(value, (entry) => plainCell(entry, library));
  if (value instanceof library.StructRow || value instanceof library.MapRow) {
    return Object.fromEntries(Array.from(value, ([name, entry]) => [name, plainCell(entry, library)]));
  }
  return plainValue(value);
}
