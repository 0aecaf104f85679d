import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { VersemiError } from '../errors.js';
import { float16Value, fromHalf } from '../half.js';
import { someOf } from '../list-text.js';
import { withRegularFile } from '../regular-file.js';
import { scalingAffine } from '../volume/affine.js';
import type { Triple, Volume, VoxelArray } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { largestRatio } from './deflate-bound.js';
import { elementType, type ReadBytes, unusual } from './hdf5-datatype.js';
import { type Hdf5Role, keysOf } from './hdf5-keys.js';
import { type Hdf5File, withHdf5File } from './hdf5-library.js';
import type { DatatypeName } from './nifti-header.js';
import { voxelsFromBytes } from './voxel-arrays.js';

/**
 * HDF5 files of semi-supervised segmentation research: one file per case with the arrays `image` and `label`, written by
 * h5py from arrays indexed [x, y, z]. The last index runs fastest in the file; a Volume wants x fastest, so the axes are
 * exchanged while reading. Such files hold no geometry: axes are taken as RAS+, spacing as 1 mm unless told otherwise.
 */

export interface ReadHdf5Options {
  /** Path of the array in the file; default: the one of `role`, by its usual names. */
  readonly key?: string;
  /** Default 'image'. */
  readonly role?: Hdf5Role;
  /** Default [1, 1, 1]. */
  readonly spacingMm?: Triple;
}

/** What an HDF5 array is, and its voxels with x fastest. */
export interface Hdf5Array {
  readonly datatype: DatatypeName;
  readonly shape: readonly number[];
  readonly volume: Volume;
}

/** @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_FORMAT, VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED */
export async function readHdf5(file: string, options: ReadHdf5Options = {}): Promise<Hdf5Array> {
  return withFile(file, (hdf5, read) => {
    const key = arrayOf(hdf5, file, options);
    const array = describe(hdf5, file, key, read);
    const sizeVoxels = array.shape as unknown as Triple;
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const spacingMm = options.spacingMm ?? [1, 1, 1];
    const volume: Volume = {
      data: host().reorient(
        readVoxels(hdf5, file, key, array),
        [sizeZ, sizeY, sizeX],
        [2, 1, 0],
        [false, false, false],
      ),
      sizeVoxels,
      spacingMm,
      affine: scalingAffine(spacingMm),
      file,
    };
    return { datatype: array.datatype, shape: array.shape, volume };
  });
}

/** Size and type of an array, its voxels unread. @throws as {@link readHdf5} */
export async function hdf5Facts(
  file: string,
  options: ReadHdf5Options = {},
): Promise<Omit<Volume, 'data'> & { readonly bytesPerVoxel: number }> {
  return withFile(file, (hdf5, read) => {
    const { shape, elementBytes } = describe(hdf5, file, arrayOf(hdf5, file, options), read);
    const spacingMm = options.spacingMm ?? [1, 1, 1];
    return {
      sizeVoxels: shape as unknown as Triple,
      spacingMm,
      affine: scalingAffine(spacingMm),
      bytesPerVoxel: elementBytes,
    };
  });
}

/** What lies at the top level of an HDF5 file. */
export interface Hdf5Contents {
  readonly names: readonly string[];
  /** Shapes of the arrays; null for one that holds nothing. */
  shapeOf(name: string): readonly number[] | null | undefined;
}

/** @throws as {@link readHdf5} */
export async function withHdf5Contents<T>(file: string, use: (contents: Hdf5Contents) => T): Promise<T> {
  return withFile(file, (hdf5) =>
    use({
      names: hdf5.names(),
      shapeOf: (name) => (hdf5.kind(name) === 'array' ? hdf5.facts(name).shape : undefined),
    }),
  );
}

/** Path of the wanted array, which is one and lies in this file. */
function arrayOf(hdf5: Hdf5File, file: string, { key: asked, role = 'image' }: ReadHdf5Options): string {
  const names = asked === undefined ? hdf5.names() : [];
  const [key, ...others] = asked === undefined ? keysOf(names, role) : [asked];
  const wrong = (expected: string, found: string, remedy: string) =>
    new VersemiError('FILE_FORMAT', { file, field: asked ?? role, expected, found, remedy });
  const named = `Rename the right array to "${role}", or name it: --keys IMAGE,LABEL of versemi plan, predict and info.`;
  if (key === undefined) throw wrong(`an array named "${role}"`, listed(names), named);
  if (others.length > 0) throw wrong(`one array of the ${role}`, [key, ...others].join(' and '), named);
  const kind = hdf5.kind(key);
  if (kind === 'array') return key;
  if (kind === 'external link') throw elsewhere(file, key, 'a link into another file');
  throw wrong(
    `an array named "${key}"`,
    kind === 'nothing' ? listed(hdf5.names()) : `a ${kind} of that name`,
    'Correct the name, or rename the array.',
  );
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return 'no names at all';
  return `only ${someOf(names, 10)}`;
}

