import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync, rmSync } from 'node:fs';
import { link, mkdir, open, readFile, rm, rmdir, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { z } from '#zod';
import { patiently, temporaryIn, temporaryNamedAfter, writeError, writeFileAtomic } from './atomic-file.js';
import { VersemiError } from './errors.js';
import type { Renewal } from './lock-renewal.js';

/**
 * One writer per folder, or per piece of work in one: a file that names its owner, made exclusively. An owner that is known to be dead does not keep the
 * folder. Whether one on another host or in another container lives, no process number tells (and flock does not work on every
 * network file system); so an owner renews the time of its file, and who wants the folder watches that time for a while.
 */

/** How a folder is taken. */
export interface LockOptions {
  /** How often the owner says that it lives. Default 10,000. */
  readonly renewedEveryMs?: number;
  /** Told before an owner is watched of whom it cannot be seen whether it lives: who it is, and for how long. */
  readonly onWatch?: (owner: string, seconds: number) => void;
  /** What can be done once the owner has ended, as the error of a folder in use says it behind "Wait until it has ended". */
  readonly afterwards?: string;
  /** False: an owner of whom it cannot be seen whether it lives counts as living. Default true: it is watched for a while. */
  readonly watch?: boolean;
}

/** Name of the file inside of the folder. */
export const lockFileName = 'versemi.lock';

const ownerSchema = z.object({
  /** What the owner does, for the sentence that refuses somebody else. */
  work: z.string(),
  host: z.string(),
  pid: z.int(),
  /** When the process started, as the system tells it: a number that is used again belongs to another process. */
  processStart: z.string().nullable(),
  /** Installation, its boot, and its space of process numbers (containers have their own); null where the system tells none. */
  machine: z.string().nullable(),
  boot: z.string().nullable(),
  processSpace: z.string().nullable(),
  /** How often the owner renews the time of the file. */
  renewedEveryMs: z.int().positive(),
  /** ISO 8601. */
  since: z.string(),
  token: z.string(),
});

type Owner = z.infer<typeof ownerSchema>;

/** A folder, or a lock file in one, that is held until `release`. */
export interface FolderLock {
  /**
   * To be called before something is written that another owner may have written too: a process that was suspended for a minute
   * counts as dead.
   * @throws VERSEMI_FOLDER_IN_USE where somebody else has taken the folder
   */
  assertHeld(): Promise<void>;
  /** Gives the folder back; `lockFolder` removes one that was made for the lock and is empty. */
  release(): Promise<void>;
}

const renewedEveryMs = 10_000;

/** Renewals that an owner may miss, on a slow file system or a busy machine, before it counts as dead. */
const missedRenewals = 6;

/** A file without an owner in it, so old, was left by a process that died before it wrote its name. */
const namelessMs = 60_000;

const held = new Map<string, string>();
process.on('exit', () => {
  for (const [file, token] of held) if (ownerIn(readOr(file))?.token === token) rmSync(file, { force: true });
});

/** The thread that renews the locks of this thread, while there are any. */
let renewal: Worker | undefined;

function renew(file: string, token: string, everyMs: number): void {
  if (renewal === undefined) {
    renewal = new Worker(new URL('./lock-renewal.js', import.meta.url));
    renewal.unref();
    // Without renewals a lock is held as before on this machine; elsewhere somebody may take it, which `assertHeld` tells.
    renewal.on('error', () => {});
  }
  renewal.postMessage({ file, token, everyMs } satisfies Renewal);
}

async function endRenewal(file: string): Promise<void> {
  renewal?.postMessage({ file } satisfies Renewal);
  if (held.size > 0) return;
  const ending = renewal;
  renewal = undefined;
  await ending?.terminate();
}

/**
 * Holds a folder, which is made when it is missing.
 * @param work what for: "a training"
 * @throws VERSEMI_FOLDER_IN_USE naming who holds it; VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function lockFolder(folder: string, work: string, options: LockOptions = {}): Promise<FolderLock> {
  const file = join(resolve(folder), lockFileName);
  try {
    const made = await mkdir(folder, { recursive: true });
    try {
      const lock = await lockFile(file, work, options);
      return {
        ...lock,
        async release() {
          await lock.release();
          await removeMade(folder, made);
        },
      };
    } catch (error) {
      await removeMade(folder, made);
      throw error;
    }
  } catch (error) {
    throw writeError(file, error);
  }
}

/**
 * Holds a lock file of any name in a folder that is there: one of several pieces of work in this folder.
 * @throws as {@link lockFolder}
 */
export async function lockFile(file: string, work: string, options: LockOptions = {}): Promise<FolderLock> {
  const everyMs = options.renewedEveryMs ?? renewedEveryMs;
  const token = randomUUID();
  const owner: Owner = { work, ...thisProcess(), renewedEveryMs: everyMs, since: new Date().toISOString(), token };
  try {
    while (!(await take(file, owner, options)));
  } catch (error) {
    throw writeError(file, error);
  }
  held.set(file, token);
  renew(file, token, everyMs);
  const present = async () => ownerIn(await readFile(file, 'utf8').catch(() => ''));
  return {
    async assertHeld() {
      const found = await present();
      if (found?.token === token) return;
      throw inUse(
        file,
        found === undefined ? `no ${basename(file)}: it has been removed` : nameOf(found),
        'This process stood still, or its lock was removed, and another one went on. Let that one end, then run again.',
      );
    },
    async release() {
      held.delete(file);
      await endRenewal(file);
      // A lock that cannot be removed is soon that of a dead owner: no reason for the work to fail that is done.
      if ((await present())?.token === token) await patiently(() => rm(file, { force: true })).catch(() => {});
    },
  };
}

/** Folders that were made only to hold a lock go with it; `rmdir` leaves those in which there is something. */
async function removeMade(folder: string, first: string | undefined): Promise<void> {
  if (first === undefined) return;
  try {
    for (let made = resolve(folder); made.length >= first.length; made = dirname(made)) await rmdir(made);
  } catch {
    // Not empty: it has been put to use.
  }
}

/** Makes a lock file, or takes the place of a dead owner of it; see {@link takeFromTheDead} for the rest. */
async function take(file: string, owner: Owner, options: LockOptions, lock = file): Promise<boolean> {
  return (await create(file, owner)) || takeFromTheDead(file, owner, options, lock);
}

/** @returns false where there is one already */
async function create(file: string, owner: Owner): Promise<boolean> {
  const temporary = temporaryIn(dirname(file));
  const text = textOf(owner);
  try {
    await writeNew(temporary, text);
    // A link appears with its content, so that nobody ever reads half an owner.
    await link(temporary, file);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return false;
    // Not every file system has links.
    if (!['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'EMLINK'].includes(code ?? '')) throw error;
  } finally {
    await rm(temporary, { force: true });
  }
  try {
    await writeNew(file, text);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function writeNew(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await handle.writeFile(text);
    await handle.sync().catch(() => {});
  } finally {
    await handle.close();
  }
}

/**
 * Puts an owner in the place of one that is gone. Of several that find the same owner dead only one may do so: the one that holds a claim, a
 * second lock file, named after the dead owner. While it holds this claim, the lock stays as it is, so that nobody replaces a lock
 * that is already new. A claim whose holder has died is taken over in the same way.
 * @param lock what the error names: the lock that is wanted, where `file` is a claim to it
 * @returns false where the lock was released or taken by somebody else in between
 * @throws VERSEMI_FOLDER_IN_USE where its owner lives
 */
async function takeFromTheDead(file: string, owner: Owner, options: LockOptions, lock: string): Promise<boolean> {
  const { onWatch, watch = true, afterwards } = options;
  const text = await textOrGone(file);
  if (text === undefined) return false; // released in between
  const dead = ownerIn(text);
  const nameless = dead === undefined;
  if (nameless) {
    const age = await ageMs(file);
    if (age === undefined) return false;
    if (age < namelessMs) {
      await setTimeout(200);
      if (ownerIn((await textOrGone(file)) ?? '') !== undefined) return false;
      throw inUse(lock, 'a process that has not written its name', 'Try again in a minute.');
    }
  } else {
    const state = stateOf(dead);
    const watchMs = dead.renewedEveryMs * missedRenewals;
    if (state === 'unknown' && watch) onWatch?.(nameOf(dead), watchMs / 1000);
    if (state === 'alive' || (state === 'unknown' && (!watch || (await isRenewed(file, watchMs)))))
      throw inUse(lock, nameOf(dead), `Wait until it has ended${afterwards ?? ''}, or choose another folder.`);
  }
  const claim = temporaryNamedAfter(file, dead?.token ?? 'nameless');
  const claimant = { ...owner, token: randomUUID() };
  if (!(await take(claim, claimant, options, lock))) return false;
  try {
    if ((await textOrGone(file)) !== text) return false;
    // Two files without a name look the same, but one that is being written is young.
    if (nameless && ((await ageMs(file)) ?? 0) < namelessMs) return false;
    await writeFileAtomic(file, textOf(owner));
    return true;
  } finally {
    await patiently(() => rm(claim, { force: true })).catch(() => {});
  }
}

function textOf(owner: Owner): string {
  return `${JSON.stringify(owner, null, 1)}\n`;
}

/** Undefined where the file is not there. */
async function textOrGone(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    return undefined;
  });
}

/** Since when a file was last written, by the clock of this host; undefined where it is not there. */
async function ageMs(file: string): Promise<number | undefined> {
  const facts = await stat(file).catch(() => undefined);
  return facts && Date.now() - facts.mtimeMs;
}

/**
 * Whether the time of a file changes while it is watched, or whether the file goes. Times are compared with each other only,
 * since clocks of hosts differ.
 */
async function isRenewed(file: string, watchMs: number): Promise<boolean> {
  const first = await modified(file);
  const end = performance.now() + watchMs;
  while (performance.now() < end) {
    await setTimeout(Math.min(1000, watchMs / missedRenewals));
    if ((await modified(file)) !== first) return true;
  }
  return false;
}

/** Opened for it: NFS asks the server at each opening, but keeps the facts of a path that is only looked at for a minute. */
async function modified(file: string): Promise<bigint | undefined> {
  try {
    const handle = await open(file, 'r');
    try {
      return (await handle.stat({ bigint: true })).mtimeNs;
    } finally {
      await handle.close();
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function nameOf({ work, host, pid, since }: Owner): string {
  return `${work} on ${host}, process ${pid}, since ${since}`;
}

function inUse(file: string, found: string, remedy: string): VersemiError {
  return new VersemiError('FOLDER_IN_USE', {
    file: dirname(file),
    field: basename(file),
    expected: 'a folder that nobody else writes',
    found,
    remedy,
  });
}

function ownerIn(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function stateOf(owner: Owner): 'alive' | 'dead' | 'unknown' {
  const here = thisProcess();
  if (owner.host !== here.host || owner.machine !== here.machine) return 'unknown';
  // Where the installation has no number, another boot may be another machine of the same name.
  if (owner.boot !== here.boot) return here.machine === null ? 'unknown' : 'dead';
  if (owner.processSpace !== here.processSpace) return 'unknown';
  if (!exists(owner.pid)) return 'dead';
  const start = processStart(owner.pid);
  if (start === ended) return 'dead';
  if (start === null || owner.processStart === null) return 'unknown';
  return start === owner.processStart ? 'alive' : 'dead';
}

function thisProcess() {
  return {
    host: hostname(),
    pid: process.pid,
    processStart: processStart(process.pid),
    machine: readOr('/etc/machine-id').trim() || null,
    boot: readOr('/proc/sys/kernel/random/boot_id').trim() || null,
    processSpace: linkOr('/proc/self/ns/pid') || null,
  };
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Of a process that has ended, but whose parent has not asked how. */
const ended = 'ended';

/** Null where the system does not tell (Windows). */
function processStart(pid: number): string | null {
  // The name of the program, in parentheses, may hold anything; behind it stand the state and, 20th, the start (proc(5)).
  const fields = readOr(`/proc/${pid}/stat`).split(') ').at(-1)!.split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return ended;
  if (fields[19] !== undefined) return fields[19];
  if (process.platform === 'win32') return null;
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', stdio: 'pipe' }).trim() || null;
  } catch {
    return null;
  }
}

function readOr(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function linkOr(file: string): string {
  try {
    return readlinkSync(file);
  } catch {
    return '';
  }
}
