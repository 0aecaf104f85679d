import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { VersemiError } from '../errors.js';
import { caseId, containedPath, imagesLeftOver, labelsLeftOver, requireFiles } from './case-files.js';
import type { DescribedCase, Description } from './description.js';
import type { CaseFiles, DatasetCases, ReadCasesOptions } from './types.js';

/**
 * Cases of a folder in the form of the Medical Segmentation Decathlon: dataset.json lists `training` and `test`. An entry
 * without "label" is an unlabelled case. An entry that is only a path, as in the Decathlon's test lists, has a label when
 * the folder beside its own has one of the same name (imagesTr -> labelsTr, images -> labels).
 * @throws VERSEMI_DATASET_INVALID, VERSEMI_FILE_NOT_FOUND
 */
export async function readDecathlon(
  folder: string,
  description: Description,
  { filesOutside, lenient }: ReadCasesOptions,
): Promise<DatasetCases> {
  if (description.training === undefined) {
    throw new VersemiError('DATASET_INVALID', {
      file: description.file,
      field: 'training',
      expected: 'a list of cases',
      found: 'nothing',
      remedy: 'Add the list, or set `format` of the dataset in the plan to auto.',
    });
  }
  const cases = description.training.map((entry) => caseOf(entry));
  const test = (description.test ?? []).map((entry) => caseOf(entry));
  // Many copies of the Decathlon come without their test images; a test case is required only once somebody asks for it.
  const required = lenient ? [] : cases;
  requireFiles(
    required.flatMap(({ id, image, label }) => [
      { id, file: image, role: 'image' as const },
      ...(label === undefined ? [] : [{ id, file: label, role: 'label' as const }]),
    ]),
    description.file,
  );
  const leftOut = [
    ...(await imagesLeftOver(join(folder, 'imagesTr'), [...cases, ...test])),
    ...(await labelsLeftOver(join(folder, 'labelsTr'), cases)),
  ];
  return { cases, test: test.filter(({ image }) => existsSync(image)), leftOut };

  function caseOf(entry: DescribedCase): CaseFiles {
    const path = (named: string) => containedPath(folder, named, description.file, filesOutside);
    const image = path(entry.image);
    const label = entry.label === undefined ? labelBeside(image) : entry.label === null ? null : path(entry.label);
    return { id: caseId(image), image, ...(label === null ? {} : { label }) };
  }
}

function labelBeside(image: string): string | null {
  const label = image.replace(/([\\/])images(Tr|Ts)?([\\/][^\\/]*)$/, '$1labels$2$3');
  return label !== image && existsSync(label) ? label : null;
}
