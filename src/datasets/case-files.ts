import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { VersemiError } from '../errors.js';
import { readError } from './files.js';

const niftiEnding = /\.(nii|hdr)(\.gz)?$/i;
const endings = /(\.nii|\.hdr|\.img)(\.gz)?$|\.(h5|hdf5)$/i;

/** Case id of a file: its name without folder and ending. */
export function caseId(file: string): string {
  return basename(file).replace(endings, '');
}

/** NIfTI files of a folder in order of name; none when the folder does not exist. Hidden files (macOS "._") are left out. */
export async function niftiNames(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  try {
    const names = await readdir(folder);
    return names.filter((name) => niftiEnding.test(name) && !name.startsWith('.')).sort();
  } catch (error) {
    throw readError(error, folder);
  }
}

/** HDF5 files of a folder and of the folders in it, relative to it, in order of name. */
export async function hdf5Names(folder: string): Promise<string[]> {
  const wanted = (name: string) => /\.(h5|hdf5)$/i.test(name) && !name.startsWith('.');
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    const nested = entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map(async ({ name }) => (await readdir(join(folder, name))).filter(wanted).map((file) => join(name, file)));
    const top = entries.filter((entry) => !entry.isDirectory() && wanted(entry.name)).map(({ name }) => name);
    return [...top, ...(await Promise.all(nested)).flat()].sort();
  } catch (error) {
    throw readError(error, folder);
  }
}

/**
 * Checks that named files exist and reports all that do not in one error.
 * @throws VERSEMI_FILE_NOT_FOUND
 */
export function requireFiles(
  named: readonly { readonly id: string; readonly file: string; readonly role: 'image' | 'label' }[],
  listedIn: string,
): void {
  const missing = named.filter(({ file }) => !existsSync(file));
  const first = missing[0];
  if (first === undefined) return;
  throw new VersemiError('FILE_NOT_FOUND', {
    file: first.file,
    field: `${first.role} of case ${first.id}`,
    expected: `the file that ${listedIn} names`,
    found: missing.length === 1 ? 'none' : `none, and ${missing.length - 1} more missing files`,
    remedy:
      first.role === 'label'
        ? 'Add the file, or leave "label" out of the entry if the case is unlabelled.'
        : 'Add the file, or remove the case from the list.',
  });
}
