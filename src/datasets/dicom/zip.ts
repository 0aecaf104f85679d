import { VersemiError } from '../../errors.js';
import { largestRatio } from '../deflate-bound.js';
import { unzipped } from '../zip.js';
import { type DicomFile, fileOfBytes } from './elements.js';

/** More files than any study has: a folder that was chosen by mistake. */
export const mostFiles = 100_000;
/** What is kept of a zip file in memory. */
const mostZipBytes = 4 * 2 ** 30;

/** The files of {@link zipEntries}, for DICOM. */
export function zipFiles(path: string, bytes: Uint8Array): DicomFile[] {
  return zipEntries(path, bytes).map((entry) => fileOfBytes(entry.name, entry.bytes));
}

/**
 * The files in a zip file, unpacked in memory, in order of their names. Hidden files are left out.
 * @returns names behind the path of the zip file
 * @throws VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED (too many or too large)
 */
export function zipEntries(path: string, bytes: Uint8Array): { readonly name: string; readonly bytes: Uint8Array }[] {
  let total = 0;
  let count = 0;
  let entries: Map<string, Uint8Array>;
  try {
    entries = unzipped(bytes, ({ name, size, originalSize }) => {
      if (name.endsWith('/') || name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX'))
        return false;
      total += originalSize;
      if (++count > mostFiles || total > mostZipBytes || originalSize > largestRatio * (size + 64))
        throw tooMany(path, `${count} files of ${total} bytes and more`);
      return true;
    });
  } catch (error) {
    if (error instanceof VersemiError) throw error;
    throw new VersemiError(
      'FILE_CORRUPT',
      {
        file: path,
        expected: 'a whole zip file',
        found: error instanceof Error ? error.message : 'an error of the reader',
        remedy: 'Copy the file again; or unpack it with another program, and give the folder.',
      },
      error,
    );
  }
  return [...entries.keys()].sort().map((name) => ({ name: `${path}/${name}`, bytes: entries.get(name)! }));
}

export function tooMany(path: string, found: string): VersemiError {
  return new VersemiError('FORMAT_UNSUPPORTED', {
    file: path,
    expected: `at most ${mostFiles} files, of a zip file at most ${mostZipBytes} bytes`,
    found,
    remedy: 'Give the folder of one study; unpack a large zip file first.',
  });
}
