/**
 * Parquet files read row group by row group: footer first, then the wanted columns of one group by range. The one file that
 * imports hyparquet, which reads every encoding in plain JavaScript, and its decompressors.
 *
 * Nothing in a file is believed before it is bounded: the footer's size, the places of column chunks, and every page's sizes and
 * counts are checked before a byte is decompressed.
 *
 * Source: https://parquet.apache.org/docs/file-format/
 *
 * @module
 */

import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import type { ColumnMetaData, FileMetaData, RowGroup } from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { compressors as allCompressors, decompressZstd } from "hyparquet-compressors";
import { describeError } from "../base/errors.ts";
import { type ByteSource, readExactly } from "../format/byte_source.ts";
import {
  MAX_GROUP_BYTES,
  MAX_GROUP_ROWS,
  MAX_GROUPS,
  plainValue,
  type TableRow,
  type TableShard,
} from "./table.ts";

/** Largest footer: about a million column chunks. */
const MAX_FOOTER_BYTES = 256e6;
/** Values of a list column that one row may have on average. */
const MAX_VALUES_PER_ROW = 10_000;
/** Chunks this near to each other are read at once, up to a size: larger ones would be copied to be taken apart. */
const GAP_BYTES = 64 * 1024;
const JOINED_BYTES = 2 ** 21;
const TAIL_BYTES = 8;

/** An opened parquet file. */
export interface ParquetShard extends TableShard {
  /** Text that writers left in the footer, such as `huggingface`. */
  readonly keyValues: ReadonlyMap<string, string>;
}

/** Options of {@linkcode openParquet}. */
export interface OpenParquetOptions {
  /** Most bytes of the wanted columns of a row group, packed or unpacked. @default 2 GiB */
  readonly maxGroupBytes?: number;
}

/**
 * Opens a parquet file; only its footer is read.
 *
 * @throws {SyntaxError} If it is no parquet file, or cut short, or its footer contradicts itself
 * @throws {RangeError} If it claims more than is believed
 */
export async function openParquet(
  source: ByteSource,
  options: OpenParquetOptions = {},
): Promise<ParquetShard> {
  const { maxGroupBytes = MAX_GROUP_BYTES } = options;
  const metadata = await readFooter(source);
  const rowGroups = metadata.row_groups;
  if (rowGroups.length > MAX_GROUPS) throw refuse(source, `${rowGroups.length} row groups`, `${MAX_GROUPS}`);
  for (const [group, rowGroup] of rowGroups.entries()) checkRowGroup(source, group, rowGroup);
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
  return {
    name: source.name,
    columns,
    groups: rowGroups.map(({ num_rows }) => Number(num_rows)),
    keyValues: new Map((metadata.key_value_metadata ?? []).map(({ key, value }) => [key, value ?? ""])),
    read(group, wanted, rows) {
      const chosen = columns.filter((name) => wanted.includes(name));
      return readGroup(source, metadata, { group, columns: chosen, maxGroupBytes, wanted: rows });
    },
  };
}

async function readFooter(source: ByteSource): Promise<FileMetaData> {
  const damaged = (why: string) => new SyntaxError(`Cannot read "${source.name}" as parquet: ${why}`);
  if (source.size < 3 * 4) throw damaged(`it has ${source.size} bytes`);
  const tail = await readExactly(source, source.size - TAIL_BYTES, source.size);
  if (new TextDecoder("latin1").decode(tail.subarray(4)) !== "PAR1") {
    throw damaged("it does not end as parquet does; it may be cut short");
  }
  const length = new DataView(tail.buffer).getUint32(0, true);
  if (length > source.size - TAIL_BYTES) throw damaged(`its footer claims ${length} bytes of ${source.size}`);
  if (length > MAX_FOOTER_BYTES) throw refuse(source, `a footer of ${length} bytes`, `${MAX_FOOTER_BYTES}`);
  try {
    return await parquetMetadataAsync(asyncBuffer(source), { initialFetchSize: length + TAIL_BYTES });
  } catch (error) {
    throw damaged(`its footer is damaged: ${describeError(error)}`);
  }
}

