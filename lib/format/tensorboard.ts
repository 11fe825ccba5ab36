/**
 * TensorBoard event files, as bytes to append: TFRecord framing around `Event` messages that hold scalars.
 *
 * Record: u64 length, masked crc32c of the length, data, masked crc32c of the data; all little-endian. `Event`: 1 wall_time,
 * 2 step, 3 file_version, 5 summary { 1 value { 1 tag, 2 simple_value } }.
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
export function encodeScalars(event: ScalarEvent): Uint8Array<ArrayBuffer> {
  const message = new ProtobufWriter().double(1, event.wallTimeSeconds).varint(2, event.step);
  message.message(5, (summary) => {
    for (const [tag, value] of Object.entries(event.scalars)) {
      summary.message(1, (entry) => entry.string(1, tag).float(2, value));
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