/** Data of another file is refused: a case from elsewhere could otherwise read any file of this machine. */
function elsewhere(file: string, field: string, found: string, cause?: unknown): VersemiError {
  return new VersemiError(
    'FORMAT_UNSUPPORTED',
    {
      file,
      field,
      expected: 'an array whose voxels lie in the file itself',
      found,
      remedy: 'Copy the voxels into the file.',
    },
    cause,
  );
}

interface ArrayFacts {
  readonly datatype: DatatypeName;
  readonly shape: readonly number[];
  readonly elementBytes: number;
  /** Indices along the first axis that are compressed together. */
  readonly chunkLength: number;
  readonly half: boolean;
}

/** Arrays of up to this size are read whatever the file's size, since chunks that were never written take no room in it. */
const alwaysReadBytes = 16 << 20;

function describe(hdf5: Hdf5File, file: string, key: string, read: ReadBytes): ArrayFacts {
  const { type, size, signed, vlen, littleEndian, enum_type, shape, chunks, virtual_sources } = hdf5.facts(key);
  if (virtual_sources !== undefined) throw elsewhere(file, key, 'a virtual dataset');
  const unsupported = (expected: string, found: string, remedy: string) =>
    new VersemiError('FORMAT_UNSUPPORTED', { file, field: key, expected, found, remedy });
  const integer = 0; // H5T_INTEGER
  const float = 1; // H5T_FLOAT
  const [whole, real] = [(enum_type?.type ?? type) === integer, type === float];
  let datatype: string | undefined;
  // The library hands integers and floats over in the byte order of the host, but not enumerations.
  const ordered = enum_type === undefined || size === 1 || littleEndian;
  if (!vlen && whole && ordered && [1, 2, 4, 8].includes(size)) datatype = `${signed ? 'int' : 'uint'}${8 * size}`;
  if (!vlen && real && [2, 4, 8].includes(size)) datatype = `float${Math.max(32, 8 * size)}`;
  if (datatype === undefined) {
    const name = typeNames[type] ?? `type ${type}`;
    throw unsupported(
      'integers of 8 to 64 bits, bool, float16, float32 or float64',
      `${vlen ? 'variable-length ' : ''}${name} of ${size} bytes${ordered ? '' : ', big-endian'}`,
      'Write the array as float32 or as an integer type.',
    );
  }
  const odd = oddLayout(hdf5, key, read);
  if (odd !== undefined)
    throw unsupported(
      'whole bytes of integers, or floats as IEEE 754 has them (float16, float32, float64)',
      odd,
      'Write the array as float32 or as an integer type.',
    );
  if (shape === null || shape.length !== 3 || shape.some((length) => !(length >= 1)))
    throw unsupported('a 3-D array', `shape [${(shape ?? []).join(', ')}]`, 'Write one 3-D array [x, y, z] per case.');
  const filters = hdf5.filters(key);
  requireFilters(filters, file, key);
  // Without compression a file holds the voxels as they are.
  const most = Math.max(alwaysReadBytes, (filters.length > 0 ? largestRatio : 1) * hdf5.sizeBytes);
  const bytesOf = (lengths: readonly number[]) => lengths.reduce((product, length) => product * length, size);
  const promised = Math.max(bytesOf(shape), chunks === null ? 0 : bytesOf(chunks));
  if (!(promised <= most)) {
    throw new VersemiError('FILE_TRUNCATED', {
      file,
      field: key,
      expected: `the voxels of an array of ${promised} bytes (shape [${shape.join(', ')}])`,
      found: `${hdf5.sizeBytes} bytes, which hold at most ${most}`,
      remedy: 'Write the file again, every voxel of it.',
    });
  }
  const half = real && size === 2;
  return { datatype: datatype as DatatypeName, shape, elementBytes: size, chunkLength: chunks?.[0] ?? 1, half };
}

/** What is unusual about the elements of an array; undefined when nothing is. */
function oddLayout(hdf5: Hdf5File, key: string, read: ReadBytes): string | undefined {
  const type = elementType(read, hdf5.address(key));
  return type === undefined ? 'a type that the file keeps among its shared messages' : unusual(type);
}

/** H5T_class_t */
const typeNames: Readonly<Record<number, string>> = {
  0: 'integer',
  1: 'float',
  2: 'time',
  3: 'string',
  4: 'bit field',
  5: 'opaque',
  6: 'compound (such as complex numbers)',
  7: 'reference',
  8: 'enumeration',
  9: 'variable-length list',
  10: 'array',
};

/** What the library can undo: deflate, shuffle, fletcher32, szip, nbit, scale-offset. */
const lastKnownFilter = 6;