function checkRowGroup(source: ByteSource, group: number, { num_rows: rowCount, columns }: RowGroup): void {
  const damaged = (why: string) =>
    new SyntaxError(`Cannot read "${source.name}" as parquet: row group ${group} ${why}`);
  const rows = Number(rowCount);
  if (!(rows >= 0)) throw damaged(`has ${rows} rows`);
  if (rows > MAX_GROUP_ROWS) throw refuse(source, `row group ${group} of ${rows} rows`, `${MAX_GROUP_ROWS}`);
  for (const { meta_data: meta, file_path } of columns) {
    if (meta === undefined || file_path !== undefined) throw damaged("has columns in other files");
    const { start, end } = chunkRange(meta);
    if (!(start >= 4 && start <= end && end <= source.size - TAIL_BYTES)) {
      throw damaged(`has a column chunk at bytes ${start} to ${end} of ${source.size}`);
    }
    const values = Number(meta.num_values);
    if (!(values >= 0 && values <= Math.max(1, rows) * MAX_VALUES_PER_ROW)) {
      throw damaged(`has ${values} values of "${meta.path_in_schema.join(".")}" in ${rows} rows`);
    }
  }
}

function chunkRange(meta: ColumnMetaData): { start: number; end: number } {
  const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
  return { start, end: start + Number(meta.total_compressed_size) };
}

async function readGroup(
  source: ByteSource,
  metadata: FileMetaData,
  { group, columns, maxGroupBytes, wanted }: {
    group: number;
    columns: string[];
    maxGroupBytes: number;
    wanted: Uint32Array | undefined;
  },
): Promise<TableRow[]> {
  const rowGroup = metadata.row_groups[group];
  if (rowGroup === undefined) {
    throw new RangeError(
      `Cannot read row group ${group} of "${source.name}": it has ${metadata.row_groups.length}`,
    );
  }
  const rowCount = Number(rowGroup.num_rows);
  if (columns.length === 0) return Array.from({ length: rowCount }, () => ({}));
  const chunks = rowGroup.columns.map(({ meta_data }) => meta_data!).filter(({ path_in_schema: [name] }) =>
    columns.includes(name!)
  );
  const claimed = (size: (meta: ColumnMetaData) => bigint) =>
    chunks.reduce((sum, meta) => sum + Number(size(meta)), 0);
  for (
    const bytes of [
      claimed((meta) => meta.total_compressed_size),
      claimed((meta) => meta.total_uncompressed_size),
    ]
  ) {
    if (bytes <= maxGroupBytes) continue;
    throw refuse(source, `row group ${group} of ${bytes} bytes`, `${maxGroupBytes}`);
  }
  const spans = await readSpans(source, chunks.map(chunkRange));
  let unpacked = 0;
  for (const meta of chunks) {
    unpacked += checkPages(source, meta, { spans, maxBytes: maxGroupBytes - unpacked });
  }
  const file = {
    byteLength: source.size,
    slice(start: number, end = source.size): ArrayBuffer | Promise<ArrayBuffer> {
      const span = spans.find((span) => span.start <= start && end <= span.start + span.bytes.length);
      if (span === undefined) return readExactly(source, start, end).then(({ buffer }) => buffer);
      const isWhole = start === span.start && end === span.start + span.bytes.length;
      return isWhole ? span.bytes.buffer : span.bytes.slice(start - span.start, end - span.start).buffer;
    },
  };
  const one: FileMetaData = { ...metadata, row_groups: [rowGroup], num_rows: rowGroup.num_rows };
  let rows: Record<string, unknown>[];
  try {
    // Without `utf8: false` bytes that have no annotation, such as images, would be decoded as text.
    rows = await parquetReadObjects({ file, metadata: one, columns, compressors: COMPRESSORS, utf8: false });
  } catch (error) {
    throw new SyntaxError(`Cannot read row group ${group} of "${source.name}": ${describeError(error)}`, {
      cause: error,
    });
  }
  if (rows.length !== rowCount) {
    throw new SyntaxError(
      `Cannot read row group ${group} of "${source.name}": found ${rows.length} rows, expected ${rowCount}`,
    );
  }
  const chosen = wanted && new Set(wanted);
  const copied = rows.map((row, i) => chosen?.has(i) === false ? {} : plainValue(row) as TableRow);
  // Nothing points here any more; waiting for the collector would let several groups pile up.
  for (const { bytes } of spans) bytes.buffer.transfer(0);
  return copied;
}

