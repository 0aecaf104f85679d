import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { PreprocessingSettings } from '../config/plan.js';
import { channelIndex, loadCase } from '../datasets/load-case.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { writeCacheFile } from './cache-file.js';
import type { ContentKeys } from './content-key.js';
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
const preprocessingVersion = 2;

/**
 * Cache entry of a case: its name is a hash of the content of the source files and of all settings, so that neither a
 * renamed nor a touched file is preprocessed again, and a changed one never goes unnoticed.
 * @param content of the source files
 * @throws VERSEMI_MODALITY_MISSING
 */
export function cacheFileOf(job: CaseJob, content: ContentKeys, folder: string): string {
  const { dataset, files, settings, channel } = job;
  const key = JSON.stringify({
    version: preprocessingVersion,
    content,
    settings,
    channel: files.channels === undefined ? channelIndex(dataset, channel) : 0,
    labeled: files.label !== undefined,
    labels: dataset.labelsDeclared ? Object.keys(dataset.labels) : null,
    // Structures find their values by their names.
    ...(files.series === undefined ? {} : { names: dataset.labels, ordered: dataset.labelsOrdered ?? true }),
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
