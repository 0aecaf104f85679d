import { dirname, join } from 'node:path';
import { VersemiError } from '../errors.js';
import { caseId, hdf5Names, niftiNames } from './case-files.js';
import { hdf5Keys } from './hdf5.js';
import type { CaseFiles, DatasetCases } from './types.js';

/**
 * Cases of a folder of HDF5 files, ID.h5 or ID/anything.h5, each with the array `image` and, where labelled, `label`.
 * @throws VERSEMI_DATASET_INVALID, and what a file that is not HDF5 gives
 */
export async function readHdf5Folder(folder: string): Promise<DatasetCases> {
  const names = await hdf5Names(folder);
  if (names.length === 0) throw empty(folder, 'files ID.h5 or ID/*.h5');
  const cases: CaseFiles[] = [];
  for (const name of names) {
    const image = join(folder, name);
    const keys = await hdf5Keys(image);
    if (!keys.includes('image')) {
      throw new VersemiError('DATASET_INVALID', {
        file: image,
        expected: 'an array named image, and label where there is one',
        found: keys.join(', ') || 'no names at all',
        remedy: 'Rename the arrays, or take the file out of the folder.',
      });
    }
    const parent = dirname(name);
    const id = parent === '.' ? caseId(name) : parent;
    cases.push({ id, image, ...(keys.includes('label') ? { label: image } : {}) });
  }
  return { cases, test: [] };
}

/**
 * Cases of a folder without dataset.json: NIfTI files in images/ (or imagesTr/), labels of the same name in labels/ (or
 * labelsTr/); else the NIfTI files of the folder itself, all unlabelled.
 * @throws VERSEMI_DATASET_INVALID when there are none
 */
export async function readImageFolder(folder: string): Promise<DatasetCases> {
  for (const suffix of ['', 'Tr']) {
    const images = join(folder, `images${suffix}`);
    const names = await niftiNames(images);
    if (names.length === 0) continue;
    const labels = new Map<string, string>();
    for (const name of await niftiNames(join(folder, `labels${suffix}`)))
      labels.set(caseId(name), join(folder, `labels${suffix}`, name));
    const cases = names.map((name) => {
      const label = labels.get(caseId(name));
      return { id: caseId(name), image: join(images, name), ...(label === undefined ? {} : { label }) };
    });
    return { cases, test: [] };
  }
  const names = await niftiNames(folder);
  if (names.length === 0) throw empty(folder, 'a dataset.json, HDF5 files or NIfTI files');
  return { cases: names.map((name) => ({ id: caseId(name), image: join(folder, name) })), test: [] };
}

function empty(folder: string, expected: string): VersemiError {
  return new VersemiError('DATASET_INVALID', {
    file: folder,
    expected,
    found: 'none of these',
    remedy: 'Give the folder that holds the dataset.',
  });
}
