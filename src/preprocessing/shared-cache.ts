import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { writeError } from '../atomic-file.js';
import { isVersemiError, throwIfAborted } from '../errors.js';
import { type FolderLock, lockFile } from '../folder-lock.js';
import { readCacheFile } from './cache-file.js';
import type { PreprocessedCase } from './preprocessed-case.js';

/**
 * A cache into which several processes write, on any machines that share the folder: ranks of a training, folds, parts of a cohort.
 * Who makes an entry holds a lock file beside it, which is made by a link and renewed (`folder-lock.ts`): that is so on network file
 * systems too, and a process that was killed keeps nobody waiting for more than a minute.
 */

/** How long to wait before an entry that somebody else makes is looked for again. */
const pausesMs = [50, 100, 200, 500, 1000];

/**
 * Makes an entry, unless another process is doing so, for which this one waits.
 * @param file of the entry
 * @returns the entry that another process has made meanwhile; undefined where this one has made it
 * @throws what `make` throws; VERSEMI_DISK_FULL, VERSEMI_IO_FAILED; VERSEMI_ABORTED by `signal`
 */
export async function makeOnce(
  file: string,
  make: () => Promise<void>,
  signal?: AbortSignal,
): Promise<PreprocessedCase | undefined> {
  for (let attempt = 0; ; attempt++) {
    throwIfAborted(signal, 'preprocessing');
    const lock = await lockEntry(file, true);
    if (lock === undefined) {
      const pause = setTimeout(pausesMs[Math.min(attempt, pausesMs.length - 1)]);
      await (heldHere.get(file) ?? pause);
      continue;
    }
    return await holding(file, lock, async () => {
      const other = await readCacheFile(file);
      if (other === undefined) await make();
      return other;
    });
  }
}

/** Entries that this thread makes now: equal scans of one plan are one entry. */
const heldHere = new Map<string, Promise<void>>();

async function holding<T>(file: string, lock: FolderLock, work: () => Promise<T>): Promise<T> {
  let end = () => {};
  heldHere.set(
    file,
    new Promise<void>((resolve) => {
      end = resolve;
    }),
  );
  try {
    return await work();
  } finally {
    await lock.release();
    heldHere.delete(file);
    end();
  }
}

/** An entry that may have to be made. */
export interface CacheEntry {
  /** Its file. */
  readonly file: () => Promise<string>;
  readonly make: (file: string) => Promise<void>;
}

/**
 * Makes those of the entries that no process has made or is making: each rank begins at another place and passes over what others
 * do, so that together they make each entry once. What fails here is left to the turn of that case, which tells why.
 * @param entries the same ones, in the same order, on every rank
 * @param atOnce how many to make at the same time
 * @returns files of the entries that this process has made
 */
export async function fillCache(
  entries: readonly CacheEntry[],
  { rank, size }: { readonly rank: number; readonly size: number },
  atOnce: number,
  signal?: AbortSignal,
): Promise<Set<string>> {
  const made = new Set<string>();
  const first = Math.floor((rank * entries.length) / size);
  const order = [...entries.slice(first), ...entries.slice(0, first)];
  const work = async () => {
    for (let entry = order.shift(); entry !== undefined && signal?.aborted !== true; entry = order.shift())
      await fill(entry, made).catch(() => {});
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return made;
}

async function fill(entry: CacheEntry, made: Set<string>): Promise<void> {
  const file = await entry.file();
  // Whether an entry that is there is whole, its turn tells.
  if (existsSync(file)) return;
  const lock = await lockEntry(file, false);
  if (lock === undefined) return;
  await holding(file, lock, async () => {
    if (existsSync(file)) return;
    await entry.make(file);
    made.add(file);
  });
}

/** @returns undefined while another process makes the entry */
async function lockEntry(file: string, watch: boolean): Promise<FolderLock | undefined> {
  try {
    await mkdir(dirname(file), { recursive: true });
  } catch (error) {
    throw writeError(file, error);
  }
  try {
    return await lockFile(`${file}.lock`, 'preprocessing', { watch });
  } catch (error) {
    if (isVersemiError(error, 'FOLDER_IN_USE')) return undefined;
    throw error;
  }
}
