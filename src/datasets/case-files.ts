import { type Dirent, existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { VersemiError } from '../errors.js';
import { shown } from '../json-text.js';
import { readError } from '../regular-file.js';
import type { CaseFiles, LeftOut } from './types.js';

const volumeEnding = /\.(nii|hdr)(\.gz)?$|\.(nrrd|nhdr|mha|mhd)$/i;
const endings = /(\.nii|\.hdr|\.img)(\.gz)?$|\.(h5|hdf5|nhdr|mha|mhd)$|(\.seg)?\.nrrd$/i;

/** True for the name of an image file of any format that is read. */
export function isImage(name: string): boolean {
  return endings.test(name);
}

export function isHdf5(name: string): boolean {
  return /\.(h5|hdf5)$/i.test(name);
}

/** Case id of a file: its name without folder and ending. */
export function caseId(file: string): string {
  return basename(file).replace(endings, '');
}

/** What lies in a folder, links followed, in order of name; hidden files (macOS "._") are left out. */
export async function entriesOf(folder: string): Promise<{ readonly name: string; readonly isFolder: boolean }[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    const visible = entries.filter(({ name }) => !name.startsWith('.'));
    const kinds = visible.map(async (entry) => ({ name: entry.name, isFolder: await isFolder(folder, entry) }));
    return (await Promise.all(kinds)).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    throw readError(error, folder);
  }
}

async function isFolder(folder: string, entry: Dirent): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  // A link to nothing is taken for a file: the error of reading it names it.
  return stat(join(folder, entry.name)).then(
    (target) => target.isDirectory(),
    () => false,
  );
}

/** Volumes of a folder that are files of their own (all formats but HDF5) in order of name; none when the folder does not exist. */
export async function volumeNames(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries = await entriesOf(folder);
  return entries.filter(({ name, isFolder }) => !isFolder && volumeEnding.test(name)).map(({ name }) => name);
}

/** Folder in which SSL4MIS keeps the slices of its volumes once more, as 2-D arrays. */
const slicesFolder = /(^|_)slices$/i;

/** HDF5 files of a folder and of the folders in it, relative to it, in order of name, and folders of slices. */
export async function hdf5Names(folder: string): Promise<{ readonly names: string[]; readonly slices: string[] }> {
  const wanted = ({ name, isFolder }: { name: string; isFolder: boolean }) => !isFolder && isHdf5(name);
  const entries = await entriesOf(folder);
  const folders = entries.filter(({ isFolder }) => isFolder).map(({ name }) => name);
  const names = entries.filter(wanted).map(({ name }) => name);
  const slices: string[] = [];
  for (const name of folders) {
    const inside = (await entriesOf(join(folder, name))).filter(wanted);
    if (inside.length > 0 && slicesFolder.test(name)) slices.push(name);
    else names.push(...inside.map((file) => join(name, file.name)));
  }
  return { names: names.sort(), slices };
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

/** Ids of cases become names of files: masks, overlays. @throws VERSEMI_DATASET_INVALID when an id is no name */
export function requireName(id: string, folder: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (/^[^/\\\u0000-\u001f\u007f-\u009f]{1,200}$/.test(id) && id !== '.' && id !== '..') return;
  throw new VersemiError('DATASET_INVALID', {
    file: folder,
    field: 'case',
    expected: 'an id that can be the name of a file: at most 200 characters, no slashes',
    found: shown(id),
    remedy: 'Rename the case.',
  });
}

/**
 * The path of a file that a description names. Links inside of the folder may lead anywhere, as whoever keeps the folder made
 * them; a description may come from somebody else.
 * @param outside true: the file may lie elsewhere
 * @throws VERSEMI_DATASET_INVALID when the path leaves the folder of the dataset
 */
export function containedPath(folder: string, path: string, listedIn: string, outside: boolean): string {
  if (outside || !leaves(folder, path)) return resolve(folder, path);
  throw new VersemiError('DATASET_INVALID', {
    file: listedIn,
    expected: 'paths inside of the folder of the dataset, relative to it',
    found: shown(path),
    remedy:
      'Link the files into the folder; or, if you know who wrote the description, allow them (--files-outside of versemi plan and predict, or `filesOutside` of the dataset in the plan).',
  });
}

/** Whether a path that a file names leads out of the folder of the file. */
export function leaves(folder: string, path: string): boolean {
  const inside = relative(folder, resolve(folder, path));
  return isAbsolute(path) || isAbsolute(inside) || inside === '..' || inside.startsWith(`..${sep}`);
}

/** Label files of a folder that belong to no case. */
export async function labelsLeftOver(folder: string, cases: readonly CaseFiles[]): Promise<LeftOut[]> {
  const used = new Set(cases.map(({ label }) => label));
  const files = (await volumeNames(folder)).map((name) => join(folder, name));
  return files
    .filter((file) => !used.has(file))
    .map((file) => ({ file, reason: 'a label file without an image of its name' }));
}

/** Images of a folder that a description does not list. */
export async function imagesLeftOver(folder: string, cases: readonly CaseFiles[]): Promise<LeftOut[]> {
  const used = new Set(cases.flatMap(({ image, channels = [] }) => [image, ...channels]));
  const files = (await volumeNames(folder)).map((name) => join(folder, name));
  return files
    .filter((file) => !used.has(file))
    .map((file) => ({ file, reason: 'an image that dataset.json does not list' }));
}
