/**
 * The thread that renews the time of a lock file, see `folder-lock.ts`: a thread of its own, since a step of a training may keep
 * the main thread for minutes. A file that another owner has taken is left alone.
 */
import { readFileSync, utimesSync } from 'node:fs';
import { workerData } from 'node:worker_threads';

const { file, token, everyMs } = workerData as { file: string; token: string; everyMs: number };

setInterval(() => {
  try {
    const owner = JSON.parse(readFileSync(file, 'utf8')) as { token?: unknown };
    const now = new Date();
    if (owner.token === token) utimesSync(file, now, now);
  } catch {
    // A file system that does not answer now may answer at the next renewal.
  }
}, everyMs);
