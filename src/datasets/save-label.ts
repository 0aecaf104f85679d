import { constants, existsSync } from 'node:fs';
import { copyFile, readFile } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { writeError, writeFileAtomic } from '../atomic-file.js';
import { VersemiError } from '../errors.js';
import { isJsonObject, type JsonObject } from '../json-text.js';
import { toStored, turnedVolume } from '../scans/canonical.js';
import { turnOnto } from '../volume/geometry.js';
import type { Volume } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { isHdf5 } from './case-files.js';
import { readDescription, readJsonObject } from './description.js';
import { labelBytes } from './label-values.js';
import { caseFacts, requireKnownLabels } from './load-case.js';
import { writeNrrd } from './nrrd-file.js';
import { readUnscaled, writeNifti } from './read-volume.js';
import type { CaseFiles, Dataset } from './types.js';

/**
 * A label map becomes the label of a case, where readers of the dataset's layout look for it, so that the next training has it.
 */

export interface SaveLabelOptions {
  /** What happens to a label that is there: it is refused (default), or it stays beside the new one under another name. */
  readonly existing?: 'refuse' | 'keep';
  /** Gives a value of the given file its value in the dataset; asked for each value that occurs, but 0. Default: values stay as they are. */
  readonly datasetValue?: (value: number) => number;
  /** What error sentences call the given file. */
  readonly called?: string;
}

/** Where a label has been saved. */
export interface SavedLabel {
  readonly file: string;
  /** Where the label that was there before stays. */
  readonly kept?: string;
}

/** Endings that are written; a label of another format is not replaced, as two labels of one name would contradict each other. */
const written = /\.(nii|nii\.gz|nrrd)$/i;

/**
 * Checks a label map against the image of a case (same voxels, known values) and writes it as the label of the case, on the
 * image's own grid. A label file appears whole or not at all; dataset.json is edited where it lists cases one by one, and the
 * dataset.json of before the first edit stays as dataset.json.bak.
 * @param dataset a folder with its dataset.json, if it has one, opened anew: a dataset that has changed since would be misread
 * @param source file of the label map, of any format that is read
 * @throws VERSEMI_REQUEST_UNKNOWN (no such case), VERSEMI_LABEL_EXISTS, VERSEMI_LABEL_INVALID, VERSEMI_GEOMETRY_MISMATCH,
 *   VERSEMI_DATASET_INVALID (a layout that has no place for it), VERSEMI_FORMAT_UNSUPPORTED, and what reading and writing throw
 */
export async function saveLabel(
  dataset: Dataset,
  id: string,
  source: string,
  { existing = 'refuse', datasetValue, called = source }: SaveLabelOptions = {},
): Promise<SavedLabel> {
  const files = caseNamed(dataset, id);
  const place = placeOfLabel(dataset, files);
  const { file } = place;
  const label = await labelOnImage(dataset, files, source, called, datasetValue);
  let kept: string | undefined;
  if (existsSync(file)) {
    if (existing === 'refuse') {
      throw new VersemiError('LABEL_EXISTS', {
        file,
        field: `case ${id}`,
        expected: 'no label',
        found: 'one',
        remedy: 'Ask for it to be replaced: the label of now stays beside the new one.',
      });
    }
    kept = await keep(file);
  }
  if (/\.nrrd$/i.test(file)) await writeNrrd(file, label);
  else await writeNifti(file, label);
  if (place.listed !== undefined) await listLabel(dataset, files, file, place.listed);
  return { file, ...(kept === undefined ? {} : { kept }) };
}

/** @throws VERSEMI_REQUEST_UNKNOWN, VERSEMI_DATASET_INVALID for a test case */
function caseNamed(dataset: Dataset, id: string): CaseFiles {
  const found = dataset.cases.find((one) => one.id === id);
  if (found !== undefined) return found;
  if (dataset.test.some((one) => one.id === id)) {
    throw new VersemiError('DATASET_INVALID', {
      file: dataset.folder,
      field: `case ${id}`,
      expected: 'a case for training or validation',
      found: 'a test case, which the dataset sets apart',
      remedy: 'Label another case; or move this one to the cases for training first.',
    });
  }
  throw unknownCase(dataset, id);
}

export function unknownCase({ folder, cases }: Dataset, id: string): VersemiError {
  const known = cases.slice(0, 5).map((one) => one.id);
  return new VersemiError('REQUEST_UNKNOWN', {
    file: folder,
    field: 'case',
    expected: `a case of the dataset, such as ${known.join(', ')}`,
    found: id,
    remedy: 'Name one of its cases.',
  });
}

interface Place {
  readonly file: string;
  /** Set where dataset.json must be told of the label: the list that names the case. */
  readonly listed?: 'training' | 'dataset';
}

