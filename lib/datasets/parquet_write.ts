/**
 * Parquet files that Python's `load_dataset` opens with images: the one file that imports hyparquet-writer.
 *
 * Sources: https://parquet.apache.org/docs/file-format/; the footer's key `huggingface` and the shape of an Image feature,
 * `struct<bytes: binary, path: string>`, are those of the `datasets` library.
 *
 * @module
 */

import { ParquetWriter } from "hyparquet-writer";
import { ByteWriter } from "hyparquet-writer/src/bytewriter.js";

/** A row of a merged data set. */
export interface MergedRow {
  /** Bytes of the image file. */
  readonly image: Uint8Array;
  /** Name of the image file. */
  readonly path: string;
  /** Captions, at least one. */
  readonly captions: readonly string[];
  /** The data set it came from. */
  readonly source: string;
  /** `SOURCE-NUMBER`, the number being its place in the source. */
  readonly sourceId: string;
}

/** Columns of a table of images, beside `image`. */
export interface ImageTableColumns {
  /** Columns of several texts a cell. */
  readonly lists: readonly string[];
  /** Columns of one text a cell. */
  readonly texts: readonly string[];
}

/** A row of a table of images. */
export interface ImageTableRow {
  /** Bytes of the image file. */
  readonly image: Uint8Array;
  /** Name of the image file. */
  readonly path: string;
  /** By column: a list of texts, or a text. */
  readonly cells: Readonly<Record<string, string | readonly string[]>>;
}

/** Row groups end after so many rows, or before so many bytes of images: readers hold one in memory. */
const GROUP_ROWS = 100;
const GROUP_BYTES = 64e6;

const TEXT = { dtype: "string", _type: "Value" };
/** Features as `datasets` 4 and later write them. */
function featuresOf({ lists, texts }: ImageTableColumns): object {
  return {
    image: { _type: "Image" },
    ...Object.fromEntries(lists.map((name) => [name, { feature: TEXT, _type: "List" }])),
    ...Object.fromEntries(texts.map((name) => [name, TEXT])),
  };
}

type Schema = ConstructorParameters<typeof ParquetWriter>[0]["schema"];

