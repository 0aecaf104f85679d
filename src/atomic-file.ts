import { createHash, randomBytes } from 'node:crypto';
import { constants, rmSync } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, readlink, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { VersemiError } from './errors.js';

/**
 * The one way in which files are written: whoever looks, at any time and after a crash, finds either the old file or the
 * new one, whole.
 */

export interface WriteOptions {
  /** Name under which the file that is replaced stays; what had this name before is gone. */
  readonly keep?: string;
}

/**
 * Temporary files have random names, so that no two processes, threads or containers ever share one, and none can be guessed.
 * The name of the file itself is no part of them: it may already be as long as a name can be.
 */
const temporaryName = /^\.versemi-[0-9a-f]{24}\.tmp$/;

/** A new name for a file that is not to stay; what is left under such names is removed after a while. */
export function temporaryIn(folder: string): string {
  return join(folder, `.versemi-${randomBytes(12).toString('hex')}.tmp`);
}

/** The name of a temporary file that several processes are to share: the same for the same file and word; removed like the others. */
export function temporaryNamedAfter(file: string, word: string): string {
  const hash = createHash('sha256')
    .update(`${basename(file)}\0${word}`)
    .digest('hex');
  return join(dirname(file), `.versemi-${hash.slice(0, 24)}.tmp`);
}

/** No write pauses for so long: a temporary file that nobody has touched for this time belongs to a process that is gone. */
const staleMs = 3_600_000;

/** Temporary files of this thread: they go when the process ends in the middle of writing. */
const unfinished = new Set<string>();
process.on('exit', () => {
  for (const file of unfinished) rmSync(file, { force: true });
});

/** Folders in which this thread has looked for what dead processes left. */
const swept = new Set<string>();

/**
 * Writes a file: temporary file in the same folder, fsync, rename, fsync of the folder. The folder is made when it is missing;
 * the permissions of a file that is replaced are kept; a symbolic link is replaced, not followed. A device or a pipe
 * (`/dev/stdout`, `/dev/null`) cannot be replaced and is written into.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED; nothing is left behind then
 */
export async function writeFileAtomic(
  file: string,
  parts: Iterable<Uint8Array> | string,
  options: WriteOptions = {},
): Promise<void> {
  const content = typeof parts === 'string' ? [new TextEncoder().encode(parts)] : parts;
  let temporary: string | undefined;
  try {
    const folder = await makeFolder(dirname(file));
    if (await isEndpoint(file)) {
      await writeInto(await open(file, 'a'), content);
      return;
    }
    const made = await openTemporary(folder);
    temporary = made.temporary;
    await keepPermissions(made.handle, file);
    await writeInto(made.handle, content);
    if (options.keep !== undefined) await keepOld(file, options.keep);
    await patiently(() => rename(made.temporary, file));
    unfinished.delete(temporary);
    temporary = undefined;
    await syncFolder(folder);
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true }).catch(() => {});
    throw writeError(file, error);
  } finally {
    if (temporary !== undefined) unfinished.delete(temporary);
  }
}

/** The coded error for a failed write. */
export function writeError(file: string, error: unknown): VersemiError {
  if (error instanceof VersemiError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new VersemiError(
      'DISK_FULL',
      { file, remedy: 'Make room or choose another folder, then run again.' },
      error,
    );
  return new VersemiError('IO_FAILED', { file, found: message, remedy: remedyOf(code) }, error);
}

function remedyOf(code: string | undefined): string {
  switch (code) {
    case 'EFBIG':
      return 'Raise the largest size that files may have here (ulimit -f), or choose another disk.';
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'Check the permissions of the folder, and close the file in other programs.';
    case 'EBUSY':
      return 'Close the file in other programs.';
    case 'ENAMETOOLONG':
      return 'Choose a shorter name.';
    case 'EISDIR':
      return 'Give the name of a file; this one is a folder.';
    case 'ENOTDIR':
    case 'EEXIST':
      return 'Choose another folder: a part of this path is a file.';
    default:
      return 'Check the disk and the path.';
  }
}

/**
 * Removes temporary files that writers left in a folder.
 * @param olderThanMs 0: all of them, which is right only where nobody else can be writing
 */
export async function removeTemporaryFiles(folder: string, olderThanMs: number): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((one) => temporaryName.test(one))) {
    const file = join(folder, name);
    if (unfinished.has(file)) continue;
    const facts = await lstat(file).catch(() => undefined);
    if (facts?.isFile() && Date.now() - facts.mtimeMs >= olderThanMs) await rm(file, { force: true }).catch(() => {});
  }
}

