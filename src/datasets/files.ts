import { open, readFile } from 'node:fs/promises';
import { type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, gunzipSync } from 'node:zlib';
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

export interface Inflated {
  readonly bytes: Uint8Array;
  /** Set when the compressed stream ended before its end mark: the size of the file; `bytes` is what could be had. */
  readonly truncatedAfter?: number;
}

/** Bytes read from the file and given by the decompressor at a time. */
const chunkBytes = 1 << 20;
/** The best ratio that deflate can reach. The size in the trailer of a damaged file may be anything, and is checked by it. */
const largestRatio = 1032;

/**
 * All bytes of a file, inflated if they are gzip by their content (several members are joined, bytes after the last are
 * ignored). The compressed bytes are read in chunks and never held as a whole. A stream that ends too early is not an
 * error here, because only the caller knows how many bytes there should be.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_FILE_CORRUPT when the stream or its checksum is damaged
 */
export async function readInflated(file: string): Promise<Inflated> {
  try {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      const [head, tail] = [new Uint8Array(2), new Uint8Array(4)];
      if (size >= 2) await handle.read(head, 0, 2, 0);
      if (!(size >= 2 && head[0] === 0x1f && head[1] === 0x8b)) return { bytes: await handle.readFile() };
      if (size >= 18) await handle.read(tail, 0, 4, size - 4);
      const promised = new DataView(tail.buffer).getUint32(0, true);
      return await inflate(handle.createReadStream({ start: 0, highWaterMark: chunkBytes, autoClose: false }), file, {
        compressedBytes: size,
        expectedBytes: promised <= largestRatio * size ? promised : 0,
      });
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw readError(error, file);
  }
}

/** The first bytes of a file (a few thousand at least, where there are), inflated if they are gzip. */
export async function readStart(file: string): Promise<Uint8Array> {
  try {
    const handle = await open(file);
    try {
      const { bytesRead, buffer } = await handle.read(new Uint8Array(16384), 0, 16384, 0);
      const start = buffer.subarray(0, bytesRead);
      if (!(start[0] === 0x1f && start[1] === 0x8b)) return start;
      return gunzipSync(start, { finishFlush: constants.Z_SYNC_FLUSH });
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith('Z_') !== true) throw readError(error, file);
    throw corrupt(file, message, error);
  }
}

function corrupt(file: string, found: string, cause: unknown): VersemiError {
  return new VersemiError(
    'FILE_CORRUPT',
    { file, expected: 'an intact gzip stream', found, remedy: 'Copy or download the file again.' },
    cause,
  );
}

/** One array of the size that the trailer promises, so that nothing is joined afterwards; it grows if there is more. */
async function inflate(
  compressed: Readable,
  file: string,
  { compressedBytes, expectedBytes }: { compressedBytes: number; expectedBytes: number },
): Promise<Inflated> {
  let bytes = new Uint8Array(Math.max(expectedBytes, 65536));
  let length = 0;
  const gunzip = createGunzip({ chunkSize: chunkBytes });
  const collect = new Writable({
    write(chunk: Uint8Array, _, done) {
      if (length + chunk.length > bytes.length) {
        const larger = new Uint8Array(Math.max(2 * bytes.length, length + chunk.length));
        larger.set(bytes.subarray(0, length));
        bytes = larger;
      }
      bytes.set(chunk, length);
      length += chunk.length;
      done();
    },
  });
  try {
    await pipeline(compressed, gunzip, collect);
    return { bytes: bytes.subarray(0, length) };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'Z_BUF_ERROR') return { bytes: bytes.subarray(0, length), truncatedAfter: compressedBytes };
    if (error instanceof RangeError) {
      throw new VersemiError('FORMAT_UNSUPPORTED', {
        file,
        expected: 'no more bytes after decompression than one array can hold (4 GiB on Node 20)',
        found: 'more',
        remedy: 'Split or resample the volume.',
      });
    }
    if (!code.startsWith('Z_')) throw error;
    throw corrupt(file, (error as Error).message, error);
  }
}
