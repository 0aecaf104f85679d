import type { FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createUnzip } from 'node:zlib';
import { VersemiError } from '../errors.js';
import { withRegularFile } from '../regular-file.js';
import { largestRatio } from './deflate-bound.js';
import { inflateMembers } from './gzip-members.js';

/** Bytes asked of the system at a time: one call reads less than 2 GiB. */
const readBytesAtATime = 1 << 26;

/** Bytes read from the file and given by the decompressor at a time. */
const chunkBytes = 1 << 20;

/** Bytes from `start` on, `length` of them or fewer where the file ends. */
export async function readRange(handle: FileHandle, start: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await handle.read(bytes, at, Math.min(length - at, readBytesAtATime), start + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}

export interface Inflated {
  readonly bytes: Uint8Array;
  /** Set when the compressed stream ended before its end mark: the size of the file; `bytes` is what could be had. */
  readonly truncatedAfter?: number;
}

/** The rest of a file, chunk by chunk. A stream of Node's would close the handle when its pipeline fails. */
async function* chunksFrom(handle: FileHandle, start: number): AsyncGenerator<Uint8Array> {
  for (let at = start; ; at += chunkBytes) {
    const chunk = await readRange(handle, at, chunkBytes);
    if (chunk.length > 0) yield chunk;
    if (chunk.length < chunkBytes) return;
  }
}

/** What a file can hold at most. */
export interface Capacity {
  readonly sizeBytes: number;
  /** Equal to `sizeBytes` for a file that is not compressed. */
  readonly inflatedBytes: number;
}

/**
 * Told the first bytes of a file (all, where it is short), says how many bytes of it are of use. Throws when the file
 * cannot hold them, before memory is taken.
 */
export type BytesOfUse = (start: Uint8Array, capacity: Capacity) => number;

/** First bytes of a file, enough for every header, compressed or not. */
const startBytes = 8192;
/** Files up to this size are inflated at once, which takes less time than a stream. */
const smallBytes = 1 << 16;
/**
 * A compressed file is read this much beyond the bytes that are of use, so that its checksum is reached where nothing
 * else follows; what lies further on is not looked at.
 */
const slackBytes = 16 << 20;

/**
 * The bytes of a file that are of use, inflated if they are gzip by their content (several members are joined, bytes after
 * the last are ignored). Compressed bytes are read in chunks. A file that ends too early is not an error here: the
 * caller knows how many bytes there should be.
 * @throws as {@link withRegularFile}; VERSEMI_FILE_CORRUPT when the stream or its checksum is damaged; what `bytesOfUse` throws
 */
export async function readInflated(file: string, bytesOfUse: BytesOfUse): Promise<Inflated> {
  return withRegularFile(file, async ({ handle, sizeBytes }) => {
    const start = await readRange(handle, 0, Math.min(sizeBytes, startBytes));
    if (!isGzip(start)) {
      const wanted = Math.min(sizeBytes, bytesOfUse(start, { sizeBytes, inflatedBytes: sizeBytes }));
      return { bytes: await readRange(handle, 0, wanted) };
    }
    const capacity = { sizeBytes, inflatedBytes: largestRatio * sizeBytes };
    if (sizeBytes <= smallBytes) {
      const compressed = await readRange(handle, 0, sizeBytes);
      const { bytes, end } = inflateMembers(compressed, Number.POSITIVE_INFINITY, largestRatio * smallBytes);
      if (end === 'whole') return { bytes: bytes.subarray(0, bytesOfUse(bytes.subarray(0, startBytes), capacity)) };
    }
    const wanted = bytesOfUse(inflatedStart(start, file), capacity);
    const tail = sizeBytes < 18 ? undefined : await readRange(handle, sizeBytes - 4, 4);
    // What the trailer promises is true of most files, but may be anything: it only decides how much is reserved at first.
    const promised = tail === undefined ? 0 : new DataView(tail.buffer).getUint32(0, true);
    const collector = new Collector(wanted, Math.min(promised, capacity.inflatedBytes));
    try {
      await pipeline(chunksFrom(handle, 0), createGunzip({ chunkSize: chunkBytes }), collector);
      return { bytes: collector.bytes };
    } catch (error) {
      if (error === enough) return { bytes: collector.bytes };
      if (error instanceof RangeError) throw tooLarge(file, error);
      if ((error as NodeJS.ErrnoException).code?.startsWith('Z_') !== true) throw error;
    }
    // Node's decompressor takes bytes behind the last member for a damaged one, and keeps what came before to itself.
    return inflatedMembers(await readRange(handle, 0, sizeBytes), file, wanted);
  });
}

/** The first bytes of a file (a few thousand at least, where there are), inflated if they are gzip. */
export async function readStart(file: string): Promise<{ readonly start: Uint8Array; readonly capacity: Capacity }> {
  return withRegularFile(file, async ({ handle, sizeBytes }) => {
    const start = await readRange(handle, 0, Math.min(sizeBytes, startBytes));
    if (!isGzip(start)) return { start, capacity: { sizeBytes, inflatedBytes: sizeBytes } };
    return { start: inflatedStart(start, file), capacity: { sizeBytes, inflatedBytes: largestRatio * sizeBytes } };
  });
}

/**
 * The first `wanted` bytes of a stream that begins within a file, deflated as gzip or as zlib (RFC 1950).
 * @param at where the stream begins; it may be followed by other bytes
 * @throws as {@link readInflated}
 */
export async function readCompressed(file: string, at: number, wanted: number): Promise<Inflated> {
  return withRegularFile(file, async ({ handle, sizeBytes }) => {
    // The stream does not promise a length; the array grows from a usual ratio.
    const collector = new Collector(wanted, 4 * (sizeBytes - at));
    try {
      await pipeline(chunksFrom(handle, at), createUnzip({ chunkSize: chunkBytes }), collector);
      return { bytes: collector.bytes };
    } catch (error) {
      if (error === enough) return { bytes: collector.bytes };
      if (error instanceof RangeError) throw tooLarge(file, error);
      const { code, message } = error as NodeJS.ErrnoException;
      if (code?.startsWith('Z_') !== true) throw error;
      const start = await readRange(handle, at, 2);
      if (isGzip(start)) return inflatedMembers(await readRange(handle, at, sizeBytes - at), file, wanted);
      if (code === 'Z_BUF_ERROR') return { bytes: collector.bytes, truncatedAfter: sizeBytes };
      throw damaged(file, 'an intact compressed stream', message);
    }
  });
}

function isGzip(start: Uint8Array): boolean {
  return start[0] === 0x1f && start[1] === 0x8b;
}

function inflatedStart(compressed: Uint8Array, file: string): Uint8Array {
  return inflatedMembers(compressed, file, startBytes).bytes;
}

function inflatedMembers(compressed: Uint8Array, file: string, wanted: number): Inflated {
  const { bytes, end, problem } = inflateMembers(compressed, wanted, wanted + 2 * slackBytes);
  if (end === 'whole') return { bytes };
  if (end === 'cut') return { bytes, truncatedAfter: compressed.length };
  throw damaged(file, 'an intact gzip stream', problem);
}

function damaged(file: string, expected: string, found: string): VersemiError {
  return new VersemiError('FILE_CORRUPT', { file, expected, found, remedy: 'Copy or download the file again.' });
}

function tooLarge(file: string, cause: RangeError): VersemiError {
  return new VersemiError(
    'FORMAT_UNSUPPORTED',
    {
      file,
      expected: 'no more bytes after decompression than one array can hold (4 GiB on Node 20)',
      found: 'more',
      remedy: 'Split or resample the volume.',
    },
    cause,
  );
}

/** Ends a pipeline that has given what was wanted. */
const enough = new Error('enough bytes');

/** One array of the expected size, so that nothing is joined afterwards; it grows if there is more, up to what is wanted. */
class Collector extends Writable {
  private data: Uint8Array;
  private length = 0;
  private beyond = 0;

  constructor(
    private readonly wanted: number,
    expected: number,
  ) {
    super();
    this.data = new Uint8Array(Math.min(wanted, Math.max(expected, 65536)));
  }

  get bytes(): Uint8Array {
    return this.data.subarray(0, this.length);
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: (error?: Error) => void): void {
    try {
      const taken = chunk.subarray(0, this.wanted - this.length);
      this.reserve(this.length + taken.length);
      this.data.set(taken, this.length);
      this.length += taken.length;
      this.beyond += chunk.length - taken.length;
      done(this.beyond > slackBytes ? enough : undefined);
    } catch (error) {
      done(error as Error);
    }
  }

  private reserve(length: number): void {
    if (length <= this.data.length) return;
    const larger = new Uint8Array(Math.min(this.wanted, Math.max(2 * this.data.length, length)));
    larger.set(this.bytes);
    this.data = larger;
  }
}
