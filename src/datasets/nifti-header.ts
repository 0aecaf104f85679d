import { VersemiError } from '../errors.js';
import { invertAffine } from '../volume/affine.js';
import type { Affine, HeaderForms, Triple } from '../volume/volume.js';

/**
 * NIfTI-1 and NIfTI-2 headers (https://nifti.nimh.nih.gov/nifti-1, nifti2.h). Where the standard leaves room, the
 * behaviour is that of nibabel, so that both see the same scan in the same place.
 */

/** Numeric datatypes that are read: NIfTI code -> name and bytes per voxel. */
const niftiDatatypes: Readonly<Record<number, { readonly name: DatatypeName; readonly bytes: number }>> = {
  2: { name: 'uint8', bytes: 1 },
  4: { name: 'int16', bytes: 2 },
  8: { name: 'int32', bytes: 4 },
  16: { name: 'float32', bytes: 4 },
  64: { name: 'float64', bytes: 8 },
  256: { name: 'int8', bytes: 1 },
  512: { name: 'uint16', bytes: 2 },
  768: { name: 'uint32', bytes: 4 },
  1024: { name: 'int64', bytes: 8 },
  1280: { name: 'uint64', bytes: 8 },
};

/** How voxels are stored in a file. */
export type DatatypeName =
  | 'uint8'
  | 'int8'
  | 'uint16'
  | 'int16'
  | 'uint32'
  | 'int32'
  | 'uint64'
  | 'int64'
  | 'float32'
  | 'float64';

/** Datatypes of the standard that hold no single number per voxel, or one that JavaScript has no type for. */
const unsupportedDatatypes: Readonly<Record<number, string>> = {
  0: 'unknown',
  1: 'binary (1 bit)',
  32: 'complex64',
  128: 'rgb24',
  1536: 'float128',
  1792: 'complex128',
  2048: 'complex256',
  2304: 'rgba32',
};

export interface NiftiHeader {
  readonly version: 1 | 2;
  readonly littleEndian: boolean;
  /** True when header and voxels share one file (magic n+1, n+2). */
  readonly singleFile: boolean;
  /** All dimensions as stored, [x], [x, y], ... [x, y, z, t, u, v, w]. */
  readonly shape: readonly number[];
  /** The three spatial dimensions; 1 where fewer are stored. */
  readonly sizeVoxels: Triple;
  /** Number of 3-D volumes: the product of the dimensions after the third. */
  readonly volumes: number;
  readonly datatype: DatatypeName;
  readonly bytesPerVoxel: number;
  /** Offset of the first voxel in its file. */
  readonly dataOffset: number;
  /** value = slope * stored + intercept; 1 and 0 where the header states no scaling. */
  readonly slope: number;
  readonly intercept: number;
  /** Where the affine comes from: the rule is sform, else qform, else voxel sizes alone. */
  readonly affineSource: 'sform' | 'qform' | 'pixdim';
  /** Voxel index to millimetres in RAS+ space. */
  readonly affine: Affine;
  /** The fields that the affine comes from, as stored. */
  readonly forms: HeaderForms;
}

/** Field offsets of the two versions; the field widths follow from the version. */
const layouts = {
  1: { dim: 40, datatype: 70, pixdim: 76, voxOffset: 108, slope: 112, units: 123, qformCode: 252, sformCode: 254 },
  2: { dim: 16, datatype: 12, pixdim: 104, voxOffset: 168, slope: 176, units: 500, qformCode: 344, sformCode: 348 },
} as const;
const quaternionOffset = { 1: 256, 2: 352 } as const;
const srowOffset = { 1: 280, 2: 400 } as const;
const headerBytes = { 1: 348, 2: 540 } as const;

/** Reads numbers of the header in its version's width and byte order. */
class FieldReader {
  constructor(
    private readonly view: DataView,
    readonly version: 1 | 2,
    readonly littleEndian: boolean,
  ) {}

  /** dim: int16 in version 1, int64 in version 2 (a value beyond 2^53 is never a valid size and may be rounded). */
  dimension(index: number): number {
    const start = layouts[this.version].dim;
    return this.version === 1
      ? this.view.getInt16(start + 2 * index, this.littleEndian)
      : Number(this.view.getBigInt64(start + 8 * index, this.littleEndian));
  }

  /** float32 in version 1, float64 in version 2 */
  float(start: number, index = 0): number {
    return this.version === 1
      ? this.view.getFloat32(start + 4 * index, this.littleEndian)
      : this.view.getFloat64(start + 8 * index, this.littleEndian);
  }

  /** vox_offset: float32 in version 1, int64 in version 2 */
  voxOffset(): number {
    const start = layouts[this.version].voxOffset;
    return this.version === 1
      ? this.view.getFloat32(start, this.littleEndian)
      : Number(this.view.getBigInt64(start, this.littleEndian));
  }

  /** xform codes: int16 in version 1, int32 in version 2 */
  code(start: number): number {
    return this.version === 1
      ? this.view.getInt16(start, this.littleEndian)
      : this.view.getInt32(start, this.littleEndian);
  }

  datatype(): number {
    return this.view.getInt16(layouts[this.version].datatype, this.littleEndian);
  }

