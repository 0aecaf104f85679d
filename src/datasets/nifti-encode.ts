import { VersemiError } from '../errors.js';
import { columnNorms, determinant, invertAffine, nearestRotation } from '../volume/affine.js';
import {
  type Affine,
  type HeaderForms,
  type Triple,
  type Volume,
  type VoxelArray,
  voxelCount,
} from '../volume/volume.js';
import { affineOf, quaternionMatrix } from './nifti-header.js';

export interface EncodeNiftiOptions {
  /** Free text of at most 79 characters, for the header's `descrip`. */
  readonly description?: string;
  /** Header for an .hdr/.img pair: the voxels start at byte 0 of the .img file. */
  readonly pair?: boolean;
}

/** A volume whose voxels are made while they are written. */
export interface SlabbedVolume extends Omit<Volume, 'data' | 'stored'> {
  /** An empty array of the voxels' type; the voxels themselves come as slabs [z, y, x]. */
  readonly type: VoxelArray;
  /** All voxels, in the order of a volume's `data`. */
  slabs(): Iterable<VoxelArray>;
}

const largestDimension1 = 32767;
const singleFileOffset = { 1: 352, 2: 544 } as const;

/**
 * NIfTI header of a volume, little-endian, with the four bytes that say "no extensions"; the voxels follow it as they lie
 * in memory. Where the volume came from a NIfTI file and still has its affine, the version of NIfTI and the fields of its
 * place are those of that file.
 * @throws VERSEMI_VOLUME_INVALID when size, data or affine contradict each other
 */
export function encodeNiftiHeader(volume: Volume | SlabbedVolume, options: EncodeNiftiOptions = {}): Uint8Array {
  checkWritable(volume);
  const forms = keptForms(volume) ?? newForms(volume);
  const { version } = forms;
  const bytes = new Uint8Array(singleFileOffset[version]);
  const view = new DataView(bytes.buffer);
  const offset = options.pair === true ? 0 : bytes.length;
  const { code, bits } = datatypeOf('slabs' in volume ? volume.type : volume.data);
  const dim = [3, ...volume.sizeVoxels, 1, 1, 1, 1];
  const text = (start: number, room: number, value: string) => {
    for (let i = 0; i < Math.min(room, value.length); i++) bytes[start + i] = value.charCodeAt(i) & 0x7f;
  };
  if (version === 1) {
    const floats = (start: number, values: readonly number[]) => {
      for (const [i, value] of values.entries()) view.setFloat32(start + 4 * i, value, true);
    };
    view.setInt32(0, 348, true);
    bytes[38] = 'r'.charCodeAt(0); // `regular`, which ANALYZE readers ask for
    for (const [i, size] of dim.entries()) view.setInt16(40 + 2 * i, size, true);
    view.setInt16(70, code, true);
    view.setInt16(72, bits, true);
    floats(76, forms.pixdim);
    floats(108, [offset, 1, 0]); // vox_offset, scl_slope, scl_inter
    bytes[123] = forms.units;
    text(148, 79, options.description ?? '');
    view.setInt16(252, forms.qformCode, true);
    view.setInt16(254, forms.sformCode, true);
    floats(256, forms.quaternion);
    floats(280, forms.srow);
    text(344, 4, options.pair === true ? 'ni1' : 'n+1');
  } else {
    const doubles = (start: number, values: readonly number[]) => {
      for (const [i, value] of values.entries()) view.setFloat64(start + 8 * i, value, true);
    };
    view.setInt32(0, 540, true);
    text(4, 8, options.pair === true ? 'ni2\0\r\n\x1a\n' : 'n+2\0\r\n\x1a\n');
    view.setInt16(12, code, true);
    view.setInt16(14, bits, true);
    for (const [i, size] of dim.entries()) view.setBigInt64(16 + 8 * i, BigInt(size), true);
    doubles(104, forms.pixdim);
    view.setBigInt64(168, BigInt(offset), true);
    doubles(176, [1, 0]);
    text(240, 79, options.description ?? '');
    view.setInt32(344, forms.qformCode, true);
    view.setInt32(348, forms.sformCode, true);
    doubles(352, forms.quaternion);
    doubles(400, forms.srow);
    view.setInt32(500, forms.units, true);
  }
  return bytes;
}

/** The forms of the file that the volume came from, as long as they still stand for its affine. */
function keptForms({ forms, sizeVoxels, affine }: Volume | SlabbedVolume): HeaderForms | undefined {
  if (forms === undefined || (forms.version === 1 && needsVersion2(sizeVoxels))) return undefined;
  const stated = affineOf(forms, sizeVoxels).affine;
  return stated.every((value, i) => value === affine[i]) ? forms : undefined;
}

function needsVersion2(sizeVoxels: Triple): boolean {
  return sizeVoxels.some((size) => size > largestDimension1);
}

/**
 * NIfTI-1, or NIfTI-2 when a dimension is above 32767. The affine is stored as sform; as qform too, with code 0 ("do not
 * use") when a quaternion cannot hold it: when it has shears, or is so near to a half turn that the rounding of NIfTI-1's
 * float32 would turn the volume.
 */
