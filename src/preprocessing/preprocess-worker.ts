import { parentPort } from 'node:worker_threads';
import { inheritParts } from '../load-parts.js';
import { type PlainError, toPlain } from '../plain-error.js';
import { type CaseJob, makeCacheFile } from './case-job.js';

/** What the main thread asks for. */
export interface PreprocessRequest {
  readonly job: CaseJob;
  readonly file: string;
}

/** Empty when the entry is written. */
export interface PreprocessAnswer {
  readonly error?: PlainError;
}

// A worker thread of preprocessing: makes one cache entry at a time.
await inheritParts();
parentPort?.on('message', async ({ job, file }: PreprocessRequest) => {
  let answer: PreprocessAnswer = {};
  try {
    await makeCacheFile(job, file);
  } catch (error) {
    answer = { error: toPlain(error, 'preprocessing worker') };
  }
  parentPort!.postMessage(answer);
});