  /** xyzt_units: one byte in version 1, int32 in version 2; the spatial unit is in the low three bits */
  units(): number {
    const start = layouts[this.version].units;
    return this.version === 1 ? this.view.getUint8(start) : this.view.getInt32(start, this.littleEndian);
  }
}

/**
 * Parses a NIfTI-1 or NIfTI-2 header of either byte order.
 * @param bytes the inflated file from its first byte on
 * @throws VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_FORMAT, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED
 */
export function parseNiftiHeader(bytes: Uint8Array, file: string): NiftiHeader {
  const { version, littleEndian, singleFile } = identify(bytes, file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes[version]);
  const fields = new FieldReader(view, version, littleEndian);
  const shape = readShape(fields, file);
  const sizeVoxels: Triple = [shape[0]!, shape[1] ?? 1, shape[2] ?? 1];
  const forms = readForms(fields);
  const code = fields.datatype();
  const datatype = niftiDatatypes[code];
  if (datatype === undefined) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      field: 'datatype',
      expected: 'an integer or float type of at most 64 bits',
      found: `${unsupportedDatatypes[code] ?? 'unknown'} (code ${code})`,
      remedy: 'Convert the file, for example with nibabel or fslmaths.',
    });
  }
  return {
    version,
    littleEndian,
    singleFile,
    shape,
    sizeVoxels,
    volumes: shape.slice(3).reduce((product, size) => product * size, 1),
    datatype: datatype.name,
    bytesPerVoxel: datatype.bytes,
    dataOffset: readOffset(fields, singleFile, file),
    ...readScaling(fields, file),
    ...readAffine(forms, sizeVoxels, file),
    forms,
  };
}

function identify(bytes: Uint8Array, file: string) {
  const found = (text: string) =>
    new VersemiError('FILE_FORMAT', {
      file,
      expected: 'a NIfTI-1 or NIfTI-2 header',
      found: text,
      remedy: 'Supported image files are NIfTI (.nii, .nii.gz, .hdr with .img) and HDF5 (.h5).',
    });
  if (bytes.length < 4) {
    throw new VersemiError('FILE_TRUNCATED', {
      file,
      expected: 'a NIfTI header of 348 or 540 bytes',
      found: `${bytes.length} bytes`,
      remedy: 'Copy or download the file again.',
    });
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const version of [1, 2] as const) {
    for (const littleEndian of [true, false]) {
      if (view.getInt32(0, littleEndian) !== headerBytes[version]) continue;
      if (bytes.length < headerBytes[version]) {
        throw new VersemiError('FILE_TRUNCATED', {
          file,
          expected: `a NIfTI-${version} header of ${headerBytes[version]} bytes`,
          found: `${bytes.length} bytes`,
          remedy: 'Copy or download the file again.',
        });
      }
      const start = version === 1 ? 344 : 4;
      const magic = String.fromCharCode(...bytes.subarray(start, start + 3));
      const end = bytes[start + 3];
      if (end !== 0 || (magic !== `n+${version}` && magic !== `ni${version}`)) {
        const shown = JSON.stringify(magic + String.fromCharCode(end!));
        throw found(
          `magic ${shown} instead of n+${version} or ni${version}${version === 1 ? ' (perhaps an ANALYZE 7.5 file)' : ''}`,
        );
      }
      return { version, littleEndian, singleFile: magic[1] === '+' };
    }
  }
  throw found(`a file that starts with the bytes ${[...bytes.subarray(0, 4)].join(' ')}`);
}

function readShape(fields: FieldReader, file: string): number[] {
  const corrupt = (field: string, expected: string, found: number) =>
    new VersemiError('FILE_CORRUPT', {
      file,
      field,
      expected,
      found: String(found),
      remedy: 'Export the scan again.',
    });
  const rank = fields.dimension(0);
  if (!(rank >= 1 && rank <= 7)) throw corrupt('dim[0]', 'a number of dimensions from 1 to 7', rank);
  const shape: number[] = [];
  for (let i = 1; i <= rank; i++) {
    const size = fields.dimension(i);
    // As in nifti1_io, which ITK and FSL read with: a dimension after the third that states no size has size 1.
    const stated = i > 3 && size <= 0 ? 1 : size;
    if (!(stated >= 1 && Number.isSafeInteger(stated))) throw corrupt(`dim[${i}]`, 'a size of at least 1', size);
    shape.push(stated);
  }
  return shape;
}

function readOffset(fields: FieldReader, singleFile: boolean, file: string): number {
  const offset = fields.voxOffset();
  const least = singleFile ? headerBytes[fields.version] : 0;
  if (singleFile && offset === 0) return headerBytes[fields.version] + 4;
  if (!(Number.isSafeInteger(offset) && offset >= least)) {
    throw new VersemiError('FILE_CORRUPT', {
      file,
      field: 'vox_offset',
      expected: `a whole number of at least ${least}`,
      found: String(offset),
      remedy: 'Export the scan again.',
    });
  }
  return offset;
}

