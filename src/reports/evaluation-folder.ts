import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { writeFileAtomic } from '../atomic-file.js';
import { fileNameOf } from '../file-name.js';
import type { CaseOutcome, Evaluation } from '../inference/evaluate.js';
import type { Scan } from '../scans/scan.js';
import { casesToCsv } from './cases-csv.js';
import { type OverlayInput, renderOverlay } from './overlay.js';
import { encodePng } from './png.js';

/** Names inside the folder of an evaluation. */
export const evaluationFileName = 'evaluation.json';
export const overlayFolderName = 'overlays';

/** Writes the overlay of one outcome into the folder of an evaluation. @returns its file @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED */
export async function writeOverlay(
  folder: string,
  { result, image, prediction, reference }: CaseOutcome,
): Promise<string> {
  const { sizeVoxels, spacingMm } = image;
  const png = overlayPng({
    image: voxelsOf(image),
    sizeVoxels,
    spacingMm,
    prediction: prediction.toCanonical().data,
    reference: reference.toCanonical().data,
  });
  const file = join(folder, overlayFolderName, overlayFileName(result.id, result.task));
  await writeFileAtomic(file, [png]);
  return file;
}

/** Values of a scan by the index of their voxel; the slice asked for last is kept. */
function voxelsOf({ sizeVoxels, slope = 1, intercept = 0, slices }: Scan): { at(voxel: number): number } {
  const plane = sizeVoxels[0] * sizeVoxels[1];
  let held = { z: -1, voxels: slices(0, 1) };
  return {
    at(voxel) {
      const z = Math.floor(voxel / plane);
      if (held.z !== z) held = { z, voxels: slices(z, z + 1) };
      return held.voxels[voxel - z * plane]! * slope + intercept;
    },
  };
}

/**
 * Writes evaluation.json and cases.csv; of a part of an evaluation, evaluation-3-of-8.json and cases-3-of-8.csv.
 * @throws VERSEMI_DISK_FULL, VERSEMI_IO_FAILED
 */
export async function writeEvaluation(folder: string, evaluation: Evaluation): Promise<void> {
  const { part, cases } = evaluation;
  const ofPart = part === undefined ? '' : `-${part.index}-of-${part.count}`;
  await writeFileAtomic(join(folder, evaluationFileName.replace('.', `${ofPart}.`)), evaluationText(evaluation));
  await writeFileAtomic(join(folder, `cases${ofPart}.csv`), casesToCsv(cases));
}

export function evaluationText(evaluation: Evaluation): string {
  return `${JSON.stringify(evaluation, null, 2)}\n`;
}

/** A PNG of the overlay of a case. */
export function overlayPng(input: OverlayInput): Uint8Array {
  const { width, height, rgb } = renderOverlay(input);
  return encodePng(width, height, rgb, (bytes) => deflateSync(bytes, { level: 9 }));
}

/** File name of the overlay of a case and task. */
export function overlayFileName(id: string, task: string): string {
  return fileNameOf(`${id}_${task}.png`);
}