/** Where the label of a case lies, or will lie. */
function placeOfLabel(dataset: Dataset, files: CaseFiles): Place {
  if (dataset.format === 'hdf5' || isHdf5(files.image)) {
    throw new VersemiError('FORMAT_UNSUPPORTED', {
      file: files.image,
      expected: 'a dataset whose labels are files of their own',
      found: 'HDF5, which holds image and label in one file',
      remedy: 'Convert the dataset to a folder with images/ and labels/ of NIfTI files.',
    });
  }
  if (files.label !== undefined) return { file: requireWritten(files.label) };
  const name = basename(files.image);
  const folder = dirname(files.image);
  const beside = folder.replace(/images(Tr)?$/, 'labels$1');
  const description = join(dataset.folder, 'dataset.json');
  if (dataset.format === 'nnunet') {
    const { listed, fileEnding = '.nii.gz' } = readDescription(description);
    const file = requireWritten(join(dataset.folder, 'labelsTr', `${files.id}${fileEnding}`));
    return { file, ...(listed === undefined ? {} : { listed: 'dataset' }) };
  }
  const sameName = join(beside === folder ? join(dataset.folder, 'labelsTr') : beside, name);
  const file = written.test(name) ? sameName : join(dirname(sameName), `${files.id}.nii.gz`);
  if (dataset.format === 'decathlon') return { file, listed: 'training' };
  if (beside !== folder) return { file };
  throw new VersemiError('DATASET_INVALID', {
    file: dataset.folder,
    expected: 'a layout with a place for labels: images/ beside labels/, imagesTr/ beside labelsTr/, or a dataset.json',
    found: 'images in the folder itself',
    remedy: 'Move the images into a folder images/ in it.',
  });
}

function requireWritten(file: string): string {
  if (written.test(file)) return file;
  throw new VersemiError('FORMAT_UNSUPPORTED', {
    file,
    expected: 'labels in .nii, .nii.gz or .nrrd, which are written',
    found: extname(file) || 'a name without ending',
    remedy: 'Convert the labels of the dataset to NIfTI.',
  });
}

/** The label map on the image's own grid, with values of the dataset. */
async function labelOnImage(
  dataset: Dataset,
  files: CaseFiles,
  source: string,
  called: string,
  datasetValue: SaveLabelOptions['datasetValue'],
): Promise<Volume<Uint8Array>> {
  const { volume, slope, intercept } = await readUnscaled(source, { role: 'label' });
  const given = labelBytes(volume.data, { slope, intercept }, called);
  const { geometry } = await caseFacts(dataset, files);
  const { axes, flipped } = turnOnto(geometry, { ...volume, file: called });
  const data = datasetValue === undefined ? given : renumbered(given, datasetValue);
  requireKnownLabels(dataset, data, called);
  const { sizeVoxels, spacingMm, affine, stored } = geometry;
  const turned = turnedVolume({ ...volume, data }, axes, flipped);
  return toStored({ data: turned.data, sizeVoxels, spacingMm, affine, ...(stored === undefined ? {} : { stored }) });
}

function renumbered(data: Uint8Array, datasetValue: (value: number) => number): Uint8Array {
  const table = host()
    .labelCounts(data)
    .map((count, value) => (count === 0 || value === 0 ? 0 : datasetValue(value)));
  return data.map((value) => table[value]!);
}

/** Copies a file to a name beside it that no reader takes for a label. @returns that name */
async function keep(file: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = `${file}.${number}.bak`;
    try {
      await copyFile(file, name, constants.COPYFILE_EXCL);
      return name;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw writeError(name, error);
    }
  }
}

/** Names the label of a case in dataset.json. */
async function listLabel(
  dataset: Dataset,
  files: CaseFiles,
  label: string,
  list: NonNullable<Place['listed']>,
): Promise<void> {
  const file = join(dataset.folder, 'dataset.json');
  const json = readJsonObject(file, 'DATASET_INVALID');
  const path = `./${relative(dataset.folder, label).split(sep).join('/')}`;
  if (list === 'dataset') (json as Record<string, JsonObject>).dataset = withLabel(json.dataset, files.id, path);
  else {
    const entries = json.training as (string | JsonObject)[];
    const isCase = (entry: string | JsonObject) => {
      const image = String(isJsonObject(entry) ? entry.image : entry);
      return resolve(dataset.folder, image) === files.image;
    };
    const training = entries.map((entry) => {
      if (!isCase(entry)) return entry;
      return isJsonObject(entry) ? { ...entry, label: path } : { image: entry, label: path };
    });
    (json as Record<string, unknown>).training = training;
  }
  const indent = /^[ \t]+/m.exec(await readFile(file, 'utf8'))?.[0] ?? 2;
  if (!existsSync(`${file}.bak`)) await copyFile(file, `${file}.bak`);
  await writeFileAtomic(file, `${JSON.stringify(json, null, indent)}\n`);
}

function withLabel(cases: unknown, id: string, path: string): JsonObject {
  const all = cases as Record<string, JsonObject>;
  return { ...all, [id]: { ...all[id], label: path } };
}