interface Span {
  start: number;
  bytes: Uint8Array<ArrayBuffer>;
}

/** Reads byte ranges, near ones at once. */
async function readSpans(source: ByteSource, ranges: { start: number; end: number }[]): Promise<Span[]> {
  const joined: { start: number; end: number }[] = [];
  for (const { start, end } of ranges.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    const isNear = last !== undefined && start - last.end <= GAP_BYTES && end - last.start <= JOINED_BYTES;
    if (isNear) last.end = Math.max(last.end, end);
    else joined.push({ start, end });
  }
  return await Promise.all(joined.map(async ({ start, end }) => ({
    start,
    bytes: await readExactly(source, start, end),
  })));
}

/** Checks what the pages of a chunk claim, before any is decompressed; gives their size when they are. */
function checkPages(
  source: ByteSource,
  meta: ColumnMetaData,
  { spans, maxBytes }: { spans: readonly Span[]; maxBytes: number },
): number {
  const { start, end } = chunkRange(meta);
  const column = meta.path_in_schema.join(".");
  const damaged = (why: string) =>
    new SyntaxError(`Cannot read "${source.name}": a page of "${column}" ${why}`);
  const span = spans.find((span) => span.start <= start && end <= span.start + span.bytes.length)!;
  const view = new DataView(span.bytes.buffer, span.bytes.byteOffset + start - span.start, end - start);
  const reader = { view, offset: 0 };
  let values = 0;
  let bytes = 0;
  while (reader.offset < view.byteLength - 1) {
    const at = reader.offset;
    let header: ReturnType<typeof parquetHeader>;
    try {
      header = parquetHeader(reader);
    } catch (error) {
      throw damaged(`has a damaged header: ${describeError(error)}`);
    }
    const { compressed_page_size: packed, uncompressed_page_size: unpacked } = header;
    if (!(packed >= 0 && unpacked >= 0) || reader.offset + packed > view.byteLength) {
      throw damaged(`claims ${packed} bytes, ${view.byteLength - reader.offset} are there`);
    }
    if (meta.codec === "UNCOMPRESSED" && packed !== unpacked) {
      throw damaged(`has ${packed} bytes that claim to be ${unpacked}`);
    }
    bytes += unpacked;
    if (bytes > maxBytes) {
      throw refuse(source, `a page of "${column}" that unpacks to ${unpacked} bytes`, `${maxBytes}`);
    }
    const data = header.data_page_header ?? header.data_page_header_v2;
    values += data?.num_values ?? 0;
    const entries = header.dictionary_page_header?.num_values ?? 0;
    if (!(entries >= 0 && entries <= unpacked * 8)) throw damaged(`claims a dictionary of ${entries} values`);
    if (!((data?.num_values ?? 0) >= 0) || values > Number(meta.num_values)) {
      throw damaged(`holds more values than the ${meta.num_values} of its chunk`);
    }
    reader.offset += packed;
    if (reader.offset <= at) throw damaged("does not end");
  }
  return bytes;
}

/** Decompressors write into memory of the size that the page claims, which was checked: no more can come out. */
const COMPRESSORS: typeof allCompressors = {
  ...allCompressors,
  ZSTD: (input, outputLength) => {
    const output = decompressZstd(input, new Uint8Array(outputLength));
    if (output.length === outputLength) return output;
    throw new RangeError(`zstd gave ${output.length} bytes, expected ${outputLength}`);
  },
};

function asyncBuffer(source: ByteSource) {
  return {
    byteLength: source.size,
    slice: async (start: number, end = source.size) => (await readExactly(source, start, end)).buffer,
  };
}

function refuse(source: ByteSource, found: string, most: string): RangeError {
  return new RangeError(
    `Cannot read "${source.name}": ${found}, expected at most ${most}; write it again with smaller row groups`,
  );
}
