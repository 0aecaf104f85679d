import { existsSync, type Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, extname, join, resolve } from 'node:path';
import type { PlanDataset } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { readError } from '../regular-file.js';
import { requireName } from './case-files.js';
import { readDescription } from './description.js';
import type { Hdf5Keys } from './hdf5-keys.js';
import { layoutOf } from './layouts.js';
import type { CaseFiles, Dataset, DatasetFormat } from './types.js';

/** How a dataset is opened. */
export interface OpenDatasetOptions {
  /** Default 'auto': found out from the files. */
  readonly format?: DatasetFormat;
  /** Default: the name in dataset.json, else that of the folder. */
  readonly name?: string;
  /** Names of the arrays of HDF5 files; default: the usual ones. */
  readonly keys?: Hdf5Keys | undefined;
  /** True: dataset.json may name files outside of the folder. Default false. */
  readonly filesOutside?: boolean | undefined;
  /** True: cases whose files are missing or damaged are kept, so that reading each tells. Default false: they are refused at once. */
  readonly lenient?: boolean | undefined;
}

/** Opens a dataset as a plan describes it. @throws as {@link openDataset} */
export function openPlanDataset({
  path,
  format,
  keys,
  filesOutside,
}: Pick<PlanDataset, 'path' | 'format' | 'keys' | 'filesOutside'>): Promise<Dataset> {
  return openDataset(path, { format, keys, filesOutside });
}

/**
 * Opens a dataset: a folder in the form of the Medical Segmentation Decathlon or nnU-Net (both with dataset.json), a
 * folder of HDF5 cases, a folder of images, DICOM series, or a layout of one's own (`layouts.ts`). Only names are looked at here, and headers of DICOM files; every file that is named must exist.
 * @param path the folder, or its dataset.json
 * @throws VERSEMI_FILE_NOT_FOUND, VERSEMI_DATASET_INVALID, VERSEMI_MODALITY_MISSING, VERSEMI_PART_UNKNOWN (a layout)
 */
export async function openDataset(path: string, options: OpenDatasetOptions = {}): Promise<Dataset> {
  let info: Stats;
  try {
    info = await stat(path);
  } catch (error) {
    throw readError(error, path);
  }
  if (!info.isDirectory() && extname(path) !== '.json') {
    throw new VersemiError('DATASET_INVALID', {
      file: path,
      expected: 'a folder or a dataset.json',
      found: 'another file',
      remedy: 'Give the folder that holds the dataset.',
    });
  }
  const folder = resolve(info.isDirectory() ? path : dirname(path));
  const file = info.isDirectory() ? join(folder, 'dataset.json') : resolve(path);
  const description = existsSync(file) ? readDescription(file) : undefined;
  const layout = await layoutOf(options.format ?? 'auto', folder, description);
  const content = await layout.cases(folder, {
    ...(description === undefined ? {} : { description }),
    ...(options.keys === undefined ? {} : { keys: options.keys }),
    filesOutside: options.filesOutside ?? false,
    lenient: options.lenient ?? false,
  });
  checkIds(content.cases, folder);
  checkIds(content.test, folder);
  return {
    name: options.name ?? description?.name ?? basename(folder),
    folder,
    format: layout.name,
    labels: description?.labels ?? { 0: 'background', 1: 'foreground' },
    labelsDeclared: description?.labels !== undefined,
    ...(description?.ignoredLabel === undefined ? {} : { ignoredLabel: description.ignoredLabel }),
    ...(description?.regions === undefined ? {} : { regions: description.regions }),
    modalities: description?.modalities ?? ['image'],
    ...content,
    ...(options.keys === undefined ? {} : { keys: options.keys }),
    ...(description?.spacingMm === undefined ? {} : { spacingMm: description.spacingMm }),
    ...(description?.description === undefined ? {} : { description: description.description }),
    ...(description?.licence === undefined ? {} : { licence: description.licence }),
    ...(description?.reference === undefined ? {} : { reference: description.reference }),
  };
}

function checkIds(cases: readonly CaseFiles[], folder: string): void {
  const seen = new Map<string, CaseFiles>();
  for (const files of cases) {
    requireName(files.id, folder);
    const other = seen.get(files.id);
    if (other !== undefined) {
      throw new VersemiError('DATASET_INVALID', {
        file: folder,
        field: `case ${files.id}`,
        expected: 'a different file name for each case',
        found: `${other.image} and ${files.image}`,
        remedy: 'Rename one of the files.',
      });
    }
    seen.set(files.id, files);
  }
}
