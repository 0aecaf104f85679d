import { open } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Dataset as Hdf5Dataset, File as Hdf5File } from 'h5wasm/node';
import { VersemiError } from '../errors.js';
import { scalingAffine } from '../volume/affine.js';
import type { Triple, Volume, VoxelArray } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { readError } from './files.js';
import type { DatatypeName } from './nifti-header.js';
import { voxelsFromBytes } from './voxel-arrays.js';

/**
 * HDF5 files of semi-supervised segmentation research: one file per case with the arrays `image` and `label`, written by
 * h5py from arrays indexed [x, y, z]. The last index runs fastest in the file; a Volume wants x fastest, so the axes are
 * exchanged while reading. Such files hold no geometry: axes are taken as RAS+, spacing as 1 mm unless told otherwise.
 */

export interface ReadHdf5Options {
  /** Path of the array in the file; default 'image'. */
  readonly key?: string;
  /** Default [1, 1, 1]. */
  readonly spacingMm?: Triple;
}

type Hdf5Library = typeof import('h5wasm/node')['default'];

/** What an HDF5 array is, and its voxels with x fastest. */
export interface Hdf5Array {
  readonly datatype: DatatypeName;
  readonly shape: readonly number[];
  readonly volume: Volume;
}

/** @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_FORMAT, VERSEMI_FILE_TRUNCATED, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED */
export async function readHdf5(file: string, options: ReadHdf5Options = {}): Promise<Hdf5Array> {
  const key = options.key ?? 'image';
  return withFile(file, (hdf5, library) => {
    const dataset = datasetOf(hdf5, library, file, key);
    const { datatype, littleEndian, shape } = describe(dataset, file, key);
    const [sizeX, sizeY, sizeZ] = shape as [number, number, number];
    const value = dataset.value as VoxelArray | BigInt64Array | BigUint64Array;
    const bytes = new Uint8Array(value.buffer as ArrayBuffer, value.byteOffset, value.byteLength);
    const stored = voxelsFromBytes(bytes, datatype, littleEndian, file);
    const spacingMm = options.spacingMm ?? [1, 1, 1];
    const volume: Volume = {
      data: host().reorient(stored, [sizeZ, sizeY, sizeX], [2, 1, 0], [false, false, false]),
      sizeVoxels: [sizeX, sizeY, sizeZ],
      spacingMm,
      affine: scalingAffine(spacingMm),
      file,
    };
    return { datatype, shape, volume };
  });
}

/** Size and type of an array, its voxels unread. @throws as {@link readHdf5} */
export async function hdf5Facts(
  file: string,
  { key = 'image', spacingMm = [1, 1, 1] }: ReadHdf5Options = {},
): Promise<Omit<Volume, 'data'> & { readonly bytesPerVoxel: number }> {
  return withFile(file, (hdf5, library) => {
    const dataset = datasetOf(hdf5, library, file, key);
    const { shape } = describe(dataset, file, key);
    const sizeVoxels = shape as unknown as Triple;
    return { sizeVoxels, spacingMm, affine: scalingAffine(spacingMm), bytesPerVoxel: dataset.metadata.size };
  });
}

function datasetOf(hdf5: Hdf5File, library: Hdf5Library, file: string, key: string): Hdf5Dataset {
  const dataset = hdf5.get(key);
  if (dataset instanceof library.Dataset) return dataset;
  throw new VersemiError('FILE_FORMAT', {
    file,
    field: key,
    expected: `an array named "${key}"`,
    found: dataset === null ? `only ${hdf5.keys().join(', ') || 'no names at all'}` : 'something else of that name',
    remedy: 'Give the name of the array with the option key, or write the file with `image` and `label`.',
  });
}

/** Names at the top level of an HDF5 file. @throws as {@link readHdf5} */
export async function hdf5Keys(file: string): Promise<string[]> {
  return withFile(file, (hdf5) => hdf5.keys());
}