function newForms({ sizeVoxels, affine }: Volume | SlabbedVolume): HeaderForms {
  const version = needsVersion2(sizeVoxels) ? 2 : 1;
  const qform = quaternion(affine, version);
  const millimetres = 2;
  const scannerCoordinates = 1;
  return {
    version,
    units: millimetres,
    pixdim: [qform.qfac, ...columnNorms(affine)],
    qformCode: qform.exact ? scannerCoordinates : 0,
    sformCode: scannerCoordinates,
    quaternion: [...qform.bcd, ...[3, 7, 11].map((i) => affine[i]!)],
    srow: affine.slice(0, 12),
  };
}

/** Voxels of a volume as little-endian bytes, slab by slab where the volume makes them so. */
export function* voxelParts(volume: Volume | SlabbedVolume): Generator<Uint8Array> {
  if (!('slabs' in volume)) return yield voxelBytes(volume.data);
  for (const slab of volume.slabs()) yield voxelBytes(slab);
}

/** Voxels as little-endian bytes: a view on its memory on the usual hosts. */
export function voxelBytes(data: VoxelArray): Uint8Array {
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 || data.BYTES_PER_ELEMENT === 1) return bytes;
  const width = data.BYTES_PER_ELEMENT;
  const swapped = bytes.slice();
  for (let start = 0; start < swapped.length; start += width) swapped.subarray(start, start + width).reverse();
  return swapped;
}

/** @throws VERSEMI_VOLUME_INVALID when size, data or affine contradict each other */
export function checkWritable(volume: Volume | SlabbedVolume): void {
  const { sizeVoxels, affine } = volume;
  const invalid = (field: string, expected: string, found: string) =>
    new VersemiError('VOLUME_INVALID', {
      ...(volume.file === undefined ? {} : { file: volume.file }),
      field,
      expected,
      found,
    });
  if (!sizeVoxels.every((size) => Number.isSafeInteger(size) && size >= 1))
    throw invalid('sizeVoxels', 'three whole numbers of at least 1', sizeVoxels.join(' x '));
  if (!('slabs' in volume) && voxelCount(sizeVoxels) !== volume.data.length)
    throw invalid('data', `${voxelCount(sizeVoxels)} voxels (${sizeVoxels.join(' x ')})`, `${volume.data.length}`);
  if (affine.length !== 16 || invertAffine(affine) === undefined)
    throw invalid('affine', 'an invertible 4 x 4 matrix', `[${affine.join(', ')}]`);
}

function datatypeOf(data: VoxelArray): { code: number; bits: number } {
  const bits = 8 * data.BYTES_PER_ELEMENT;
  if (data instanceof Uint8Array) return { code: 2, bits };
  if (data instanceof Int16Array) return { code: 4, bits };
  if (data instanceof Int32Array) return { code: 8, bits };
  if (data instanceof Float32Array) return { code: 16, bits };
  if (data instanceof Float64Array) return { code: 64, bits };
  if (data instanceof Int8Array) return { code: 256, bits };
  if (data instanceof Uint16Array) return { code: 512, bits };
  return { code: 768, bits };
}

/**
 * Unit quaternion (b, c, d; a >= 0 is implied) and handedness of the rotation nearest to an affine, and whether they
 * reproduce the affine to a ten-thousandth of a voxel per voxel once they are stored.
 */
function quaternion(affine: Affine, version: 1 | 2): { bcd: Triple; qfac: 1 | -1; exact: boolean } {
  const r = nearestRotation(affine).slice();
  const qfac = determinant(affine) < 0 ? -1 : 1;
  if (qfac < 0) for (const i of [2, 5, 8]) r[i] = -r[i]!;
  const m = (row: number, column: number) => r[3 * row + column]!;
  // Shepperd's method: divide by the largest of the four components.
  const [x, y, z] = [m(0, 0), m(1, 1), m(2, 2)];
  const squares = [1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z];
  const largest = squares.indexOf(Math.max(...squares));
  const square = squares[largest]!;
  const q = [
    [square, m(2, 1) - m(1, 2), m(0, 2) - m(2, 0), m(1, 0) - m(0, 1)],
    [m(2, 1) - m(1, 2), square, m(0, 1) + m(1, 0), m(0, 2) + m(2, 0)],
    [m(0, 2) - m(2, 0), m(0, 1) + m(1, 0), square, m(1, 2) + m(2, 1)],
    [m(1, 0) - m(0, 1), m(0, 2) + m(2, 0), m(1, 2) + m(2, 1), square],
  ][largest]!;
  const scale = (q[0]! < 0 ? -0.5 : 0.5) / Math.sqrt(square);
  const stored = (value: number) => (version === 1 ? Math.fround(value * scale) : value * scale);
  const bcd: Triple = [stored(q[1]!), stored(q[2]!), stored(q[3]!)];
  const norms = columnNorms(affine);
  const decoded = quaternionMatrix(bcd, norms, qfac, [0, 0, 0]);
  const exact = decoded.every((value, i) => i % 4 === 3 || Math.abs(value - affine[i]!) < 1e-4 * norms[i % 4]!);
  return { bcd, qfac, exact };
}
