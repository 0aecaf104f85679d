import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VersemiError } from '../errors.js';
import { type Part, PartTable } from '../parts.js';
import { hdf5Names } from './case-files.js';
import { readDecathlon } from './decathlon.js';
import type { Description } from './description.js';
import { readDicomDataset } from './dicom/dataset.js';
import { holdsDicom } from './dicom/sources.js';
import { holdsImages, readHdf5Folder, readImageFolder } from './folders.js';
import type { Hdf5Keys } from './hdf5-keys.js';
import { readNnunet } from './nnunet.js';
import type { DatasetCases, ReadCasesOptions } from './types.js';

/** What the reader of a layout is given beside the folder. */
export interface LayoutOptions extends ReadCasesOptions {
  /** The folder's dataset.json, checked field by field; absent where there is none. */
  readonly description?: Description;
  /** Names of the arrays of HDF5 files, where they were given. */
  readonly keys?: Hdf5Keys;
}

/** How the cases of a dataset lie in a folder. A plan names it in `format` of the dataset. */
export interface DatasetLayout extends Part {
  /** Whether `format: auto` takes this layout for a folder; absent: never. Layouts of one's own are asked before those of versemi. */
  matches?(folder: string, description: Description | undefined): boolean | Promise<boolean>;
  /** Finds the cases of a folder, without reading voxels. Ids must be names of files, each once; every file must exist. */
  cases(folder: string, options: LayoutOptions): DatasetCases | Promise<DatasetCases>;
}

const decathlon: DatasetLayout = {
  name: 'decathlon',
  matches: (folder, description) => description?.training !== undefined && !namesWithoutNumbers(folder, description),
  cases: (folder, options) => readDecathlon(folder, required(folder, 'decathlon', options), options),
};

const nnunet: DatasetLayout = {
  name: 'nnunet',
  matches: (folder, description) =>
    description !== undefined && (description.training !== undefined || existsSync(join(folder, 'imagesTr'))),
  cases: (folder, options) => readNnunet(folder, required(folder, 'nnunet', options), options),
};

const hdf5: DatasetLayout = {
  name: 'hdf5',
  matches: async (folder) => (await hdf5Names(folder)).names.length > 0,
  cases: (folder, { keys, lenient }) => readHdf5Folder(folder, keys, lenient),
};

const dicom: DatasetLayout = {
  name: 'dicom',
  matches: async (folder) => !(await holdsImages(folder)) && (await holdsDicom(folder)),
  cases: (folder, { description, lenient }) => readDicomDataset(folder, description, lenient),
};

const images: DatasetLayout = { name: 'images', matches: () => true, cases: readImageFolder };

/** In the order in which a folder is tried. */
const builtIn = [decathlon, nnunet, hdf5, dicom, images];

const layouts = new PartTable<DatasetLayout>('layouts', builtIn);

/** @param name 'auto': the first layout that the folder matches @throws VERSEMI_PART_UNKNOWN */
export async function layoutOf(
  name: string,
  folder: string,
  description: Description | undefined,
): Promise<DatasetLayout> {
  if (name !== 'auto') return layouts.get(name, 'format');
  for (const layout of [...layouts.own(), ...builtIn]) if (await layout.matches?.(folder, description)) return layout;
  return images;
}

/** nnU-Net's first version lists imagesTr/a.nii.gz in dataset.json where the files are imagesTr/a_0000.nii.gz. */
function namesWithoutNumbers(folder: string, { training }: Description): boolean {
  const first = training?.[0];
  const image = first === undefined ? undefined : resolve(folder, first.image);
  const numbered = image?.replace(/(\.nii(\.gz)?)$/, '_0000$1');
  return image !== undefined && !existsSync(image) && numbered !== image && existsSync(numbered!);
}

function required(folder: string, name: string, { description }: LayoutOptions): Description {
  if (description !== undefined) return description;
  throw new VersemiError('DATASET_INVALID', {
    file: folder,
    expected: `a dataset.json, as the format ${name} demands`,
    found: 'none',
    remedy: 'Add dataset.json, or set `format` of the dataset in the plan to auto.',
  });
}
