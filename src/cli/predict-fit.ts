import { isHdf5 } from '../datasets/case-files.js';
import { openScan, scanFacts } from '../datasets/load-case.js';
import type { ImageFacts } from '../datasets/read-volume.js';
import { fitsText, type ScanToFit, type TaskFit, taskFits } from '../inference/fit.js';
import { type Segmenter, taskIndices, taskName } from '../inference/segmenter.js';
import { intensityOf } from '../preprocessing/scan-facts.js';
import type { Scan } from '../scans/scan.js';
import type { Source } from './predict-scans.js';

/** The word of `--task` for all tasks, also those whose datasets a scan is unlike. */
export const allTasks = 'all';

/** Tasks that were asked for. */
export interface AskedTasks {
  readonly indices: readonly number[];
  /** False: only those of them are predicted that fit a scan. */
  readonly forced: boolean;
}

/** @param names of `--task` @throws VERSEMI_MODEL_TASK_UNKNOWN */
export function askedTasks(model: Segmenter, names: readonly string[] | undefined): AskedTasks {
  if (names === undefined || names.length === 0) return { indices: taskIndices(model), forced: false };
  const named = taskIndices(
    model,
    names.filter((name) => name !== allTasks),
  );
  const all = names.includes(allTasks) ? taskIndices(model) : [];
  const others = names.every((name) => name === allTasks) ? [] : named;
  return { indices: [...new Set([...all, ...others])], forced: true };
}

/** A source, and which of its tasks fit. */
export interface JudgedSource {
  readonly source: Source;
  /** Of all its tasks. */
  readonly fits: readonly TaskFit[];
  /** Indices of the tasks to predict. */
  readonly tasks: readonly number[];
  /** Its header. */
  readonly facts: ImageFacts;
  /** Its voxels, where they were read. */
  readonly scan?: Scan;
}

/**
 * Compares a source with what the model was trained on: by its header, and by its voxels where the header leaves a task.
 * @param beforeReading is called with the tasks that the header leaves, before voxels are read
 * @param onNotice told what a person should know of the reading
 * @throws what reading throws
 */
export async function judgeSource(
  model: Segmenter,
  source: Source,
  forced: boolean,
  beforeReading: (facts: ImageFacts, tasks: readonly number[]) => void,
  onNotice: (text: string) => void,
): Promise<JudgedSource> {
  const facts = await scanFacts(source.file, source.options);
  const { geometry, modality } = facts;
  const known: ScanToFit = {
    ...{ sizeVoxels: geometry.sizeVoxels, spacingMm: geometry.spacingMm },
    ...(modality === undefined ? {} : { modality }),
    spacingKnown: !isHdf5(source.file) || source.options.spacingMm !== undefined,
  };
  const judge = (scan: ScanToFit, tasks: readonly number[]) =>
    taskFits(
      model,
      scan,
      tasks.map((index) => taskName(model, index)),
    );
  const left = (fits: readonly TaskFit[]) =>
    forced ? source.tasks : source.tasks.filter((_, i) => fits[i]!.misfits.length === 0);
  const byHeader = judge(known, source.tasks);
  if (left(byHeader).length === 0) return { source, fits: byHeader, tasks: [], facts };
  beforeReading(facts, left(byHeader));
  const scan = await openScan(source.file, { ...source.options, onNotice });
  const fits = judge({ ...known, intensity: intensityOf(scan) }, source.tasks);
  return { source, fits, tasks: left(fits), facts, scan };
}

/** What is told of tasks whose datasets a scan is unlike. */
export function fitLines(label: string, fits: readonly TaskFit[], forced: boolean): string[] {
  const unlike = fits.filter(({ misfits }) => misfits.length > 0);
  if (unlike.length === 0) return [];
  if (forced) return [`${label}: the scan is unlike those that the model was trained on for ${fitsText(unlike)}.`];
  const named = unlike.map(({ task, misfits }) => `${task} (${misfits.map(({ field }) => field).join(', ')})`);
  return [
    `${label}: not predicted, as the scan is unlike those that they were trained on: ${named.join(', ')}. --task ${allTasks} predicts them too.`,
  ];
}

/** What the model's file does not record of the datasets of these tasks, so that it cannot be compared. */
export function unrecordedLine({ plan }: Segmenter, tasks: readonly number[]): string[] {
  const datasets = new Set(tasks.flatMap((index) => plan.tasks[index]?.dataset ?? []));
  const without = plan.datasets.filter(({ name, scans }) => datasets.has(name) && scans === undefined);
  if (without.length === 0) return [];
  return [
    `The model does not record what the scans of ${without.map(({ name }) => name).join(', ')} were like: whether a scan fits in spacing and field of view is not checked.`,
  ];
}