function schemaOf({ lists, texts }: ImageTableColumns): Schema {
  const text = (name: string): Schema[number] => ({
    name,
    repetition_type: "OPTIONAL",
    type: "BYTE_ARRAY",
    converted_type: "UTF8",
  });
  return [
    { name: "schema", num_children: 1 + lists.length + texts.length },
    { name: "image", repetition_type: "OPTIONAL", num_children: 2 },
    { name: "bytes", repetition_type: "OPTIONAL", type: "BYTE_ARRAY" },
    text("path"),
    ...lists.flatMap((name): Schema => [
      { name, repetition_type: "OPTIONAL", converted_type: "LIST", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      text("element"),
    ]),
    ...texts.map(text),
  ];
}

const MERGED: ImageTableColumns = { lists: ["alt_text"], texts: ["source", "source_id"] };

/** Encodes rows of a merged data set: {@linkcode encodeImageTable} with its columns. */
export async function* encodeParquet(
  rows: AsyncIterable<MergedRow>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const table = async function* (): AsyncGenerator<ImageTableRow> {
    for await (const { image, path, captions, source, sourceId } of rows) {
      yield { image, path, cells: { alt_text: captions, source, source_id: sourceId } };
    }
  };
  yield* encodeImageTable(table(), MERGED);
}

/**
 * Encodes rows as one parquet file, a row group in memory at a time. Images stay as they are, for they are compressed already; the
 * other columns are packed with Snappy.
 *
 * @returns The bytes of the file in their order
 */
export async function* encodeImageTable(
  rows: AsyncIterable<ImageTableRow>,
  columns: ImageTableColumns,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { parquet, take } = startFile(schemaOf(columns), featuresOf(columns));
  let group: ImageTableRow[] = [];
  let bytes = 0;
  for await (const row of rows) {
    if (group.length === GROUP_ROWS || (group.length > 0 && bytes + row.image.length > GROUP_BYTES)) {
      writeGroup(parquet, { rows: group, columns });
      yield* take();
      [group, bytes] = [[], 0];
    }
    group.push(row);
    bytes += row.image.length;
  }
  writeGroup(parquet, { rows: group, columns });
  parquet.finish();
  yield* take();
}

/** A file that is being written, and the bytes of it that are ready. */
function startFile(schema: Schema, features: object) {
  const ready: Uint8Array<ArrayBuffer>[] = [];
  const writer = new ByteWriter();
  const flush = () => {
    ready.push(new Uint8Array(writer.buffer, 0, writer.index).slice());
    writer.index = 0;
  };
  const parquet = new ParquetWriter({
    writer: Object.assign(writer, { flush }),
    schema,
    kvMetadata: [{ key: "huggingface", value: JSON.stringify({ info: { features } }) }],
    createdBy: "distilvit captioner",
  });
  const take = (): Uint8Array<ArrayBuffer>[] => {
    flush();
    return ready.splice(0);
  };
  return { parquet, take };
}

/** A column of plain values; cells may be `null`. */
export interface PlainColumn {
  readonly name: string;
  readonly type: "STRING" | "INT32" | "DOUBLE";
}

const DTYPES = { STRING: "string", INT32: "int32", DOUBLE: "float64" } as const;

/** Encodes a table of plain values, a row group at a time. */
export class PlainTableEncoder {
  readonly #columns: readonly PlainColumn[];
  readonly #file: ReturnType<typeof startFile>;

  /** Begins a file with these columns. */
  constructor(columns: readonly PlainColumn[]) {
    this.#columns = columns;
    const schema: Schema = [
      { name: "schema", num_children: columns.length },
      ...columns.map(({ name, type }) => ({
        name,
        repetition_type: "OPTIONAL" as const,
        ...(type === "STRING"
          ? { type: "BYTE_ARRAY" as const, converted_type: "UTF8" as const }
          : { type: type as "INT32" | "DOUBLE" }),
      })),
    ];
    const features = columns.map(({ name, type }) => [name, { dtype: DTYPES[type], _type: "Value" }]);
    this.#file = startFile(schema, Object.fromEntries(features));
  }

  /** Adds a row group, and gives the bytes that are ready. @param rows Cells in the order of the columns */
  write(rows: readonly (readonly (string | number | null)[])[]): Uint8Array<ArrayBuffer>[] {
    this.#file.parquet.write({
      rowGroupSize: Math.max(1, rows.length),
      columnData: this.#columns.map(({ name }, c) => ({ name, data: rows.map((row) => row[c]!) })),
    });
    return this.#file.take();
  }

  /** Ends the file, and gives its last bytes. */
  finish(): Uint8Array<ArrayBuffer>[] {
    this.#file.parquet.finish();
    return this.#file.take();
  }
}

function writeGroup(
  parquet: ParquetWriter,
  { rows, columns }: { rows: readonly ImageTableRow[]; columns: ImageTableColumns },
): void {
  const names = [...columns.lists, ...columns.texts];
  parquet.write({
    rowGroupSize: Math.max(1, rows.length),
    columnData: [
      {
        name: "image",
        data: rows.map(({ image, path }) => ({ bytes: image, path })),
        codec: "UNCOMPRESSED",
        statistics: false,
      },
      ...names.map((name) => ({
        name,
        data: rows.map(({ cells }) => {
          const cell = cells[name]!;
          return typeof cell === "string" ? cell : [...cell];
        }),
      })),
    ],
  });
}

/** Name of a shard as the Hub has it: `data/train-00000-of-00003.parquet`. */
export function shardName(split: string, shard: number, count: number): string {
  const five = (value: number) => String(value).padStart(5, "0");
  return `data/${split}-${five(shard)}-of-${five(count)}.parquet`;
}

/** The front of a data set's README: which files are which split. Text follows it. */
export function formatDatasetConfig(splits: readonly string[]): string {
  const files = splits.map((split) => `  - split: ${split}\n    path: data/${split}-*`);
  return `---\nconfigs:\n- config_name: default\n  data_files:\n${files.join("\n")}\n---\n`;
}
