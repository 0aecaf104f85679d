import { existsSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { writeFileAtomic } from '../atomic-file.js';
import type { ScanFiles } from '../datasets/scan-files.js';
import { VersemiError } from '../errors.js';
import type { MaskIntensity } from '../inference/measure.js';
import type { TaskPrediction } from '../inference/predict.js';
import { type TaskVolume, volumesToCsv, volumesToJson } from '../reports/volumes.js';
import { type OutputNames, outputsOf, place } from './predict-outputs.js';

/** Parser of `--volumes`, which may be given twice: once for each form. */
export function volumesFile(text: string, previous: string[] = []): string[] {
  if (!['.csv', '.json'].includes(extname(text).toLowerCase()))
    throw new InvalidArgumentError('Expected a file that ends with .csv or .json.');
  return [...previous, text];
}

/**
 * Checks that tables of volumes are written over no scan, no mask and, where scans are passed over, over no earlier table, which
 * has rows of them.
 * @throws VERSEMI_USAGE
 */
export function requireOwnTables(
  files: readonly string[],
  scans: readonly ScanFiles[],
  outputs: OutputNames,
  skipExisting: boolean,
): void {
  const fail = (file: string, expected: string, found: string, remedy: string) => {
    throw new VersemiError('USAGE', { file, field: '--volumes', expected, found, remedy });
  };
  const inputs = scans.flatMap(({ image, modalityFiles }) => [...(modalityFiles?.values() ?? [image])]);
  const others = new Set([...inputs, ...scans.flatMap(({ id }) => outputsOf(outputs, id))].map(place));
  for (const [i, file] of files.entries()) {
    if (others.has(place(file)))
      fail(file, 'a file of its own', 'a scan, or an output of this call', 'Choose another name.');
    if (files.slice(0, i).some((other) => resolve(other) === resolve(file)))
      fail(file, 'files with different names', 'the same twice', 'Name it once.');
    if (skipExisting && existsSync(file))
      fail(
        file,
        'a file that is not there yet, since --skip-existing measures the scans that are left only',
        'a table of an earlier call',
        'Choose another name, or leave --skip-existing out.',
      );
  }
}

/** @returns the row of one mask */
export function volumeRow(
  id: string,
  input: string,
  { task, foregroundVoxels, volumeMl }: TaskPrediction,
  intensity: MaskIntensity | null,
): TaskVolume {
  return { id, input, task, voxels: foregroundVoxels, volumeMl, intensity };
}

/** Writes all rows of a call to each file, in the form that its name ends with. */
export async function writeVolumes(files: readonly string[], rows: readonly TaskVolume[]): Promise<void> {
  for (const file of files)
    await writeFileAtomic(file, extname(file).toLowerCase() === '.csv' ? volumesToCsv(rows) : volumesToJson(rows));
}
