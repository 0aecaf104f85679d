import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { VersemiError } from './errors.js';

/**
 * Writes a file so that whoever looks, at any time and after a crash, finds either the old one or the new one, whole:
 * temporary name in the same folder, fsync, rename, fsync of the folder. The folder is made when it is missing.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED; nothing is left behind then
 */
export async function writeFileAtomic(file: string, parts: Iterable<Uint8Array> | string): Promise<void> {
  const folder = dirname(file);
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    await mkdir(folder, { recursive: true });
    const handle = await open(temporary, 'w');
    try {
      for (const part of typeof parts === 'string' ? [new TextEncoder().encode(parts)] : parts) {
        let written = 0;
        while (written < part.byteLength) {
          const { bytesWritten } = await handle.write(part, written, Math.min(part.byteLength - written, 2 ** 30));
          written += bytesWritten;
        }
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
    const parent = await open(folder, 'r');
    try {
      await parent.sync();
    } finally {
      await parent.close();
    }
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw writeError(file, error);
  }
}

/** The coded error for a failed write. */
export function writeError(file: string, error: unknown): VersemiError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new VersemiError(
      'DISK_FULL',
      { file, remedy: 'Make room or choose another folder, then run again.' },
      error,
    );
  return new VersemiError('IO_FAILED', { file, found: (error as Error).message }, error);
}