function requireFilters(filters: readonly { readonly id: number; readonly name: string }[], file: string, key: string) {
  const unknown = filters.find(({ id }) => id > lastKnownFilter);
  if (unknown === undefined) return;
  const name = filterNames[unknown.id] ?? (unknown.name || 'unknown');
  throw new VersemiError('FORMAT_UNSUPPORTED', {
    file,
    field: key,
    expected: 'gzip, szip or no compression',
    found: `${name} compression (filter ${unknown.id})`,
    remedy: "Write the array with compression 'gzip'.",
  });
}

/** Registered filters (HDF5 filter registry) that people use. */
const filterNames: Readonly<Record<number, string>> = {
  307: 'bzip2',
  32000: 'LZF',
  32001: 'Blosc',
  32004: 'LZ4',
  32008: 'Bitshuffle',
  32013: 'ZFP',
  32015: 'Zstandard',
  32026: 'Blosc2',
};

/** Bytes that the library hands over at a time, where chunks allow. */
const slabBytes = 32 << 20;

/** All voxels as stored, the last index fastest, read in slabs of whole chunks so that each is decompressed once. */
function readVoxels(hdf5: Hdf5File, file: string, key: string, array: ArrayFacts): VoxelArray {
  const { datatype, shape, elementBytes, chunkLength, half } = array;
  const planeBytes = shape[1]! * shape[2]! * elementBytes;
  const slab = Math.max(1, Math.floor(slabBytes / (planeBytes * chunkLength))) * chunkLength;
  const bytes = new Uint8Array(shape[0]! * planeBytes);
  for (let begin = 0; begin < shape[0]!; begin += slab) {
    const end = Math.min(shape[0]!, begin + slab);
    bytes.set(hdf5.read(key, shape, elementBytes, begin, end), begin * planeBytes);
  }
  // A half is read as the whole number that its bits are, which puts its bytes in order.
  return half
    ? fromHalf(voxelsFromBytes(bytes, 'uint16', true, file) as Uint16Array, float16Value)
    : voxelsFromBytes(bytes, datatype, true, file);
}

async function withFile<T>(file: string, use: (hdf5: Hdf5File, read: ReadBytes) => T): Promise<T> {
  return withRegularFile(file, async ({ handle, sizeBytes }) => {
    await checkSignature(handle, sizeBytes, file);
    try {
      return await withHdf5File(handle, sizeBytes, (hdf5) => use(hdf5, bytesOf(handle, sizeBytes)));
    } catch (error) {
      if (error instanceof VersemiError) throw error;
      throw libraryError(error, file);
    }
  });
}

function bytesOf({ fd }: FileHandle, sizeBytes: number): ReadBytes {
  return (position, length) => {
    if (!(position >= 0 && length >= 0 && position + length <= sizeBytes))
      throw new RangeError(`bytes ${position} to ${position + length} of a file of ${sizeBytes}`);
    const bytes = new Uint8Array(length);
    if (readSync(fd, bytes, 0, length, position) < length) throw new RangeError('the file became shorter');
    return new DataView(bytes.buffer);
  };
}

/** An HDF5 file starts with this signature at byte 0, 512, 1024, 2048, ... (HDF5 file format specification, II.A). */
const signature = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

async function checkSignature(handle: FileHandle, sizeBytes: number, file: string): Promise<void> {
  const bytes = Buffer.alloc(signature.length);
  for (let offset = 0; offset < sizeBytes; offset = offset === 0 ? 512 : 2 * offset) {
    await handle.read(bytes, 0, bytes.length, offset);
    if (bytes.equals(signature)) return;
  }
  throw new VersemiError('FILE_FORMAT', {
    file,
    expected: 'an HDF5 file',
    found: sizeBytes === 0 ? 'an empty file' : 'no HDF5 signature',
    remedy: 'Supported image files are NIfTI (.nii, .nii.gz, .hdr with .img) and HDF5 (.h5).',
  });
}

/** The library's message is a stack of lines; the innermost says what happened. */
function libraryError(error: unknown, file: string): VersemiError {
  const text = error instanceof Error ? error.message : String(error);
  const truncated = /truncated file: eof = (\d+).*stored_eof = (\d+)/.exec(text);
  if (truncated !== null) {
    return new VersemiError(
      'FILE_TRUNCATED',
      {
        file,
        expected: `${truncated[2]} bytes`,
        found: `${truncated[1]} bytes`,
        remedy: 'Copy or download the file again.',
      },
      error,
    );
  }
  if (/external raw data|external file|H5D__efl|H5L__extern/i.test(text))
    return elsewhere(file, 'storage', 'voxels that lie in another file', error);
  const innermost = /\): ([^\n]+)\n[^#]*$/.exec(text)?.[1] ?? text.split('\n')[0]!;
  return new VersemiError(
    'FILE_CORRUPT',
    { file, expected: 'an intact HDF5 file', found: innermost, remedy: 'Copy or download the file again.' },
    error,
  );
}
