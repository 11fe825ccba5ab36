/**
 * TensorBoard event files, as bytes to append: TFRecord framing around `Event` messages that hold scalars, texts or images.
 *
 * Record: u64 length, masked crc32c of the length, data, masked crc32c of the data; all little-endian. `Event`: 1 wall_time,
 * 2 step, 3 file_version, 5 summary { 1 value { 1 tag, 2 simple_value, 4 image { 1 height, 2 width, 3 colorspace,
 * 4 encoded_image_string }, 8 tensor { 1 dtype, 2 tensor_shape { 2 dim { 1 size } }, 8 string_val }, 9 metadata { 1 plugin_data
 * { 1 plugin_name } } } }.
 * Source: https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto
 *
 * @module
 */

import { crc32c } from "./crc32c.ts";
import { ProtobufWriter } from "./protobuf.ts";

/** Numbers of one step. */
export interface ScalarEvent {
  /** Optimizer step. */
  step: number;
  /** Seconds since 1970. */
  wallTimeSeconds: number;
  /** Values by tag, such as `train/loss`; stored as float32. */
  scalars: Readonly<Record<string, number>>;
}

/** The first record of every event file. */
export function encodeFileVersion(wallTimeSeconds: number): Uint8Array<ArrayBuffer> {
  return encodeRecord(new ProtobufWriter().double(1, wallTimeSeconds).string(3, "brain.Event:2").finish());
}

/** One record with the scalars of a step. */
export function encodeScalars({ scalars, ...event }: ScalarEvent): Uint8Array<ArrayBuffer> {
  return encodeSummary(event, scalars, (entry, value) => entry.float(2, value));
}

/** Texts of one step. */
export interface TextEvent extends Omit<ScalarEvent, "scalars"> {
  /** Markdown by tag. */
  texts: Readonly<Record<string, string>>;
}

/** `DT_STRING` of TensorFlow's types. */
const STRING_TYPE = 7;

/** One record with texts, which TensorBoard shows by step under its text tab. */
export function encodeTexts({ texts, ...event }: TextEvent): Uint8Array<ArrayBuffer> {
  return encodeSummary(event, texts, (entry, text) =>
    entry
      .message(8, (tensor) =>
        tensor.varint(1, STRING_TYPE)
          .message(2, (shape) => shape.message(2, (dimension) => dimension.varint(1, 1)))
          .string(8, text))
      .message(9, (metadata) => metadata.message(1, (plugin) => plugin.string(1, "text"))));
}

/** An encoded picture. */
export interface EventImage {
  /** Pixels. */
  width: number;
  /** Pixels. */
  height: number;
  /** A PNG, JPEG or GIF. */
  bytes: Uint8Array;
}

/** Pictures of one step. */
export interface ImageEvent extends Omit<ScalarEvent, "scalars"> {
  /** By tag. */
  images: Readonly<Record<string, EventImage>>;
}

/** Three channels, as `Summary.Image` counts them. */
const RGB = 3;

/** One record with pictures, which TensorBoard shows under its images tab. */
export function encodeImages({ images, ...event }: ImageEvent): Uint8Array<ArrayBuffer> {
  return encodeSummary(
    event,
    images,
    (entry, { width, height, bytes }) =>
      entry.message(4, (image) => image.varint(1, height).varint(2, width).varint(3, RGB).bytes(4, bytes)),
  );
}

function encodeSummary<T>(
  event: Omit<ScalarEvent, "scalars">,
  values: Readonly<Record<string, T>>,
  write: (entry: ProtobufWriter, value: T) => void,
): Uint8Array<ArrayBuffer> {
  const message = new ProtobufWriter().double(1, event.wallTimeSeconds).varint(2, event.step);
  message.message(5, (summary) => {
    for (const [tag, value] of Object.entries(values)) {
      summary.message(1, (entry) => write(entry.string(1, tag), value));
    }
  });
  return encodeRecord(message.finish());
}

/** The name TensorBoard looks for; `count` tells files of one process apart. */
export function eventFileName(
  run: { wallTimeSeconds: number; host: string; pid: number; count: number },
): string {
  const seconds = Math.floor(run.wallTimeSeconds);
  return `events.out.tfevents.${seconds}.${run.host}.${run.pid}.${run.count}`;
}

function encodeRecord(data: Uint8Array): Uint8Array<ArrayBuffer> {
  const record = new Uint8Array(12 + data.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return record;
}

/** Rotated and offset, so that a checksum of data that holds checksums stays strong. */
function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
