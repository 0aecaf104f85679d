/**
 * TensorBoard event files, own writer: TFRecord framing (length, masked CRC-32C, data, masked CRC-32C;
 * tensorflow/core/lib/io/record_writer.h) round protocol-buffer messages `Event` (tensorflow/core/util/event.proto),
 * of which scalars, the version and the session start are needed.
 */

import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { AppendedFile } from '../appended-file.js';
import { crc32c } from '../crc.js';
import { fileNameOf } from '../file-name.js';

/** TFRecord stores checksums rotated and shifted, since data that holds its own checksum makes for a weak one. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** One TFRecord. */
export function encodeRecord(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(data.byteLength + 16);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(data.byteLength), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(data, 12);
  view.setUint32(12 + data.byteLength, maskedCrc32c(data), true);
  return record;
}

/** Protocol-buffer wire format: a key is (field number << 3) | wire type. */
const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  bytes.push(rest);
  return bytes;
}

function integerField(number: number, value: number): number[] {
  return [(number << 3) | wire.varint, ...varint(value)];
}

function bytesField(number: number, bytes: ArrayLike<number>): number[] {
  return [(number << 3) | wire.bytes, ...varint(bytes.length), ...Array.from(bytes)];
}

function textField(number: number, text: string): number[] {
  return bytesField(number, new TextEncoder().encode(text));
}

function doubleField(number: number, value: number): number[] {
  return [(number << 3) | wire.fixed64, ...new Uint8Array(new Float64Array([value]).buffer)];
}

function floatField(number: number, value: number): number[] {
  return [(number << 3) | wire.fixed32, ...new Uint8Array(new Float32Array([value]).buffer)];
}

/** Event { wall_time = 1 (s), step = 2, file_version = 3, summary = 5, session_log = 7 }. */
function event(wallTime: number, step: number, content: number[]): Uint8Array {
  return Uint8Array.from([...doubleField(1, wallTime), ...integerField(2, step), ...content]);
}

/** Summary { value = 1: Value { tag = 1, simple_value = 2 } }. */
export function encodeScalars(wallTime: number, step: number, scalars: Readonly<Record<string, number>>): Uint8Array {
  const values = Object.entries(scalars).flatMap(([tag, value]) =>
    bytesField(1, [...textField(1, tag), ...floatField(2, value)]),
  );
  return event(wallTime, step, bytesField(5, values));
}

/** Appends scalars to one new event file; every call is written through to the operating system. */
export class TensorBoardWriter {
  readonly file: string;
  private readonly log: AppendedFile;

  /**
   * @param folder made when missing
   * @param firstStep points of earlier files at this step or later are dropped by TensorBoard (a resumed run); 0: a new run
   * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
   */
  constructor(
    folder: string,
    firstStep: number,
    private readonly now: () => number = Date.now,
  ) {
    const seconds = now() / 1000;
    this.log = newFile(
      folder,
      `events.out.tfevents.${Math.floor(seconds)}.${fileNameOf(hostname())}.${process.pid}.${firstStep}`,
    );
    this.file = this.log.file;
    try {
      this.append(event(seconds, 0, textField(3, 'brain.Event:2')));
      const sessionStart = integerField(1, 1); // SessionLog { status = 1 }, START = 1
      if (firstStep > 0) this.append(event(seconds, firstStep, bytesField(7, sessionStart)));
    } catch (error) {
      this.log.close();
      throw error;
    }
  }

  scalars(step: number, scalars: Readonly<Record<string, number>>): void {
    this.append(encodeScalars(this.now() / 1000, step, scalars));
  }

  sync(): void {
    this.log.sync();
  }

  close(): void {
    this.log.close();
  }

  private append(data: Uint8Array): void {
    this.log.append(encodeRecord(data));
  }
}

/** A run that ends and goes on within a second keeps both files: the second one is numbered. */
function newFile(folder: string, name: string): AppendedFile {
  for (let number = 0; ; number++) {
    const file = join(folder, number === 0 ? name : `${name}.${number}`);
    if (!existsSync(file)) return new AppendedFile(file, { fresh: true });
  }
}
