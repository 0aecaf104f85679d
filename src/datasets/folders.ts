import { dirname, join } from 'node:path';
import { isVersemiError, VersemiError } from '../errors.js';
import { caseId, hdf5Names, labelsLeftOver, volumeNames } from './case-files.js';
import { withHdf5Contents } from './hdf5.js';
import { type Hdf5Keys, type Hdf5Role, keysOf } from './hdf5-keys.js';
import type { CaseFiles, DatasetCases } from './types.js';

/**
 * Cases of a folder of HDF5 files, each with an image and, where labelled, a label map: ID.h5, one file per folder
 * (ID/anything.h5), or folders of files (data/ID.h5). Files of 2-D slices are left out beside volumes.
 * @param keys names of the arrays; default: the usual ones
 * @param lenient true: a file that cannot be read is kept as a case with a label, so that reading it says what is wrong
 * @throws VERSEMI_DATASET_INVALID, and what a file that is not HDF5 gives
 */
export async function readHdf5Folder(folder: string, keys?: Hdf5Keys, lenient = false): Promise<DatasetCases> {
  const { names, slices } = await hdf5Names(folder);
  if (names.length === 0) throw empty(folder, 'files ID.h5 or ID/*.h5');
  const found: { readonly name: string; readonly labeled: boolean; readonly slice: boolean }[] = [];
  for (const name of names) {
    const image = join(folder, name);
    const facts = await withHdf5Contents(image, (contents) => {
      const imageKey = only(contents.names, 'image', keys, image);
      const labeled = hasLabel(contents.names, keys, image);
      return { labeled, slice: contents.shapeOf(imageKey)?.length === 2 };
    }).catch((error: unknown) => {
      if (lenient && isVersemiError(error)) return { labeled: true, slice: false };
      throw error;
    });
    found.push({ name, ...facts });
  }
  const volumes = found.filter(({ slice }) => !slice);
  // Nothing but slices: reading the first says why it is refused.
  const taken = volumes.length > 0 ? volumes : found;
  const ids = hdf5Ids(taken.map(({ name }) => name));
  return {
    cases: taken.map(({ name, labeled }, i): CaseFiles => {
      const image = join(folder, name);
      return { id: ids[i]!, image, ...(labeled ? { label: image } : {}) };
    }),
    test: [],
    leftOut: [
      ...slices.map((name) => ({ file: join(folder, name), reason: 'a folder of 2-D slices' })),
      ...found
        .filter((one) => !taken.includes(one))
        .map(({ name }) => ({ file: join(folder, name), reason: 'a 2-D slice' })),
    ],
  };
}

/** Folders are cases where each holds one file; else files are, by their names, together with the folder's where they recur. */
function hdf5Ids(names: readonly string[]): string[] {
  const nested = names.filter((name) => dirname(name) !== '.');
  const folders = new Set(nested.map((name) => dirname(name)));
  const folderIsCase =
    folders.size === nested.length && !nested.some((name) => /^(data|volumes|.*_volumes)$/i.test(dirname(name)));
  if (folderIsCase) return names.map((name) => (dirname(name) === '.' ? caseId(name) : dirname(name)));
  const unique = new Set(names.map(caseId)).size === names.length;
  return names.map((name) => (unique || dirname(name) === '.' ? caseId(name) : `${dirname(name)}_${caseId(name)}`));
}

function hasLabel(names: readonly string[], keys: Hdf5Keys | undefined, file: string): boolean {
  if (keys !== undefined) return names.includes(keys.label);
  return keysOf(names, 'label').length > 0 && only(names, 'label', keys, file) !== '';
}

/** The one name of an array. @throws VERSEMI_DATASET_INVALID when there is none, or several */
function only(names: readonly string[], role: Hdf5Role, keys: Hdf5Keys | undefined, file: string): string {
  const given = keys?.[role];
  const [key, ...others] = given === undefined ? keysOf(names, role) : names.filter((name) => name === given);
  if (key !== undefined && others.length === 0) return key;
  throw new VersemiError('DATASET_INVALID', {
    file,
    field: role,
    expected: given === undefined ? `one array of the ${role}, named ${role}` : `an array named ${given}`,
    found: others.length > 0 ? [key, ...others].join(' and ') : names.slice(0, 10).join(', ') || 'no names at all',
    remedy: 'Name the arrays: --keys IMAGE,LABEL of versemi plan and predict, or `keys` of the dataset in the plan.',
  });
}

/**
 * Cases of a folder without dataset.json: NIfTI files in images/ (or imagesTr/), labels of the same name in labels/ (or
 * labelsTr/); else the NIfTI files of the folder itself, all unlabelled.
 * @throws VERSEMI_DATASET_INVALID when there are none
 */
export async function readImageFolder(folder: string): Promise<DatasetCases> {
  for (const suffix of ['', 'Tr']) {
    const images = join(folder, `images${suffix}`);
    const names = await volumeNames(images);
    if (names.length === 0) continue;
    const labels = new Map<string, string>();
    for (const name of await volumeNames(join(folder, `labels${suffix}`)))
      labels.set(caseId(name), join(folder, `labels${suffix}`, name));
    const cases = names.map((name) => {
      const label = labels.get(caseId(name));
      return { id: caseId(name), image: join(images, name), ...(label === undefined ? {} : { label }) };
    });
    return { cases, test: [], leftOut: await labelsLeftOver(join(folder, `labels${suffix}`), cases) };
  }
  const names = await volumeNames(folder);
  if (names.length === 0) throw empty(folder, 'a dataset.json, HDF5 files, NIfTI files or DICOM series');
  return { cases: names.map((name) => ({ id: caseId(name), image: join(folder, name) })), test: [] };
}

/** Whether {@link readImageFolder} finds a case. */
export async function holdsImages(folder: string): Promise<boolean> {
  for (const images of ['images', 'imagesTr', '.'])
    if ((await volumeNames(join(folder, images))).length > 0) return true;
  return false;
}

function empty(folder: string, expected: string): VersemiError {
  return new VersemiError('DATASET_INVALID', {
    file: folder,
    expected,
    found: 'none of these',
    remedy: 'Give the folder that holds the dataset.',
  });
}