function readScaling(fields: FieldReader, file: string): { slope: number; intercept: number } {
  const start = layouts[fields.version].slope;
  const slope = fields.float(start);
  const intercept = fields.float(start, 1);
  if (slope === 0 || !Number.isFinite(slope)) return { slope: 1, intercept: 0 };
  if (!Number.isFinite(intercept)) {
    throw new VersemiError('FILE_CORRUPT', {
      file,
      field: 'scl_inter',
      expected: `a finite number beside scl_slope ${slope}`,
      found: String(intercept),
      remedy: 'Export the scan again.',
    });
  }
  return { slope, intercept };
}

/** Millimetres per spatial unit of xyzt_units; files that state none mean millimetres. */
const millimetresPerUnit: Readonly<Record<number, number>> = { 1: 1000, 2: 1, 3: 0.001 };

function readForms(fields: FieldReader): HeaderForms {
  const { version } = fields;
  const layout = layouts[version];
  const floats = (start: number, count: number) => Array.from({ length: count }, (_, i) => fields.float(start, i));
  return {
    version,
    units: fields.units(),
    pixdim: floats(layout.pixdim, 4),
    qformCode: fields.code(layout.qformCode),
    sformCode: fields.code(layout.sformCode),
    quaternion: floats(quaternionOffset[version], 6),
    srow: floats(srowOffset[version], 12),
  };
}

/**
 * The affine that a header's forms stand for: the sform, else the qform, else voxel sizes alone. An sform that is no
 * invertible matrix (zeros, most often) gives way to a qform, as in ITK.
 */
export function affineOf(forms: HeaderForms, sizeVoxels: Triple): Pick<NiftiHeader, 'affine' | 'affineSource'> {
  const unit = millimetresPerUnit[forms.units & 7] ?? 1;
  const inMillimetres = (matrix: readonly number[]): Affine => [...matrix.map((value) => value * unit), 0, 0, 0, 1];
  const sform = inMillimetres(forms.srow);
  if (forms.sformCode > 0 && (forms.qformCode <= 0 || invertAffine(sform) !== undefined))
    return { affine: sform, affineSource: 'sform' };
  const sizes = voxelSizes(forms);
  if (forms.qformCode > 0) {
    const [b, c, d, x, y, z] = forms.quaternion as NumberSextuple;
    const matrix = quaternionMatrix([b, c, d], sizes, forms.pixdim[0]! < 0 ? -1 : 1, [x, y, z]);
    return { affine: inMillimetres(matrix), affineSource: 'qform' };
  }
  // Method 1 of the standard; like nibabel with x to the left and the middle of the volume at the origin.
  const matrix = [-sizes[0], sizes[1], sizes[2]].flatMap((size, row) => {
    const line = [0, 0, 0, (-size * (sizeVoxels[row]! - 1)) / 2];
    line[row] = size;
    return line;
  });
  return { affine: inMillimetres(matrix), affineSource: 'pixdim' };
}

function readAffine(forms: HeaderForms, sizeVoxels: Triple, file: string) {
  const { affine, affineSource } = affineOf(forms, sizeVoxels);
  if (invertAffine(affine) === undefined) {
    const rows = [0, 4, 8].map((i) => `[${affine.slice(i, i + 4).join(', ')}]`).join(' ');
    throw new VersemiError('VOLUME_INVALID', {
      file,
      field: affineSource,
      expected: 'an invertible matrix from voxels to millimetres',
      found: rows,
      remedy: 'Mend the header, for example with fslorient or nibabel.',
    });
  }
  return { affine, affineSource };
}

/** Voxel sizes as nibabel mends them: their sign means nothing, and 0 stands for 1. */
function voxelSizes({ pixdim }: HeaderForms): Triple {
  return [1, 2, 3].map((i) => Math.abs(pixdim[i]!) || 1) as unknown as Triple;
}

type NumberSextuple = [number, number, number, number, number, number];

/**
 * Method 2 of the standard: unit quaternion (a >= 0 follows from b, c, d), voxel sizes, handedness and offset.
 * @returns 3 x 4, row-major
 */
export function quaternionMatrix(bcd: Triple, sizes: Triple, qfac: 1 | -1, offset: Triple): number[] {
  let [b, c, d] = bcd;
  const squares = b * b + c * c + d * d;
  let a = 0;
  if (1 - squares > 1e-7) a = Math.sqrt(1 - squares);
  else {
    // A half turn, up to rounding: as in nifti1_io, take a = 0 and make (b, c, d) a unit vector.
    const norm = Math.sqrt(squares);
    b /= norm;
    c /= norm;
    d /= norm;
  }
  const [sx, sy, sz] = [sizes[0], sizes[1], sizes[2] * qfac];
  return [
    ...[(a * a + b * b - c * c - d * d) * sx, 2 * (b * c - a * d) * sy, 2 * (b * d + a * c) * sz, offset[0]],
    ...[2 * (b * c + a * d) * sx, (a * a + c * c - b * b - d * d) * sy, 2 * (c * d - a * b) * sz, offset[1]],
    ...[2 * (b * d - a * c) * sx, 2 * (c * d + a * b) * sy, (a * a + d * d - b * b - c * c) * sz, offset[2]],
  ];
}
