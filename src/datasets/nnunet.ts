import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { VersemiError } from '../errors.js';
import { requireFiles } from './case-files.js';
import type { Description } from './description.js';
import type { CaseFiles, DatasetCases } from './types.js';

/**
 * Cases of an nnU-Net raw folder: imagesTr/ID_0000.nii.gz, ID_0001.nii.gz ... (one file per modality), labelsTr/ID.nii.gz;
 * imagesTs and labelsTs likewise hold test cases. A case without a label file is unlabelled.
 * @throws VERSEMI_MODALITY_MISSING naming the case and the file, VERSEMI_DATASET_INVALID, VERSEMI_FILE_NOT_FOUND
 */
export async function readNnunet(folder: string, description: Description): Promise<DatasetCases> {
  const modalities = description.modalities ?? ['image'];
  const ending = description.fileEnding ?? '.nii.gz';
  const cases =
    description.listed === undefined
      ? await scan(folder, 'Tr', modalities, ending)
      : listed(folder, description, modalities);
  if (cases.length === 0) {
    throw new VersemiError('DATASET_INVALID', {
      file: join(folder, 'imagesTr'),
      expected: `files named ID_0000${ending}`,
      found: 'none',
      remedy: 'Check file_ending in dataset.json and the names of the files.',
    });
  }
  return { cases, test: await scan(folder, 'Ts', modalities, ending) };
}

async function scan(
  folder: string,
  suffix: 'Tr' | 'Ts',
  modalities: readonly string[],
  ending: string,
): Promise<CaseFiles[]> {
  const images = join(folder, `images${suffix}`);
  if (!existsSync(images)) return [];
  const names = (await readdir(images)).filter((name) => name.endsWith(ending) && !name.startsWith('.')).sort();
  const ids = new Set<string>();
  for (const name of names) {
    const id = /^(.+)_\d{4}$/.exec(name.slice(0, name.length - ending.length))?.[1];
    if (id === undefined) {
      throw new VersemiError('DATASET_INVALID', {
        file: join(images, name),
        expected: `a name that ends with the number of a modality, such as _0000${ending}`,
        found: name,
        remedy: 'Rename the file.',
      });
    }
    ids.add(id);
  }
  return [...ids].map((id) => {
    const channels = modalities.map((_, i) => join(images, `${id}_${String(i).padStart(4, '0')}${ending}`));
    requireModalities(id, channels, modalities);
    const label = join(folder, `labels${suffix}`, `${id}${ending}`);
    return { id, image: channels[0]!, channels, ...(existsSync(label) ? { label } : {}) };
  });
}

function requireModalities(id: string, channels: readonly string[], modalities: readonly string[]): void {
  const missing = channels.findIndex((file) => !existsSync(file));
  if (missing < 0) return;
  throw new VersemiError('MODALITY_MISSING', {
    file: channels[missing]!,
    field: `modality ${missing} (${modalities[missing]}) of case ${id}`,
    expected: `${modalities.length} files, one per modality of dataset.json`,
    found: `no ${basename(channels[missing]!)}`,
    remedy: 'Add the file, or remove the case.',
  });
}

function listed(folder: string, description: Description, modalities: readonly string[]): CaseFiles[] {
  const cases = Object.entries(description.listed!).map(([id, entry]): CaseFiles => {
    const channels = entry.images.map((image) => resolve(folder, image));
    if (channels.length !== modalities.length) {
      throw new VersemiError('MODALITY_MISSING', {
        file: description.file,
        field: `case ${id}`,
        expected: `${modalities.length} images (${modalities.join(', ')})`,
        found: String(channels.length),
        remedy: 'List one image per modality.',
      });
    }
    requireModalities(id, channels, modalities);
    const label = entry.label === undefined ? {} : { label: resolve(folder, entry.label) };
    return { id, image: channels[0]!, channels, ...label };
  });
  requireFiles(
    cases.flatMap(({ id, label }) => (label === undefined ? [] : [{ id, file: label, role: 'label' as const }])),
    description.file,
  );
  return cases;
}
