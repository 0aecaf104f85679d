import { existsSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import type { Plan } from '../config/plan.js';
import { imageFacts, writeNifti } from '../datasets/read-volume.js';
import type { ScanFiles } from '../datasets/scan-files.js';
import type { LeftOut } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { fileNameOf } from '../file-name.js';
import type { TaskFit } from '../inference/fit.js';
import { labelMaps, paintedTasks, requireValues } from '../inference/label-map.js';
import type { MaskIntensity } from '../inference/measure.js';
import type { TaskPrediction } from '../inference/predict.js';
import { syntheticTaskName } from '../inference/segmenter.js';
import { isPerTask, type MaskFormat, objectFile, taskFile } from './predict-formats.js';

/** Where the outputs of scans go, and which there are. */
export interface OutputNames {
  readonly folder: string;
  /** Names of the tasks whose masks are written. */
  readonly tasks: readonly string[];
  /** Datasets of which a label map is written. */
  readonly labelMaps: readonly string[];
  readonly formats: readonly MaskFormat[];
}

/** A label map; its JSON has the same name but for the ending. */
function labelMapFile({ folder }: Pick<OutputNames, 'folder'>, id: string, dataset: string): string {
  return join(folder, fileNameOf(`${id}_${dataset}-labels.nii.gz`));
}

export function labelNamesFile(labelMap: string): string {
  return labelMap.replace(/\.nii\.gz$/, '.json');
}

/** Files that are written for a scan. */
export function outputsOf(names: OutputNames, id: string): string[] {
  const maps = names.labelMaps.map((dataset) => labelMapFile(names, id, dataset));
  const masks = names.formats.flatMap((format) =>
    isPerTask(format)
      ? names.tasks.map((task) => taskFile(names.folder, id, task, format))
      : [objectFile(names.folder, id, format)],
  );
  return [...masks, ...maps, ...maps.map(labelNamesFile)];
}

/**
 * Datasets of which there will be a label map.
 * @param tasks names of the tasks asked for
 * @throws VERSEMI_USAGE when none of the tasks has a value, VERSEMI_PLAN_CONTRADICTION when two have the same
 */
export function datasetsOfMaps(plan: Plan, tasks: readonly string[]): string[] {
  const datasets = [...new Set(plan.tasks.filter(({ name }) => tasks.includes(name)).map(({ dataset }) => dataset))];
  if (datasets.length === 0) {
    throw new VersemiError('USAGE', {
      field: '--label-map',
      expected: 'a task of a dataset, whose labels have values',
      found: syntheticTaskName,
      remedy: 'Leave --label-map out, or name other tasks (--task).',
    });
  }
  for (const dataset of datasets)
    requireValues(
      dataset,
      paintedTasks(plan, dataset).filter(({ task }) => tasks.includes(task)),
    );
  return datasets;
}

/** A mask, the file that was segmented, and how alike it is to what the task was trained on. */
export interface MadeMask {
  readonly input: string;
  readonly prediction: TaskPrediction;
  readonly intensity: MaskIntensity | null;
  readonly fit: TaskFit;
}

/** A label map that was written. */
export interface WrittenMap {
  readonly input: string;
  readonly output: string;
  readonly dataset: string;
  readonly contestedVoxels: number;
}

/** Writes the label maps of one scan, each with the names of its values in a JSON file beside it. */
export async function writeLabelMaps(
  plan: Plan,
  made: readonly MadeMask[],
  names: OutputNames,
  id: string,
): Promise<WrittenMap[]> {
  const written: WrittenMap[] = [];
  const maps = labelMaps(
    plan,
    made.map(({ prediction }) => prediction),
  );
  for (const map of maps) {
    const { dataset, painted } = map;
    const output = labelMapFile(names, id, dataset);
    const contestedVoxels = map.contested();
    const labels = { 0: 'background', ...Object.fromEntries(painted.map(({ value, task }) => [value, task])) };
    const text = JSON.stringify(
      { dataset, labels, painted: painted.map(({ task }) => task), contestedVoxels },
      null,
      2,
    );
    await writeFileAtomic(labelNamesFile(output), `${text}\n`);
    await writeNifti(output, map);
    const { input } = made.find(({ prediction }) => prediction.task === painted[0]!.task)!;
    written.push({ input, output, dataset, contestedVoxels });
  }
  return written;
}

/**
 * Takes out of the scans what an earlier call with the same folder of outputs has written beside them.
 * @param every all outputs that this model could write
 */
export async function withoutEarlierOutputs(
  scans: readonly ScanFiles[],
  every: OutputNames,
): Promise<{ readonly scans: ScanFiles[]; readonly leftOut: LeftOut[] }> {
  const folder = place(every.folder);
  const sources = new Map<string, ScanFiles>();
  for (const scan of scans) for (const file of outputsOf(every, scan.id)) sources.set(place(file), scan);
  const kept: ScanFiles[] = [];
  const leftOut: LeftOut[] = [];
  for (const scan of scans) {
    const source = place(dirname(scan.image)) === folder ? sources.get(place(scan.image)) : undefined;
    if (source !== undefined && (await isMaskOf(scan.image, source.image)))
      leftOut.push({ file: scan.image, reason: `an earlier output of ${source.id}` });
    else kept.push(scan);
  }
  return { scans: kept, leftOut };
}

/** One byte per voxel, as many voxels as the scan. What cannot be read is no mask. */
async function isMaskOf(file: string, scan: string): Promise<boolean> {
  try {
    const [mask, source] = await Promise.all([imageFacts(file), imageFacts(scan)]);
    const same = mask.geometry.sizeVoxels.every((size, axis) => size === source.geometry.sizeVoxels[axis]);
    return same && mask.bytesPerVoxel === 1;
  } catch {
    return false;
  }
}

/**
 * Checks that no output is written over another one, nor over a scan.
 * @throws VERSEMI_USAGE
 */
export function requireOwnOutputs(scans: readonly ScanFiles[], names: OutputNames): void {
  const inputs = new Map<string, string>();
  for (const { image, modalityFiles } of scans)
    for (const file of modalityFiles?.values() ?? [image]) inputs.set(place(file), file);
  const writers = new Map<string, ScanFiles>();
  for (const scan of scans) {
    for (const file of outputsOf(names, scan.id)) {
      const input = inputs.get(place(file));
      if (input !== undefined) {
        throw new VersemiError('USAGE', {
          field: '--out',
          expected: 'outputs that are written over no scan',
          found: `${input}, which is a scan and where a mask of ${scan.image} would be written`,
          remedy: 'Choose another folder for --out.',
        });
      }
      const other = writers.get(place(file));
      if (other !== undefined) {
        throw new VersemiError('USAGE', {
          field: 'input',
          expected: 'images whose masks have different names',
          found:
            other === scan
              ? `${file} twice for ${scan.image}, as two tasks or a task and a label map are called alike`
              : `${other.image} and ${scan.image}, both of which would write ${file}`,
          remedy: other === scan ? 'Name the tasks (--task).' : 'Name them in two calls with different --out folders.',
        });
      }
      writers.set(place(file), scan);
    }
  }
}

/** Path without links, also of a file that is not there yet. */
export function place(file: string): string {
  const path = resolve(file);
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(path);
  return folder === path ? path : join(place(folder), path.slice(folder.length));
}
