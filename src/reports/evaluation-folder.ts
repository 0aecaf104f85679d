import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeError, writeFileAtomic } from '../atomic-file.js';
import type { CaseOutcome, Evaluation } from '../inference/evaluate.js';
import { casesToCsv } from './csv.js';
import { overlayFileName, overlayPng } from './overlay-file.js';

/** Names inside the folder of an evaluation. */
export const evaluationFileName = 'evaluation.json';
export const overlayFolderName = 'overlays';

/** Writes the overlay of one outcome into the folder of an evaluation. */
export async function writeOverlay(
  folder: string,
  { result, image, prediction, reference }: CaseOutcome,
): Promise<void> {
  const { data, sizeVoxels, spacingMm } = image;
  const png = overlayPng({
    image: data,
    sizeVoxels,
    spacingMm,
    prediction: prediction.data,
    reference: reference.data,
  });
  const file = join(folder, overlayFolderName, overlayFileName(result.id, result.task));
  try {
    await mkdir(join(folder, overlayFolderName), { recursive: true });
    await writeFile(file, png);
  } catch (error) {
    throw writeError(file, error);
  }
}

/** Writes evaluation.json and cases.csv. @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeEvaluation(folder: string, evaluation: Evaluation): Promise<void> {
  await writeFileAtomic(join(folder, evaluationFileName), evaluationText(evaluation));
  await writeFileAtomic(join(folder, 'cases.csv'), casesToCsv(evaluation.cases));
}

export function evaluationText(evaluation: Evaluation): string {
  return `${JSON.stringify(evaluation, null, 2)}\n`;
}
