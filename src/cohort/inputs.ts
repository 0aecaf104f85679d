import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isHdf5, isImage } from '../datasets/case-files.js';
import { isRaster } from '../datasets/raster-read.js';
import { imageFacts } from '../datasets/read-volume.js';
import type { CaseFiles } from '../datasets/types.js';
import { digestOf, partsOf } from '../preprocessing/content-key.js';
import { readError } from '../regular-file.js';

/** What is looked at to see whether the files of a case have changed, without reading them. */
export interface InputState {
  readonly files: number;
  readonly bytes: number;
  /** The latest time at which the content, the name or the permissions of one of the files changed, ms since 1970. */
  readonly changedMs: number;
}

/** The files behind names: what a folder holds, at any depth, in the order of names, and the files beside a header. */
async function filesBehind(inputs: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const input of [...new Set(inputs)]) {
    const facts = await stat(input).catch((error: unknown) => {
      throw readError(error, input);
    });
    if (!facts.isDirectory()) {
      // A header that cannot be read names no other file; reading the case tells what is wrong with it.
      files.push(...(await partsOf(input).catch(() => [input])));
      continue;
    }
    const names = await readdir(input, { recursive: true, withFileTypes: true });
    const inside = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    files.push(...inside.sort((a, b) => (a < b ? -1 : 1)));
  }
  return files;
}

/** The files of a DICOM series, and others beside them; undefined where its images lie in a zip file, which is then the input. */
export function seriesFiles(
  series: { readonly files: readonly string[] } | undefined,
  ...others: readonly string[]
): { readonly files?: readonly string[] } {
  if (series === undefined || !series.files.every((file) => existsSync(file))) return {};
  return { files: [...series.files, ...others] };
}

/**
 * What is read of a case of a dataset: its image and its label, the image first, and whatever else is. A label may lie in the zip file of
 * its images.
 */
export function inputsOfCase({ image, channels, label, series }: CaseFiles, others: readonly string[] = []) {
  const inside = label === image || (series !== undefined && label !== undefined && !existsSync(label));
  const beside = [...(label === undefined || inside ? [] : [label]), ...others];
  return { inputs: [...(channels ?? [image]), ...beside], ...seriesFiles(series, ...beside) };
}

/** @param inputs files and folders @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
export async function inputState(inputs: readonly string[]): Promise<InputState> {
  let [files, bytes, changedMs] = [0, 0, 0];
  for (const file of await filesBehind(inputs)) {
    const facts = await stat(file).catch((error: unknown) => {
      throw readError(error, file);
    });
    files++;
    bytes += facts.size;
    changedMs = Math.max(changedMs, facts.mtimeMs, facts.ctimeMs);
  }
  return { files, bytes, changedMs };
}

/**
 * SHA-256 of the files of a case: of one file what `sha256sum` prints, of several that of the list of theirs.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED
 */
export async function inputHash(inputs: readonly string[]): Promise<string> {
  const files = await filesBehind(inputs);
  if (files.length === 1) return digestOf(files);
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${await digestOf([file])}\n`);
  return hash.digest('hex');
}

/** Bytes that a voxel is taken for where the header is not read: scans are mostly 16-bit. */
const usualBytesPerVoxel = 2;

/**
 * Voxels of a scan, as what it is expected to cost: by the header of NIfTI, NRRD and MetaImage; of DICOM and HDF5, whose headers are
 * costly to read, and of what cannot be read, by the size of the files, at two bytes per voxel. 0 where there is no file.
 * @param files of the image
 */
export async function voxelsExpected(files: readonly string[]): Promise<number> {
  const [image] = files;
  try {
    if (image !== undefined && files.length === 1 && !isHdf5(image) && (isImage(image) || isRaster(image))) {
      const { sizeVoxels } = (await imageFacts(image)).geometry;
      return sizeVoxels[0] * sizeVoxels[1] * sizeVoxels[2];
    }
  } catch {
    // By its size, as below.
  }
  const { bytes } = await inputState(files).catch(() => ({ bytes: 0 }));
  return Math.ceil(bytes / usualBytesPerVoxel);
}
