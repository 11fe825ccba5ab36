/** Parquet files for tests, written by Rust's parquet library, which shares no code with what reads them. */

import {
  Binary,
  Field,
  List,
  makeBuilder,
  Struct,
  Table,
  tableFromIPC,
  tableToIPC,
  Utf8,
  type Vector,
  vectorFromArray,
} from "apache-arrow";
import * as wasm from "parquet-wasm/node";

export const CODECS = ["UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4_RAW", "BROTLI"] as const;

const IMAGE = new Struct([
  new Field("bytes", new Binary(), true),
  new Field("path", new Utf8(), true),
]);

/** A row of a test table. */
export interface TestRow {
  image: { bytes: Uint8Array | null; path: string | null } | null;
  alt_text: string | string[] | null;
  [column: string]: unknown;
}

/** Rows as an Arrow table with an Image structure, captions, and other columns of a type that fits. */
export function arrowTable(rows: readonly TestRow[]): Table {
  const columns: Record<string, Vector> = {};
  for (const name of Object.keys(rows[0] ?? { image: null, alt_text: null })) {
    const values = rows.map((row) => row[name]);
    const isList = values.some(Array.isArray);
    const type = name === "image"
      ? IMAGE
      : isList
      ? new List(new Field("item", new Utf8(), true))
      : values.some((value) => typeof value === "string")
      ? new Utf8()
      : undefined;
    if (type === undefined) columns[name] = vectorFromArray(values);
    else {
      const builder = makeBuilder({ type, nullValues: [null, undefined] });
      for (const value of values) builder.append(value as never);
      columns[name] = builder.finish().toVector();
    }
  }
  return new Table(columns);
}

/** A parquet file of rows. */
export function parquetFile(
  rows: readonly TestRow[],
  options: {
    codec?: typeof CODECS[number];
    rowGroupSize?: number;
    dictionary?: boolean;
    version2?: boolean;
  } = {},
): Uint8Array {
  const { codec = "UNCOMPRESSED", rowGroupSize = 1000, dictionary = true, version2 = false } = options;
  const properties = new wasm.WriterPropertiesBuilder()
    .setCompression(wasm.Compression[codec])
    .setMaxRowGroupSize(rowGroupSize)
    .setDictionaryEnabled(dictionary)
    .setWriterVersion(version2 ? wasm.WriterVersion.V2 : wasm.WriterVersion.V1)
    .build();
  const table = wasm.Table.fromIPCStream(tableToIPC(arrowTable(rows), "stream"));
  return wasm.writeParquet(table, properties);
}

/** What Rust reads in a parquet file. */
export function readParquetFile(bytes: Uint8Array): { table: Table; metadata: Map<string, string> } {
  const table = tableFromIPC(wasm.readParquet(bytes).intoIPCStream());
  return { table, metadata: table.schema.metadata };
}