function describe(dataset: Hdf5Dataset, file: string, key: string) {
  const { type, size, signed, vlen, littleEndian } = dataset.metadata;
  const shape = dataset.shape ?? [];
  const unsupported = (expected: string, found: string) =>
    new VersemiError('FORMAT_UNSUPPORTED', {
      file,
      field: key,
      expected,
      found,
      remedy: 'Write one 3-D array [x, y, z] per case.',
    });
  const integer = 0; // H5T_INTEGER
  const float = 1; // H5T_FLOAT
  let datatype: string | undefined;
  if (!vlen && type === integer && [1, 2, 4, 8].includes(size)) datatype = `${signed ? 'int' : 'uint'}${8 * size}`;
  if (!vlen && type === float && [4, 8].includes(size)) datatype = `float${8 * size}`;
  if (datatype === undefined) {
    throw unsupported(
      'integers of 8 to 64 bits, float32 or float64',
      `HDF5 type ${JSON.stringify(dataset.dtype)} of ${size} bytes`,
    );
  }
  if (shape.length !== 3 || shape.some((length) => length < 1))
    throw unsupported('a 3-D array', `shape [${shape.join(', ')}]`);
  return { datatype: datatype as DatatypeName, littleEndian, shape };
}

async function withFile<T>(file: string, use: (hdf5: Hdf5File, library: Hdf5Library) => T): Promise<T> {
  await checkSignature(file);
  // Loaded here, as its 4 MB of WebAssembly are of no use to those who read NIfTI only.
  const { default: h5wasm } = await import('h5wasm/node');
  const module = await h5wasm.ready;
  // Without this handler the library prints failures and hands back zeros for chunks that it could not decompress.
  module.activate_throwing_error_handler();
  let hdf5: Hdf5File | undefined;
  try {
    hdf5 = new h5wasm.File(resolve(file), 'r');
    return use(hdf5, h5wasm);
  } catch (error) {
    if (error instanceof VersemiError) throw error;
    throw libraryError(error, file);
  } finally {
    try {
      hdf5?.close();
    } finally {
      module.deactivate_throwing_error_handler();
    }
  }
}

/** An HDF5 file starts with this signature at byte 0, 512, 1024, 2048, ... (HDF5 file format specification, II.A). */
const signature = Buffer.from('\x89HDF\r\n\x1a\n', 'latin1');

async function checkSignature(file: string): Promise<void> {
  const handle = await open(file).catch((error: unknown) => {
    throw readError(error, file);
  });
  try {
    const { size } = await handle.stat();
    const bytes = Buffer.alloc(signature.length);
    for (let offset = 0; offset < size; offset = offset === 0 ? 512 : 2 * offset) {
      await handle.read(bytes, 0, bytes.length, offset);
      if (bytes.equals(signature)) return;
    }
    throw new VersemiError('FILE_FORMAT', {
      file,
      expected: 'an HDF5 file',
      found: size === 0 ? 'an empty file' : 'no HDF5 signature',
      remedy: 'Supported image files are NIfTI (.nii, .nii.gz, .hdr with .img) and HDF5 (.h5).',
    });
  } catch (error) {
    throw readError(error, file);
  } finally {
    await handle.close();
  }
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
  const innermost = /\): ([^\n]+)\n[^#]*$/.exec(text)?.[1] ?? text.split('\n')[0]!;
  if (/filter .*not (registered|available)|required filter/i.test(text)) {
    return new VersemiError(
      'FORMAT_UNSUPPORTED',
      {
        file,
        expected: 'gzip, shuffle, szip or no compression',
        found: innermost,
        remedy: 'Write the file with gzip.',
      },
      error,
    );
  }
  return new VersemiError(
    'FILE_CORRUPT',
    { file, expected: 'an intact HDF5 file', found: innermost, remedy: 'Copy or download the file again.' },
    error,
  );
}
