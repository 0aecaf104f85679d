import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { type ErrorCode, VersemiError } from './errors.js';
import { parseJson } from './json-text.js';

/**
 * Files that are read as a whole have an end: no folder, and no device or pipe, which may never end. Names of files come from
 * datasets that others made.
 */

/** The coded error of a failed read. */
export function readError(error: unknown, file: string): VersemiError {
  if (error instanceof VersemiError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  const found = error instanceof Error ? error.message : String(error);
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new VersemiError('FILE_NOT_FOUND', { file, remedy: 'Check the path.' }, error);
  return new VersemiError(
    'IO_FAILED',
    { file, found, remedy: 'Check the permissions of the file and its folder.' },
    error,
  );
}

/** A file that is open for reading, and its size. */
export interface OpenFile {
  readonly handle: FileHandle;
  readonly sizeBytes: number;
}

/** Without O_NONBLOCK (which Windows lacks) opening a pipe would wait for somebody who writes into it. */
const openFlags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

function requireRegular(facts: Stats, file: string): void {
  if (facts.isFile()) return;
  throw new VersemiError('FILE_FORMAT', {
    file,
    expected: 'a file',
    found: facts.isDirectory() ? 'a folder' : facts.isFIFO() ? 'a pipe' : 'a device or a socket',
    remedy: facts.isDirectory() ? 'Give the file inside of it.' : 'Copy what it holds into a file.',
  });
}

/**
 * Opens a regular file for as long as `use` takes.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_FILE_FORMAT (not a regular file), VERSEMI_IO_FAILED, and coded errors of `use`
 */
export async function withRegularFile<T>(file: string, use: (open: OpenFile) => Promise<T>): Promise<T> {
  try {
    const handle = await open(file, openFlags);
    try {
      const facts = await handle.stat();
      requireRegular(facts, file);
      return await use({ handle, sizeBytes: facts.size });
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw readError(error, file);
  }
}

/** Larger JSON files are something else. */
const mostJsonBytes = 64 << 20;

/**
 * The value in a JSON file: the one way in which such files are read.
 * @param code of the error when it is not JSON
 * @throws as {@link withRegularFile}; an error of `code`
 */
export function readJsonFile(file: string, code: ErrorCode): unknown {
  return parseJson(readWholeFile(file, mostJsonBytes), { file, code });
}

/**
 * The bytes of a regular file that has no reason to be large.
 * @throws as {@link withRegularFile}; VERSEMI_FORMAT_UNSUPPORTED when it is larger than `mostBytes`
 */
export function readWholeFile(file: string, mostBytes: number): Uint8Array {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, openFlags);
    const facts = fstatSync(descriptor);
    requireRegular(facts, file);
    if (facts.size > mostBytes) {
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        file,
        expected: `a file of at most ${mostBytes} bytes`,
        found: `${facts.size} bytes`,
        remedy: 'Check that this is the file that you mean.',
      });
    }
    const bytes = new Uint8Array(facts.size);
    let at = 0;
    for (let read = -1; read !== 0 && at < bytes.length; at += read)
      read = readSync(descriptor, bytes, at, bytes.length - at, at);
    return bytes.subarray(0, at);
  } catch (error) {
    throw readError(error, file);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
