import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { SeriesFiles } from '../datasets/dicom/read-series.js';
import { filesNamed } from '../datasets/dicom/sources.js';
import { channelIndex } from '../datasets/load-case.js';
import { filesOfRaster } from '../datasets/raster.js';
import { isRaster } from '../datasets/raster-read.js';
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
  const image = files.series === undefined ? await digest(file) : await digestOfSeries(file, files.series);
  if (files.label === undefined) return { image };
  return { image, label: files.label === file ? image : await digestOfLabel(files.label, file) };
}

/** Of what the files hold, whatever their names and their order. */
async function digestOfSeries(path: string, { files, uid, stack }: SeriesFiles): Promise<string> {
  const digests: string[] = [];
  for (const file of await filesNamed(path, files))
    digests.push(
      createHash('sha256')
        .update(await file.bytes())
        .digest('hex'),
    );
  return createHash('sha256')
    .update(JSON.stringify([digests.sort(), uid, stack]))
    .digest('hex');
}

/** A label may lie in the zip file of its images. */
async function digestOfLabel(label: string, image: string): Promise<string> {
  if (existsSync(label)) return digest(label);
  const [file] = await filesNamed(image, [label]);
  if (file === undefined) return digest(label);
  return createHash('sha256')
    .update(await file.bytes())
    .digest('hex');
}

async function digest(file: string): Promise<string> {
  return digestOf(await partsOf(file));
}

/** SHA-256 of what files hold, one behind the other, in hexadecimal digits. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
export async function digestOf(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const part of files) {
    await withRegularFile(part, async ({ handle, sizeBytes }) => {
      // One block for the whole file: blocks of streams are garbage, of which many small files would make much.
      const block = new Uint8Array(Math.max(1, Math.min(sizeBytes, 1 << 20)));
      for (let at = 0; ; ) {
        const { bytesRead } = await handle.read(block, 0, block.length, at);
        if (bytesRead === 0) break;
        hash.update(block.subarray(0, bytesRead));
        at += bytesRead;
      }
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
