/**
 * The thread that renews the times of lock files, see `folder-lock.ts`: a thread of its own, since a step of a training may keep
 * the main thread for minutes. A file that another owner has taken is left alone.
 */
import { readFileSync, utimesSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

/** Asks for renewals of a file; without a token, for no more of them. */
export interface Renewal {
  readonly file: string;
  readonly token?: string;
  readonly everyMs?: number;
}

const timers = new Map<string, NodeJS.Timeout>();

parentPort?.on('message', ({ file, token, everyMs }: Renewal) => {
  clearInterval(timers.get(file));
  timers.delete(file);
  if (token !== undefined) timers.set(file, setInterval(renew, everyMs, file, token));
});

function renew(file: string, token: string): void {
  try {
    const owner = JSON.parse(readFileSync(file, 'utf8')) as { token?: unknown };
    const now = new Date();
    if (owner.token === token) utimesSync(file, now, now);
  } catch {
    // A file system that does not answer now may answer at the next renewal.
  }
}
