import { VersemiError } from '../errors.js';
import { type Part, PartTable } from '../parts.js';
import { scalingAffine } from '../volume/affine.js';
import { type Affine, type Triple, type Volume, type VoxelArray, voxelCount } from '../volume/volume.js';
import type { Hdf5Role } from './hdf5-keys.js';

/** A 3-D image or label map as a reader of one's own gives it. */
export interface ReadVoxels {
  /** `data[x + sizeX * (y + sizeY * z)]`, intensities or label values. */
  readonly data: VoxelArray;
  readonly sizeVoxels: Triple;
  /** Edges of a voxel in millimetres. */
  readonly spacingMm: Triple;
  /** 4 x 4, row-major, voxel index to millimetres in RAS+ space; absent: x to the right, y to the front, z up, from the origin. */
  readonly affine?: Affine;
}

/** What a reader is asked for. */
export interface ReadVoxelsOptions {
  /** An image, or the label map of one. */
  readonly role: Hdf5Role;
  /** Modality, counted from 0, of a file that holds several. */
  readonly channel: number;
  /** Spacing that the dataset states for files that store none. */
  readonly spacingMm?: Triple;
}

/** A file format of one's own: its files are found in folders and read wherever versemi reads images and label maps. */
export interface VolumeFormat extends Part {
  /** Endings of its files, with the dot, in any case of letters: `['.npy']`. Those of versemi's own formats are not asked for. */
  readonly endings: readonly string[];
  /** Reads a file. Whatever it throws ends the case, as VERSEMI_FILE_CORRUPT where it is no coded error. */
  read(file: string, options: ReadVoxelsOptions): ReadVoxels | Promise<ReadVoxels>;
}

const formats = new PartTable<VolumeFormat>('formats');

const endingOf = (name: string, { endings }: VolumeFormat) =>
  endings.find((ending) => name.toLowerCase().endsWith(ending.toLowerCase()));

/** The format of one's own that a file has by its name; undefined where it has none. */
export function ownFormat(name: string): VolumeFormat | undefined {
  return formats.own().find((format) => endingOf(name, format) !== undefined);
}

/** A name without the ending of a format of one's own; undefined where it has none. */
export function withoutOwnEnding(name: string): string | undefined {
  for (const format of formats.own()) {
    const ending = endingOf(name, format);
    if (ending !== undefined) return name.slice(0, -ending.length);
  }
  return undefined;
}

const arrayTypes = [
  Uint8Array,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
];

/**
 * Reads a file by a format of one's own, and checks what its reader gives.
 * @throws VERSEMI_FILE_CORRUPT, VERSEMI_VOLUME_INVALID naming what the reader got wrong
 */
export async function readOwn(format: VolumeFormat, file: string, options: ReadVoxelsOptions): Promise<Volume> {
  let read: ReadVoxels;
  try {
    read = await format.read(file, options);
  } catch (error) {
    if (error instanceof VersemiError) throw error;
    const found = error instanceof Error ? error.message : String(error);
    throw new VersemiError('FILE_CORRUPT', { file, expected: `a file of the format ${format.name}`, found }, error);
  }
  const { data, sizeVoxels, spacingMm, affine = scalingAffine(spacingMm) } = read;
  const invalid = (field: string, expected: string, found: unknown) =>
    new VersemiError('VOLUME_INVALID', {
      ...{ file, field: `${field}, as the format ${format.name} reads it`, expected, found: String(found) },
      remedy: 'Mend the reader, or the file.',
    });
  const isTriple = (value: unknown): value is Triple => Array.isArray(value) && value.length === 3;
  if (!isTriple(sizeVoxels) || !sizeVoxels.every((size) => Number.isSafeInteger(size) && size > 0))
    throw invalid('sizeVoxels', 'three whole numbers above 0', sizeVoxels);
  if (!isTriple(spacingMm) || !spacingMm.every((spacing) => spacing > 0 && Number.isFinite(spacing)))
    throw invalid('spacingMm', 'three numbers above 0', spacingMm);
  if (!arrayTypes.some((type) => data instanceof type))
    throw invalid(
      'data',
      `one of ${arrayTypes.map(({ name }) => name).join(', ')}`,
      (data as object)?.constructor?.name,
    );
  if (data.length !== voxelCount(sizeVoxels))
    throw invalid('data', `${voxelCount(sizeVoxels)} voxels, as the size says`, data.length);
  if (affine.length !== 16 || !affine.every(Number.isFinite)) throw invalid('affine', '16 finite numbers', affine);
  return { data, sizeVoxels, spacingMm, affine, file };
}
