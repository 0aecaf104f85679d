import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readError, withRegularFile } from '../../regular-file.js';
import { readRange } from '../files.js';
import { isZip } from '../zip.js';
import { type DicomFile, dicomStartBytes, headBytes, isDicom, withMeta } from './elements.js';
import { readObject } from './instance.js';
import { mostFiles, tooMany, zipFiles } from './zip.js';

/** A DICOM file in a folder. */
function fileAt(path: string): DicomFile {
  const range = (start: number, most: number) =>
    withRegularFile(path, async ({ handle, sizeBytes }) => ({
      bytes: await readRange(handle, start, Math.max(0, Math.min(sizeBytes - start, most))),
      sizeBytes,
    }));
  return withMeta({
    name: path,
    head: (most) => range(0, most),
    range: async (start, length) => (await range(start, length)).bytes,
    bytes: async () => (await range(0, Number.POSITIVE_INFINITY)).bytes,
  });
}

/** True for a path that may stand for DICOM images: a folder, a zip file, a DICOM file. */
export async function mayBeDicom(path: string): Promise<boolean> {
  const facts = await stat(path).catch((error: unknown) => {
    throw readError(error, path);
  });
  if (facts.isDirectory()) return true;
  if (!facts.isFile()) return false;
  const { bytes } = await fileAt(path).head(dicomStartBytes);
  return isDicom(bytes) || isZip(bytes);
}

/**
 * Whether a folder, or a folder in it, holds an image. A DICOM file that cannot be parsed counts as one: reading it says what is wrong.
 * @param depth how far down folders in it are looked into; 0: not at all
 */
export async function holdsDicomImage(folder: string, depth: number): Promise<boolean> {
  const entries = await visibleEntries(folder);
  for (const entry of entries) {
    const file = fileAt(join(folder, entry.name));
    const head = entry.isFile() ? await file.head(headBytes) : undefined;
    if (head === undefined || !isDicom(head.bytes)) continue;
    const object = await readObject(file, head).catch(() => undefined);
    if (object === undefined || object.image !== undefined) return true;
  }
  if (depth === 0) return false;
  for (const entry of entries)
    if (entry.isDirectory() && (await holdsDicomImage(join(folder, entry.name), depth - 1))) return true;
  return false;
}

/**
 * Whether a folder, or a folder in it, holds a DICOM file or a zip file. Links are followed from the folder itself only, and no more files are
 * looked at than a study has.
 */
export async function holdsDicom(folder: string, seen = { files: 0, isTop: true }): Promise<boolean> {
  const entries = await visibleEntries(folder);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (!entry.isFile() && !(entry.isSymbolicLink() && (await isFile(path)))) continue;
    const { bytes } = await fileAt(path).head(dicomStartBytes);
    if (isDicom(bytes) || isZip(bytes)) return true;
    if (++seen.files > mostFiles) return false;
  }
  const { isTop } = seen;
  seen.isTop = false;
  for (const entry of entries) {
    const path = join(folder, entry.name);
    const isFolder = entry.isDirectory() || (isTop && entry.isSymbolicLink() && (await isFolderAt(path)));
    if (isFolder && (await holdsDicom(path, seen))) return true;
  }
  return false;
}

/** In order of their names. */
async function visibleEntries(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
    throw readError(error, folder);
  });
  return entries.filter(({ name }) => !name.startsWith('.')).sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * The files that a path stands for: those of a folder and of the folders in it, those in a zip file, or the file itself. Hidden files are left
 * out.
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_IO_FAILED, VERSEMI_FILE_CORRUPT, VERSEMI_FORMAT_UNSUPPORTED (too many or too large)
 */
export async function dicomFiles(path: string): Promise<DicomFile[]> {
  const facts = await stat(path).catch((error: unknown) => {
    throw readError(error, path);
  });
  if (facts.isDirectory()) {
    const found: DicomFile[] = [];
    await collect(path, found);
    return found;
  }
  const file = fileAt(path);
  return isZip((await file.head(dicomStartBytes)).bytes) ? zipFiles(path, await file.bytes()) : [file];
}

/**
 * Files that were found before.
 * @param path the folder around them, or the zip file that they lie in
 * @throws as {@link dicomFiles}
 */
export async function filesNamed(path: string, names: readonly string[]): Promise<DicomFile[]> {
  if (!names.every((name) => name.startsWith(`${path}/`)) || !(await isZipFile(path))) return names.map(fileAt);
  const wanted = new Set(names);
  return (await dicomFiles(path)).filter(({ name }) => wanted.has(name));
}

/** True for a regular file that begins as zip files do. */
export async function isZipFile(path: string): Promise<boolean> {
  return (await isFile(path)) && isZip((await fileAt(path).head(dicomStartBytes)).bytes);
}

async function collect(folder: string, found: DicomFile[]): Promise<void> {
  for (const entry of await visibleEntries(folder)) {
    const path = join(folder, entry.name);
    // Links to folders are not followed: they may lead round in a circle.
    if (entry.isDirectory()) await collect(path, found);
    else if (entry.isFile() || (entry.isSymbolicLink() && (await isFile(path)))) found.push(fileAt(path));
    if (found.length > mostFiles) throw tooMany(folder, `more than ${mostFiles} files`);
  }
}

async function isFolderAt(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );
}
