import type { MaskIntensity } from '../inference/measure.js';
import { csvText } from './csv.js';

/** Size and intensities of what was segmented of one task in one scan. */
export interface TaskVolume {
  /** Name after which the scan's outputs are called. */
  readonly id: string;
  /** File or folder that was segmented. */
  readonly input: string;
  readonly task: string;
  readonly voxels: number;
  readonly volumeMl: number;
  /** In the units of the scan; null where there is no voxel. */
  readonly intensity: MaskIntensity | null;
}

const columns = [
  ...['id', 'input', 'task', 'voxels', 'volumeMl'],
  ...['intensityMean', 'intensityStandardDeviation', 'intensityMin', 'intensityMax'],
];

/** One line per scan and task; what a spreadsheet would take for a formula is made harmless. */
export function volumesToCsv(rows: readonly TaskVolume[]): string {
  return csvText([
    columns,
    ...rows.map(({ id, input, task, voxels, volumeMl, intensity }) => [
      ...[id, input, task, voxels, volumeMl],
      ...(intensity === null
        ? ['', '', '', '']
        : [intensity.mean, intensity.standardDeviation, intensity.min, intensity.max]),
    ]),
  ]);
}

/** The same as JSON. */
export function volumesToJson(rows: readonly TaskVolume[]): string {
  return `${JSON.stringify({ format: 1, volumes: rows }, null, 2)}\n`;
}
