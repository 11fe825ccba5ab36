/**
 * Checks the header of an Arrow message before the library decodes it: flatbuffers hold offsets and counts that a damaged or hostile
 * file can make anything, and the library would allocate what they claim.
 *
 * Source: https://flatbuffers.dev/internals/ and `Message.fbs`, `Schema.fbs` of Apache Arrow (numbers of fields below)
 *
 * @module
 */

/** Fields of a schema in all, children included, and how deep they may lie. */
const MAX_FIELDS = 10_000;
const MAX_DEPTH = 32;

const MESSAGE = { headerType: 1, header: 2 };
const SCHEMA = { fields: 1, metadata: 2 };
const FIELD = { children: 5, metadata: 6 };
const DICTIONARY = { data: 1 };
const BATCH = { nodes: 1, buffers: 2, variadicCounts: 4 };
const FOOTER = { schema: 1, dictionaries: 2, batches: 3 };
const HEADER_TYPE = { schema: 1, dictionary: 2, batch: 3 };

/**
 * Checks the header of a message.
 *
 * @throws {RangeError} If an offset leads out of the header, or a count is larger than it can be
 */
export function checkMessage(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const message = new FlatTable(view, view.getUint32(0, true));
  const header = message.table(MESSAGE.header);
  const type = message.byte(MESSAGE.headerType);
  if (header === undefined) throw new RangeError("it has no header");
  if (type === HEADER_TYPE.schema) {
    header.vector(SCHEMA.metadata, 4);
    checkFields(header, SCHEMA.fields, { depth: 0, count: 0 });
  } else if (type === HEADER_TYPE.batch) checkBatch(header);
  else if (type === HEADER_TYPE.dictionary) {
    const data = header.table(DICTIONARY.data);
    if (data !== undefined) checkBatch(data);
  }
}

/**
 * Checks the footer of an Arrow file.
 *
 * @throws {RangeError} If an offset leads out of it, or a count is larger than it can be
 */
export function checkFooter(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const footer = new FlatTable(view, view.getUint32(0, true));
  footer.vector(FOOTER.dictionaries, 24);
  footer.vector(FOOTER.batches, 24);
  const schema = footer.table(FOOTER.schema);
  if (schema === undefined) throw new RangeError("it has no schema");
  schema.vector(SCHEMA.metadata, 4);
  checkFields(schema, SCHEMA.fields, { depth: 0, count: 0 });
}

function checkBatch(batch: FlatTable): void {
  batch.vector(BATCH.nodes, 16);
  batch.vector(BATCH.buffers, 16);
  batch.vector(BATCH.variadicCounts, 8);
}

function checkFields(parent: FlatTable, field: number, seen: { depth: number; count: number }): number {
  const { length, start } = parent.vector(field, 4);
  let count = seen.count + length;
  if (count > MAX_FIELDS || seen.depth > MAX_DEPTH) {
    throw new RangeError(`its schema has more than ${MAX_FIELDS} fields or ${MAX_DEPTH} levels`);
  }
  for (let i = 0; i < length; i++) {
    const at = start + 4 * i;
    const child = new FlatTable(parent.view, at + parent.view.getUint32(at, true));
    child.vector(FIELD.metadata, 4);
    count = checkFields(child, FIELD.children, { depth: seen.depth + 1, count });
  }
  return count;
}

/** A table of a flatbuffer: a vtable says where each of its fields lies. Reads beyond the buffer throw a RangeError. */
class FlatTable {
  readonly view: DataView;
  readonly #start: number;

  constructor(view: DataView, start: number) {
    this.view = view;
    this.#start = start;
    view.getInt32(start, true);
  }

  /** Place of a field, or `undefined` if it is absent. */
  #place(field: number): number | undefined {
    const vtable = this.#start - this.view.getInt32(this.#start, true);
    const size = this.view.getUint16(vtable, true);
    const slot = 4 + 2 * field;
    const offset = slot + 2 <= size ? this.view.getUint16(vtable + slot, true) : 0;
    return offset === 0 ? undefined : this.#start + offset;
  }

  byte(field: number): number {
    const place = this.#place(field);
    return place === undefined ? 0 : this.view.getUint8(place);
  }

  table(field: number): FlatTable | undefined {
    const place = this.#place(field);
    return place === undefined
      ? undefined
      : new FlatTable(this.view, place + this.view.getUint32(place, true));
  }

  /** Length and start of a vector, whose entries must all lie in the buffer. */
  vector(field: number, entryBytes: number): { length: number; start: number } {
    const place = this.#place(field);
    if (place === undefined) return { length: 0, start: 0 };
    const at = place + this.view.getUint32(place, true);
    const length = this.view.getUint32(at, true);
    if (at + 4 + length * entryBytes > this.view.byteLength) {
      throw new RangeError(`a list claims ${length} entries`);
    }
    return { length, start: at + 4 };
  }
}
