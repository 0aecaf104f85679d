/** Zip files, unpacked in memory by fflate, which checks no checksums; these are checked here. No `node:` import. */

import { type UnzipFileInfo, unzipSync } from 'fflate';
import { crc32 } from '../crc.js';

/** What the directory of a zip file says of an entry, before anything of it is unpacked: its name, and sizes in bytes. */
export type ZipEntry = Pick<UnzipFileInfo, 'name' | 'size' | 'originalSize'>;

export function isZip(start: Uint8Array): boolean {
  return start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}

/**
 * The entries of a zip file by name; of two of one name the last.
 * @param taken whether an entry is unpacked; asked for each in the order of the directory, and may throw: sizes are claims
 * @throws Error in words of its own for a file that is damaged, cut or encrypted, and what `taken` throws
 */
export function unzipped(bytes: Uint8Array, taken: (entry: ZipEntry) => boolean): Map<string, Uint8Array> {
  const directory = checksums(bytes);
  const expected = new Map<string, number | undefined>();
  const entries = unzipSync(bytes, {
    filter: (entry) => {
      const sum = directory.next().value;
      if (!taken(entry)) return false;
      expected.set(entry.name, sum);
      return true;
    },
  });
  for (const [name, sum] of expected)
    if (!Object.hasOwn(entries, name) || crc32(entries[name]!) !== sum) throw new Error(`${name}: a wrong checksum`);
  return new Map(Object.entries(entries));
}

/**
 * The checksum of each entry, in the order of the directory at the end of the file (.ZIP File Format Specification 6.3.10, 4.3.12 to
 * 4.3.16), which is found as fflate finds it.
 */
function* checksums(bytes: Uint8Array): Generator<number, undefined> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const is = (at: number, signature: number) =>
    at >= 0 && at + 4 <= bytes.length && view.getUint32(at, true) === signature;
  let end = bytes.length - 22;
  while (end >= 0 && !is(end, 0x06054b50)) end--;
  if (end < 0) return;
  let at = view.getUint32(end + 16, true);
  // Zip64: a record of longer numbers stands before.
  if (is(end - 20, 0x07064b50)) {
    const longer = view.getUint32(end - 12, true);
    if (is(longer, 0x06064b50)) at = view.getUint32(longer + 48, true);
  }
  while (is(at, 0x02014b50) && at + 46 <= bytes.length) {
    yield view.getUint32(at + 16, true);
    at += 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
}
