import { type DicomFile, dicomStartBytes, isDicom, withMeta } from '../src/datasets/dicom/elements.js';
import { zipEntries } from '../src/datasets/dicom/zip.js';
import { inflateBytes } from '../src/datasets/inflate-bytes.js';
import type { RasterFile } from '../src/datasets/raster-read.js';
import { isZip } from '../src/datasets/zip.js';
import { VersemiError } from '../src/errors.js';
import type { GivenFile } from './protocol.js';

/** A file that was given to the page, or one of a zip file; its bytes are read when they are asked for. */
export interface PageFile {
  /** Path in what was dropped. */
  readonly name: string;
  readonly sizeBytes: number;
  /** Bytes from `start` on, `length` of them or fewer where the file ends. */
  range(start: number, length: number): Promise<Uint8Array>;
}

/** A file as it is, a zip file as the files in it. @throws VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED */
export async function unpacked({ name, blob }: GivenFile): Promise<PageFile[]> {
  const file: PageFile = {
    ...{ name, sizeBytes: blob.size },
    range: async (start, length) => new Uint8Array(await blob.slice(start, start + length).arrayBuffer()),
  };
  const start = await file.range(0, dicomStartBytes);
  if (!isZip(start) || isDicom(start)) return [file];
  return zipEntries(name, await bytesOf(file)).map((entry) => ({
    ...{ name: entry.name, sizeBytes: entry.bytes.length },
    range: async (from, length) => entry.bytes.subarray(from, from + length),
  }));
}

export function bytesOf(file: PageFile): Promise<Uint8Array> {
  return file.range(0, file.sizeBytes);
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** For the readers of DICOM. */
export function asDicom(file: PageFile): DicomFile {
  const { name, sizeBytes, range } = file;
  const head = async (most: number) => ({ bytes: await range(0, most), sizeBytes });
  return withMeta({ name, head, range, bytes: () => bytesOf(file) });
}

/**
 * For the readers of NRRD and MetaImage.
 * @param given what was given together, by name: files of voxels that the header names are looked up there
 */
export function asRaster(file: PageFile, given: ReadonlyMap<string, PageFile>): RasterFile {
  const { name, sizeBytes, range } = file;
  return {
    ...{ name, range },
    sizeBytes: async () => sizeBytes,
    inflated: async (start, wanted) => ({
      bytes: await inflateBytes(await range(start, sizeBytes - start), wanted, name),
    }),
    beside(other) {
      const found = given.get(besideName(name, other));
      if (found !== undefined) return asRaster(found, given);
      throw missingBeside(name, other);
    },
  };
}

/** The path of a file in the folder of another one. */
export function besideName(path: string, other: string): string {
  return path.slice(0, path.length - baseName(path).length) + other.replace(/^(\.\/)+/, '');
}

/** A file that another one needs was not given with it. */
export function missingBeside(file: string, missing: string): VersemiError {
  return new VersemiError('FILE_NOT_FOUND', {
    file,
    field: 'file of the voxels',
    expected: `${missing}, given together with it`,
    found: 'the header alone',
    remedy: 'Drop both files together, or their folder.',
  });
}
