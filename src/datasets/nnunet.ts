import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { VersemiError } from '../errors.js';
import { containedPath, entriesOf, imagesLeftOver, isImage, labelsLeftOver, requireFiles } from './case-files.js';
import type { Description } from './description.js';
import type { CaseFiles, DatasetCases, LeftOut, ReadCasesOptions } from './types.js';

/**
 * Cases of an nnU-Net raw folder: imagesTr/ID_0000.nii.gz, ID_0001.nii.gz ... (one file per modality), labelsTr/ID.nii.gz;
 * imagesTs and labelsTs likewise hold test cases. A case without a label file is unlabelled.
 * @throws VERSEMI_MODALITY_MISSING naming the case and the file, VERSEMI_DATASET_INVALID, VERSEMI_FILE_NOT_FOUND
 */
export async function readNnunet(
  folder: string,
  description: Description,
  { filesOutside, lenient }: ReadCasesOptions,
): Promise<DatasetCases> {
  const modalities = description.modalities ?? ['image'];
  const ending = description.fileEnding ?? '.nii.gz';
  const { cases, leftOut } =
    description.listed === undefined
      ? await scan(folder, 'Tr', modalities, ending, lenient)
      : await scanListed(folder, listed(folder, description, modalities, { filesOutside, lenient }));
  const { cases: test, leftOut: leftOutOfTest } = await scan(folder, 'Ts', modalities, ending, lenient);
  if (cases.length === 0 && !(lenient && test.length > 0)) {
    throw new VersemiError('DATASET_INVALID', {
      file: join(folder, 'imagesTr'),
      expected: `files named ID_0000${ending}`,
      found: 'none',
      remedy: 'Check file_ending in dataset.json and the names of the files.',
    });
  }
  return {
    cases,
    test,
    leftOut: [
      ...leftOut,
      ...(lenient ? leftOutOfTest : []),
      ...(await labelsLeftOver(join(folder, 'labelsTr'), cases)),
    ],
  };
}

/** Listed cases, and the images beside them. */
async function scanListed(folder: string, cases: CaseFiles[]): Promise<{ cases: CaseFiles[]; leftOut: LeftOut[] }> {
  return { cases, leftOut: await imagesLeftOver(join(folder, 'imagesTr'), cases) };
}

async function scan(
  folder: string,
  suffix: 'Tr' | 'Ts',
  modalities: readonly string[],
  ending: string,
  lenient: boolean,
): Promise<{ readonly cases: CaseFiles[]; readonly leftOut: LeftOut[] }> {
  const images = join(folder, `images${suffix}`);
  if (!existsSync(images)) return { cases: [], leftOut: [] };
  const files = (await entriesOf(images)).filter(({ isFolder }) => !isFolder).map(({ name }) => name);
  const names = files.filter((name) => name.endsWith(ending));
  const leftOut = files
    .filter((name) => !name.endsWith(ending) && isImage(name))
    .map((name) => ({ file: join(images, name), reason: `its name does not end with ${ending}` }));
  const ids = new Set<string>();
  for (const name of names) {
    const id = /^(.+)_\d{4}$/.exec(name.slice(0, name.length - ending.length))?.[1];
    if (id === undefined && lenient) {
      leftOut.push({ file: join(images, name), reason: `its name does not end with _0000${ending}` });
      continue;
    }
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
  const cases = [...ids].map((id): CaseFiles => {
    const channels = modalities.map((_, i) => join(images, `${id}_${String(i).padStart(4, '0')}${ending}`));
    if (!lenient) requireModalities(id, channels, modalities);
    const label = join(folder, `labels${suffix}`, `${id}${ending}`);
    return { id, image: channels[0]!, channels, ...(existsSync(label) ? { label } : {}) };
  });
  const used = new Set(cases.flatMap(({ channels }) => channels));
  const told = new Set(leftOut.map(({ file }) => file));
  const further = names.map((name) => join(images, name)).filter((file) => !used.has(file) && !told.has(file));
  const reason = `dataset.json names ${modalities.length === 1 ? 'one modality' : `${modalities.length} modalities`}`;
  return { cases, leftOut: [...leftOut, ...further.map((file) => ({ file, reason }))] };
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

function listed(
  folder: string,
  description: Description,
  modalities: readonly string[],
  { filesOutside, lenient }: ReadCasesOptions,
): CaseFiles[] {
  const path = (named: string) => containedPath(folder, named, description.file, filesOutside);
  const cases = Object.entries(description.listed!).map(([id, entry]): CaseFiles => {
    const channels = entry.images.map(path);
    if (channels.length !== modalities.length) {
      throw new VersemiError('MODALITY_MISSING', {
        file: description.file,
        field: `case ${id}`,
        expected: `${modalities.length} images (${modalities.join(', ')})`,
        found: String(channels.length),
        remedy: 'List one image per modality.',
      });
    }
    if (!lenient) requireModalities(id, channels, modalities);
    const label = entry.label === undefined ? {} : { label: path(entry.label) };
    return { id, image: channels[0]!, channels, ...label };
  });
  const required = lenient ? [] : cases;
  requireFiles(
    required.flatMap(({ id, label }) => (label === undefined ? [] : [{ id, file: label, role: 'label' as const }])),
    description.file,
  );
  return cases;
}
