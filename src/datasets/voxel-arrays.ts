import { VersemiError } from '../errors.js';
import type { VoxelArray } from '../volume/volume.js';
import type { DatatypeName } from './nifti-header.js';

/** Typed array of each datatype that has one; 64-bit integers become Float64Array (`wholeNumbers`). */
const arrayTypes = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

/** Name of the type of an array's elements. */
export function datatypeName(data: VoxelArray): DatatypeName {
  return (Object.keys(arrayTypes) as (keyof typeof arrayTypes)[]).find((name) => data instanceof arrayTypes[name])!;
}

const hostIsLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * Voxels as numbers: a view on `bytes` where byte order and alignment allow, else a copy.
 * @param bytes exactly the voxels, `count` times the width of `datatype`
 * @throws VERSEMI_FORMAT_UNSUPPORTED for 64-bit integers beyond 2^53
 */
export function voxelsFromBytes(
  bytes: Uint8Array,
  datatype: DatatypeName,
  littleEndian: boolean,
  file: string,
): VoxelArray {
  if (datatype === 'int64' || datatype === 'uint64') return wholeNumbers(bytes, datatype, littleEndian, file);
  const type = arrayTypes[datatype];
  const width = type.BYTES_PER_ELEMENT;
  let source = bytes;
  if (width > 1 && littleEndian !== hostIsLittleEndian) source = swapped(bytes, width);
  else if (bytes.byteOffset % width !== 0) source = new Uint8Array(bytes); // not `slice`, which in a Buffer of Node copies nothing
  return new type(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength / width);
}

/** A copy with the bytes of each element in reverse order. */
function swapped(bytes: Uint8Array, width: number): Uint8Array {
  const result = new Uint8Array(bytes.length);
  for (let start = 0; start < bytes.length; start += width)
    for (let i = 0; i < width; i++) result[start + i] = bytes[start + width - 1 - i]!;
  return result;
}

/** 64-bit integers as float64, which holds them exactly up to 2^53. */
function wholeNumbers(
  bytes: Uint8Array,
  datatype: 'int64' | 'uint64',
  littleEndian: boolean,
  file: string,
): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const result = new Float64Array(bytes.length / 8);
  const [lowAt, highAt] = littleEndian ? [0, 4] : [4, 0];
  for (let i = 0; i < result.length; i++) {
    const low = view.getUint32(8 * i + lowAt, littleEndian);
    const high =
      datatype === 'int64' ? view.getInt32(8 * i + highAt, littleEndian) : view.getUint32(8 * i + highAt, littleEndian);
    const value = high * 0x100000000 + low;
    if (!(value <= 2 ** 53 && value >= -(2 ** 53)) || (Math.abs(value) === 2 ** 53 && (low & 1) === 1)) {
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        file,
        field: `${datatype} voxel ${i}`,
        expected: 'a value of at most 2^53, which a 64-bit float holds exactly',
        found: String(value),
        remedy: 'Convert the file to a 32-bit integer or a float type.',
      });
    }
    result[i] = value;
  }
  return result;
}

/** The parts one after the other; a single part is not copied. */
export function joinedBytes(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : joinedInto(new Uint8Array(lengthOf(parts)), parts);
}

/** The parts one after the other; a single part is not copied. */
export function joinedFloats(parts: readonly Float32Array[]): Float32Array {
  return parts.length === 1 ? parts[0]! : joinedInto(new Float32Array(lengthOf(parts)), parts);
}

function lengthOf(parts: readonly { readonly length: number }[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function joinedInto<T extends Uint8Array | Float32Array>(result: T, parts: readonly T[]): T {
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
