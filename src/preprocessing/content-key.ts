import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { channelIndex } from '../datasets/load-case.js';
import { filesOfRaster, isRaster } from '../datasets/raster.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { withRegularFile } from '../regular-file.js';

/** The content of a case whatever its files are called: SHA-256 in hexadecimal digits. */
export interface ContentKeys {
  readonly image: string;
  /** Absent for a case without a label file. The same as `image` where one file holds both. */
  readonly label?: string;
}

/**
 * Reads the files of a case through and says what they hold. Of a modality that is one file, the key is what `sha256sum` prints.
 * @param channel modality by index or name
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_MODALITY_MISSING, and what a header says that cannot be
 */
export async function contentKeys(dataset: Dataset, files: CaseFiles, channel: number | string): Promise<ContentKeys> {
  const file = files.channels?.[channelIndex(dataset, channel)] ?? files.image;
  const image = await digest(file);
  if (files.label === undefined) return { image };
  return { image, label: files.label === file ? image : await digest(files.label) };
}

async function digest(file: string): Promise<string> {
  return digestOf(await partsOf(file));
}

/** SHA-256 of what files hold, one behind the other, in hexadecimal digits. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
export async function digestOf(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const part of files) {
    await withRegularFile(part, async ({ handle }) => {
      const stream = handle.createReadStream({ start: 0, highWaterMark: 1 << 20, autoClose: false });
      for await (const chunk of stream) hash.update(chunk as Uint8Array);
    });
  }
  return hash.digest('hex');
}

/** An image file and the files beside it that hold its voxels. */
export async function partsOf(file: string): Promise<string[]> {
  if (isRaster(file)) return filesOfRaster(file);
  const voxels = file.replace(/\.hdr(\.gz)?$/i, '.img$1');
  return voxels !== file && existsSync(voxels) ? [file, voxels] : [file];
}
