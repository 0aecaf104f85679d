import { constants, crc32, inflateRawSync } from 'node:zlib';

/** What became of a gzip file (RFC 1952) that was inflated member by member. */
export interface InflatedMembers {
  readonly bytes: Uint8Array;
  /** `cut`: the file ends within a member, and `bytes` is what could be had; `damaged`: see `problem`. */
  readonly end: 'whole' | 'cut' | 'damaged';
  readonly problem: string;
}

/**
 * Inflates the members of a gzip file one after the other. As in gzip(1), bytes behind a whole member that do not begin
 * another one are ignored, and so is everything behind a whole member with which the wanted bytes are complete.
 * @param wanted bytes that are of use
 * @param mostBytes members that give more are damaged
 */
export function inflateMembers(compressed: Uint8Array, wanted: number, mostBytes: number): InflatedMembers {
  const parts: Uint8Array[] = [];
  let length = 0;
  const result = (end: InflatedMembers['end'], problem = ''): InflatedMembers => ({
    bytes: joined(parts, Math.min(length, wanted)),
    end,
    problem,
  });
  for (let at = 0; ; ) {
    const body = memberBody(compressed, at);
    if (body === undefined) return result(at === 0 ? 'damaged' : 'whole', 'no gzip header');
    if (body > compressed.length) return result('cut');
    let inflated: { buffer: Uint8Array; engine: { bytesWritten: number } };
    try {
      inflated = inflateRawSync(compressed.subarray(body), {
        info: true,
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: mostBytes,
      }) as unknown as typeof inflated;
    } catch (error) {
      return result('damaged', (error as Error).message);
    }
    const { buffer } = inflated;
    const end = body + inflated.engine.bytesWritten;
    parts.push(buffer);
    length += buffer.length;
    if (end + 8 > compressed.length) return result('cut');
    const trailer = new DataView(compressed.buffer, compressed.byteOffset + end, 8);
    if (trailer.getUint32(0, true) !== crc32(buffer)) return result('damaged', 'incorrect data check');
    if (trailer.getUint32(4, true) !== buffer.length % 2 ** 32) return result('damaged', 'incorrect length check');
    at = end + 8;
    if (length >= wanted) return result('whole');
  }
}

/** Where the deflated bytes of a member begin, perhaps behind the end of a file that is cut; undefined where there is none. */
function memberBody(bytes: Uint8Array, at: number): number | undefined {
  const flags = bytes[at + 3] ?? 0;
  if (bytes[at] !== 0x1f || bytes[at + 1] !== 0x8b || (bytes[at + 2] ?? 8) !== 8 || (flags & 0xe0) !== 0)
    return undefined;
  const text = (start: number) => {
    const end = bytes.indexOf(0, start);
    return end < 0 ? bytes.length + 1 : end + 1;
  };
  let body = at + 10;
  if ((flags & 4) !== 0) body += 2 + (bytes[body] ?? 0) + 256 * (bytes[body + 1] ?? 0);
  if ((flags & 8) !== 0) body = text(body);
  if ((flags & 16) !== 0) body = text(body);
  if ((flags & 2) !== 0) body += 2;
  return body;
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1) return parts[0]!.subarray(0, length);
  const result = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    const taken = part.subarray(0, length - at);
    result.set(taken, at);
    at += taken.length;
  }
  return result;
}
