import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { constants, gunzip } from 'node:zlib';
import { VersemiError } from '../errors.js';

/** The coded error of a failed read. */
export function readError(error: unknown, file: string): VersemiError {
  if (error instanceof VersemiError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  const found = error instanceof Error ? error.message : String(error);
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new VersemiError('FILE_NOT_FOUND', { file, remedy: 'Check the path.' }, error);
  if (code === 'ERR_FS_FILE_TOO_LARGE')
    return new VersemiError(
      'FORMAT_UNSUPPORTED',
      {
        file,
        expected: 'a file of at most 2 GiB',
        found: 'more',
        remedy: 'Compress it (.nii.gz, up to 4 GiB inside).',
      },
      error,
    );
  return new VersemiError(
    'IO_FAILED',
    { file, found, remedy: 'Check the permissions of the file and its folder.' },
    error,
  );
}

/** All bytes of a file. @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED */
export async function readBytes(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    throw readError(error, file);
  }
}

export function isGzip(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === 0x1f && bytes[1] === 0x8b;
}

export interface Inflated {
  readonly bytes: Uint8Array;
  /** True when the compressed stream ended before its end mark: `bytes` is what could be had. */
  readonly truncated: boolean;
}

const gunzipAsync = promisify(gunzip);

/**
 * Inflates a gzip file (several members are joined, bytes after the last are ignored) in the thread pool.
 * A stream that ends too early is not an error here: the caller knows how many bytes there should be.
 * @throws VERSEMI_FILE_CORRUPT when the stream or its checksum is damaged
 */
export async function inflate(bytes: Uint8Array, file: string): Promise<Inflated> {
  // One output buffer of the size that the trailer promises, so that nothing is joined afterwards; the promise is bounded
  // by what deflate can reach (1032 : 1), as the trailer of a damaged file may say anything.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const promised = bytes.length >= 18 ? view.getUint32(bytes.length - 4, true) : 0;
  const chunkSize = promised <= 1032 * bytes.length ? Math.max(promised, 65536) : 4 * 1024 * 1024;
  try {
    return { bytes: await gunzipAsync(bytes, { chunkSize }), truncated: false };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'Z_BUF_ERROR') {
      const rest = await gunzipAsync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }).catch(() => new Uint8Array());
      return { bytes: rest, truncated: true };
    }
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        file,
        expected: 'at most 4 GiB after decompression',
        found: 'more',
        remedy: 'Split or resample the volume.',
      });
    }
    throw new VersemiError(
      'FILE_CORRUPT',
      {
        file,
        expected: 'an intact gzip stream',
        found: (error as Error).message,
        remedy: 'Copy or download the file again.',
      },
      error,
    );
  }
}