/** Makes the folder where it is missing, so that it is still there after a loss of power. @returns its absolute path */
async function makeFolder(name: string): Promise<string> {
  const folder = resolve(name);
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return folder;
  for (let made = folder; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
  return folder;
}

/**
 * Whether there is something that is written into, never replaced: a device, a pipe, or a name that stands for an open file
 * (`/dev/stdout`, `/dev/fd/3`, which are links into /proc).
 */
async function isEndpoint(file: string): Promise<boolean> {
  const facts = await stat(file).catch(() => undefined);
  if (facts === undefined || facts.isDirectory()) return false;
  if (!facts.isFile()) return true;
  if (!(await lstat(file)).isSymbolicLink()) return false;
  const folder = await realpath(dirname(file));
  return [folder, resolve(folder, await readlink(file))].some((path) => path.startsWith('/proc/'));
}

async function openTemporary(folder: string): Promise<{ temporary: string; handle: FileHandle }> {
  if (!swept.has(folder)) {
    swept.add(folder);
    await removeTemporaryFiles(folder, staleMs);
  }
  const temporary = temporaryIn(folder);
  // Windows has no O_NOFOLLOW; O_EXCL alone refuses a link too.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
  // Before it is there: a process that ends while it is being made leaves nothing.
  unfinished.add(temporary);
  try {
    return { temporary, handle: await open(temporary, flags, 0o666) };
  } catch (error) {
    unfinished.delete(temporary);
    throw error;
  }
}

/** Who could read or write the old file can do so with the new one. */
async function keepPermissions(handle: FileHandle, file: string): Promise<void> {
  const old = await lstat(file).catch(() => undefined);
  if (!old?.isFile()) return;
  try {
    const { uid, gid } = await handle.stat();
    // Only root may give files away. Elsewhere the new file belongs to its writer, as any new file does.
    if (uid !== old.uid || gid !== old.gid) await handle.chown(old.uid, old.gid).catch(() => {});
    await handle.chmod(old.mode & 0o777);
  } catch {
    // Some file systems know no permissions.
  }
}

/** Writes, syncs and closes. */
async function writeInto(handle: FileHandle, parts: Iterable<Uint8Array>): Promise<void> {
  try {
    for (const part of parts) {
      let written = 0;
      while (written < part.byteLength) {
        const { bytesWritten } = await handle.write(part, written, Math.min(part.byteLength - written, 2 ** 30));
        written += bytesWritten;
      }
    }
    await handle.sync().catch(unlessUnsupported);
  } finally {
    await handle.close();
  }
}

/** Between this and the next rename there is no file, and whoever misses it finds the old one under its other name. */
async function keepOld(file: string, keep: string): Promise<void> {
  try {
    await patiently(() => rename(file, keep));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Pauses between attempts, ms. */
const pausesMs = [10, 30, 100, 200, 400, 800];

/**
 * Tries again where the file is in use: on Windows, and on shares of it, virus scanners and readers keep a file from being
 * replaced for a moment.
 */
export async function patiently(work: () => Promise<void>): Promise<void> {
  for (const pause of pausesMs) {
    try {
      await work();
      return;
    } catch (error) {
      if (!['EPERM', 'EBUSY', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
    await setTimeout(pause);
  }
  await work();
}

/** Makes the names in a folder outlast a loss of power. Windows opens no folders; some file systems sync none. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(unlessUnsupported);
  if (handle === undefined) return;
  try {
    await handle.sync().catch(unlessUnsupported);
  } finally {
    await handle.close();
  }
}

const unsupported = ['EPERM', 'EACCES', 'EISDIR', 'EINVAL', 'EBADF', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'ENOTTY'];

function unlessUnsupported(error: unknown): undefined {
  if (!unsupported.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
}
