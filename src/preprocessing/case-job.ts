import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { PreprocessingSettings } from '../config/plan.js';
import { channelIndex, loadCase } from '../datasets/load-case.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { withRegularFile } from '../regular-file.js';
import { writeCacheFile } from './cache-file.js';
import { preprocessCase } from './preprocess-case.js';
import type { PreprocessedCase } from './preprocessed-case.js';

/** Everything that decides what a preprocessed case is. Plain data: it crosses threads. */
export interface CaseJob {
  readonly dataset: Dataset;
  /** Name of the dataset in the plan. */
  readonly name: string;
  readonly files: CaseFiles;
  readonly channel: number | string;
  readonly settings: PreprocessingSettings;
}

/** Raise this number whenever preprocessing gives other values for the same input, so that older cache entries are not used. */
const preprocessingVersion = 1;

/** Files whose content a case is made of; the label file only for a labelled case. */
function sourceFiles({ dataset, files, channel }: CaseJob): string[] {
  const image = files.channels?.[channelIndex(dataset, channel)] ?? files.image;
  const named = [image, ...(files.label === undefined ? [] : [files.label])];
  // Beside a .hdr file, its voxels lie in an .img file.
  return named.flatMap((file) => {
    const voxels = file.replace(/\.hdr(\.gz)?$/i, '.img$1');
    return voxels !== file && existsSync(voxels) ? [file, voxels] : [file];
  });
}

async function digest(file: string): Promise<string> {
  const hash = createHash('sha256');
  await withRegularFile(file, async ({ handle }) => {
    const stream = handle.createReadStream({ start: 0, highWaterMark: 1 << 20, autoClose: false });
    for await (const chunk of stream) hash.update(chunk as Uint8Array);
  });
  return hash.digest('hex');
}

/**
 * Cache entry of a case: its name is a hash of the content of the source files and of all settings, so that neither a
 * renamed nor a touched file is preprocessed again, and a changed one never goes unnoticed.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_MODALITY_MISSING
 */
export async function cacheFileOf(job: CaseJob, folder: string): Promise<string> {
  const { dataset, files, settings, channel } = job;
  const content: string[] = [];
  for (const file of sourceFiles(job)) content.push(await digest(file));
  const key = JSON.stringify({
    version: preprocessingVersion,
    content,
    settings,
    channel: files.channels === undefined ? channelIndex(dataset, channel) : 0,
    labeled: files.label !== undefined,
    labels: dataset.labelsDeclared ? Object.keys(dataset.labels) : null,
    spacingMm: dataset.spacingMm ?? null,
    ...(dataset.keys === undefined ? {} : { keys: dataset.keys }),
    ...(dataset.ignoredLabel === undefined ? {} : { ignoredLabel: dataset.ignoredLabel }),
  });
  return join(folder, `${createHash('sha256').update(key).digest('hex').slice(0, 40)}.case`);
}

/** Loads and preprocesses a case. @throws what `loadCase` and `preprocessCase` throw */
export async function makeCase({ dataset, name, files, channel, settings }: CaseJob): Promise<PreprocessedCase> {
  const loaded = await loadCase(dataset, files, { channel });
  return preprocessCase(loaded, settings, name);
}

/** Makes the cache entry of a case. @throws also VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function makeCacheFile(job: CaseJob, file: string): Promise<void> {
  await writeCacheFile(file, await makeCase(job));
}
