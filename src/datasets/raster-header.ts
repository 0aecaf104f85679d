import { VersemiError } from '../errors.js';
import { invertAffine } from '../volume/affine.js';
import type { Affine, Triple } from '../volume/volume.js';
import type { DatatypeName } from './nifti-header.js';

/**
 * What NRRD and MetaImage have in common: a text header that describes an array of numbers, and the bytes of that array behind
 * the header or in other files.
 */
export interface RasterHeader {
  /** Name of the format, for error sentences. */
  readonly format: 'NRRD' | 'MetaImage';
  /** Lengths of all axes as stored, the fastest first. */
  readonly shape: readonly number[];
  /** The axes of space, as indices of `shape` in rising order; along the others lie the volumes of one file. */
  readonly spaceAxes: Triple;
  /** 4 x 4, row-major, from indices along `spaceAxes` to millimetres in RAS+ space. */
  readonly affine: Affine;
  readonly datatype: DatatypeName;
  readonly littleEndian: boolean;
  readonly encoding: RasterEncoding;
  /** Files with the voxels, in order, as the header names them; absent where the voxels follow the header. */
  readonly dataFiles?: readonly string[];
  /** Bytes of the header, with the end mark of an attached one. */
  readonly headerBytes: number;
  /** Lines, then bytes, that come before the voxels in a file that holds them. */
  readonly skipLines: number;
  /** -1: the voxels are the last bytes of the file. */
  readonly skipBytes: number;
}

export type RasterEncoding = 'raw' | 'compressed' | 'text' | 'hex';

export const datatypeBytes: Readonly<Record<DatatypeName, number>> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  uint64: 8,
  int64: 8,
  float32: 4,
  float64: 8,
};

/** More elements than any array of this platform has. */
const mostElements = 2 ** 40;

/** The coded errors of one header. */
export class HeaderFaults {
  constructor(
    readonly file: string,
    private readonly format: RasterHeader['format'],
  ) {}

  /** The header contradicts its format. */
  invalid(field: string, expected: string, found: string): VersemiError {
    const remedy = 'Export the volume again, or convert it to NIfTI with the program that wrote it.';
    return new VersemiError('FILE_FORMAT', {
      file: this.file,
      field: `${this.format}: ${field}`,
      expected,
      found,
      remedy,
    });
  }

  /** The header is valid, and speaks of something that is not read. */
  unsupported(field: string, expected: string, found: string, remedy: string): VersemiError {
    return new VersemiError('FORMAT_UNSUPPORTED', {
      file: this.file,
      field: `${this.format}: ${field}`,
      expected,
      found,
      remedy,
    });
  }

  /** As many finite numbers as wanted, separated by white space. */
  numbers(field: string, text: string | undefined, count: number): number[] {
    const words = (text ?? '').trim().split(/\s+/);
    const values = words.map((word) => (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(word) ? Number(word) : NaN));
    if (values.length !== count || !values.every(Number.isFinite))
      throw this.invalid(field, count === 1 ? 'a number' : `${count} numbers`, text === undefined ? 'nothing' : text);
    return values;
  }

  /** Lengths of the axes. */
  shape(field: string, text: string | undefined, count: number): number[] {
    const sizes = this.numbers(field, text, count);
    const elements = sizes.reduce((product, size) => product * size, 1);
    if (!sizes.every((size) => Number.isInteger(size) && size >= 1) || elements > mostElements)
      throw this.invalid(field, 'whole numbers of at least 1, for at most 2^40 voxels', text ?? 'nothing');
    return sizes;
  }

  /** Position and directions in LPS (to the left, to the back, to the head) as an affine to RAS+. */
  affine(field: string, directions: readonly (readonly number[])[], origin: readonly number[], toRas: Triple): Affine {
    const row = (r: number) => [
      ...directions.map((direction) => toRas[r]! * direction[r]! + 0),
      toRas[r]! * origin[r]! + 0,
    ];
    const affine = [...row(0), ...row(1), ...row(2), 0, 0, 0, 1];
    if (invertAffine(affine) !== undefined) return affine;
    const found = directions.map((direction) => `(${direction.join(',')})`).join(' ');
    throw this.invalid(field, 'three directions that span the space', found);
  }
}

/** Millimetres in a unit of length. @throws VERSEMI_FORMAT_UNSUPPORTED when it is none that is known */
export function unitMm(faults: HeaderFaults, field: string, unit: string): number {
  const known: Readonly<Record<string, number>> = {
    mm: 1,
    millimeter: 1,
    millimeters: 1,
    millimetre: 1,
    millimetres: 1,
    cm: 10,
    m: 1000,
    um: 1e-3,
    µm: 1e-3,
    micron: 1e-3,
    microns: 1e-3,
    '': 1,
    '?': 1,
    '???': 1,
  };
  const mm = Object.hasOwn(known, unit.toLowerCase()) ? known[unit.toLowerCase()] : undefined;
  if (mm !== undefined) return mm;
  throw faults.unsupported(field, 'mm, cm, m or um', unit, 'Write the volume in millimetres.');
}

/**
 * The files that a header names for its voxels: behind LIST, by a pattern of C's printf with first, last and step, or one name.
 * @param listed names behind the word LIST
 */
export function dataFilesOf(
  faults: HeaderFaults,
  field: string,
  value: string,
  listed: readonly string[],
): readonly string[] {
  if (/^LIST\b/.test(value)) {
    if (listed.length === 0) throw faults.invalid(field, 'names of files behind LIST', 'none');
    return listed;
  }
  // NRRD may name the dimension of the files behind the step, MetaImage may leave the step out.
  const [, pattern, first, last, step = 1] =
    /^(\S*%0?\d*d\S*)\s+(-?\d+)\s+(-?\d+)(?:\s+(-?\d+))?(?:\s+\d+)?$/.exec(value) ?? [];
  return pattern === undefined ? [value] : numberedFiles(faults, field, pattern, [first, last, step].map(Number));
}

/**
 * Names of numbered files, from a pattern of C's printf with one whole number.
 * @param range first, last and step; both ends belong to it
 */
function numberedFiles(faults: HeaderFaults, field: string, pattern: string, range: readonly number[]): string[] {
  const [first, last, step] = range as [number, number, number];
  const parts = /^(.*?)%(0?)(\d*)d(.*)$/.exec(pattern);
  const count = Math.floor((last - first) / step) + 1;
  if (parts === null || ![first, last, step].every(Number.isSafeInteger) || !(count >= 1 && count <= 100000))
    throw faults.invalid(
      field,
      'a name with one %d, a first and a last number and a step',
      `${pattern} ${range.join(' ')}`,
    );
  const [, before, zero, width, after] = parts;
  return Array.from({ length: count }, (_, i) => {
    const digits = String(first + i * step).padStart(Math.min(Number(width), 100), zero === '0' ? '0' : ' ');
    return `${before}${digits}${after}`;
  });
}
