/** Compressed bytes in memory, by the streams that pages and Node have in common. No `node:` import. */
import { VersemiError } from '../errors.js';
import { joinedBytes } from './voxel-arrays.js';

/** Inflated bytes from which the number of those of use is told: a NIfTI header of either version with the four that follow it. */
export const headerBytes = 544;
/** Room before it is known how many bytes are of use. */
const firstBytes = 1 << 16;
const pieceBytes = 1 << 20;

/**
 * Inflates as much of a gzip or a zlib stream as is of use.
 * @param wanted bytes that are of use; or told once by the first bytes of the result, and throws where the stream cannot hold them
 * @param file for error sentences
 * @returns fewer bytes where the stream ends before
 * @throws VERSEMI_FILE_CORRUPT, and what `wanted` throws
 */
export async function inflateBytes(
  bytes: Uint8Array,
  wanted: number | ((start: Uint8Array) => number),
  file: string,
): Promise<Uint8Array> {
  const format = isGzip(bytes) ? 'gzip' : 'deflate';
  const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream(format));
  const reader = stream.getReader();
  let needed = typeof wanted === 'number' ? wanted : undefined;
  let result = new Uint8Array(firstBytes);
  let length = 0;
  /** What a header promises may be anything: room grows from a usual ratio. */
  const reserve = (bytesOfUse: number) => {
    if (bytesOfUse <= result.length) return;
    const larger = new Uint8Array(
      Math.min(needed ?? Number.POSITIVE_INFINITY, Math.max(4 * bytes.length, 2 * result.length, bytesOfUse)),
    );
    larger.set(result.subarray(0, length));
    result = larger;
  };
  try {
    while (needed === undefined || length < needed) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw damaged(file, format, error);
      });
      if (done) break;
      const taken = needed === undefined ? value : value.subarray(0, needed - length);
      reserve(length + taken.length);
      result.set(taken, length);
      length += taken.length;
      if (needed === undefined && length >= headerBytes)
        needed = (wanted as (start: Uint8Array) => number)(result.subarray(0, length));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
  return result.subarray(0, Math.min(length, needed ?? length));
}

export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function damaged(file: string, format: 'gzip' | 'deflate', error: unknown): VersemiError {
  return new VersemiError(
    'FILE_CORRUPT',
    {
      file,
      expected: format === 'gzip' ? 'a gzip stream of one member' : 'an intact zlib stream',
      found: error instanceof Error ? error.message : String(error),
      remedy: 'Copy or download the file again; where it was compressed in parts (bgzip), compress it anew with gzip.',
    },
    error,
  );
}

/**
 * One gzip member of all parts, each of which is asked for when the one before is compressed.
 * @param before comes first, as it is
 */
export async function gzipped(parts: Iterable<Uint8Array>, before?: Uint8Array): Promise<Uint8Array> {
  const rest = pieces(parts);
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const { done, value } = rest.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  const all: Uint8Array[] = before === undefined ? [] : [before];
  const reader = source.pipeThrough(new CompressionStream('gzip')).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) all.push(part.value);
  return joinedBytes(all);
}

/** Pieces that a stream compresses in one go, which it may copy. */
function* pieces(parts: Iterable<Uint8Array>): Generator<Uint8Array<ArrayBuffer>, undefined> {
  for (const part of parts)
    for (let at = 0; at < part.length; at += pieceBytes)
      yield part.subarray(at, at + pieceBytes) as Uint8Array<ArrayBuffer>;
}
