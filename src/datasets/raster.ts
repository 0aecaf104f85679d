import { dirname, join } from 'node:path';
import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';
import { withRegularFile } from '../regular-file.js';
import { leaves } from './case-files.js';
import { readCompressed, readRange } from './files.js';
import { namedDataFiles, type RasterFile } from './raster-read.js';

/** An NRRD or MetaImage file, or one with its voxels, in the file system. */
export function rasterFile(path: string): RasterFile {
  return {
    name: path,
    sizeBytes: () => withRegularFile(path, async ({ sizeBytes }) => sizeBytes),
    range: (start, length) => withRegularFile(path, ({ handle }) => readRange(handle, start, length)),
    inflated: (start, wanted) => readCompressed(path, start, wanted),
    beside: (name) => rasterFile(dataFile(path, name)),
  };
}

/** The file and those in which its voxels lie, where its header names such. @throws as `readRaster`, as far as the header shows it */
export async function filesOfRaster(path: string): Promise<string[]> {
  return [path, ...(await namedDataFiles(rasterFile(path))).map((name) => dataFile(path, name))];
}

/** A header may come from somebody else: it does not reach files elsewhere. */
function dataFile(file: string, name: string): string {
  if (!leaves(dirname(file), name)) return join(dirname(file), name);
  throw new VersemiError('DATASET_INVALID', {
    file,
    field: 'file of the voxels',
    expected: 'a path inside of the folder of the header, relative to it',
    found: shown(name),
    remedy: 'Put the file beside its header and name it without a folder.',
  });
}
