import type { ScanRanges } from '../config/facts-schema.js';
import type { PlanDataset } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { airHu, extentMm, type ScanFacts } from '../preprocessing/scan-facts.js';
import { membersOf, type Segmenter, taskIndices, taskName } from './segmenter.js';

/** What is known of a scan before it is segmented. */
export interface ScanToFit extends ScanFacts {
  /** As DICOM names it; absent where the file names none. */
  readonly modality?: string;
  /** False: the file stores no spacing, and nobody said it. */
  readonly spacingKnown?: boolean;
}

/** Everything that is compared, in the order in which it is told. */
export const fitFields = ['modality', 'spacing', 'field of view', 'intensity'] as const;
/** What is compared between a scan and the scans that a model was trained on. */
export type FitField = (typeof fitFields)[number];

/** In what a scan is unlike those that a task was trained on. Lengths are left-right x back-front x feet-head. */
export interface Misfit {
  readonly field: FitField;
  readonly expected: string;
  readonly found: string;
}

/** Whether a scan is like those of the dataset of a task. */
export interface TaskFit {
  readonly task: string;
  readonly dataset: string;
  /** Empty: nothing speaks against it. */
  readonly misfits: readonly Misfit[];
  /** What could not be compared, as the model or the scan does not say it. */
  readonly unchecked: readonly FitField[];
}

/** A scan may be so many times coarser than the coarsest of the dataset. What is finer is resampled, and fits. */
const coarsest = 2;
/** A field of view may be so many times smaller or larger than the smallest and the largest of the dataset: a few cases tell little of both. */
function extentRange(cases: number): number {
  return 1.5 + 4 / cases;
}
/** Intensities may spread over so small a share of what they do in the scan of the dataset that has the least contrast. */
const leastContrast = 1 / 4;
/** Fat, and whatever is lighter, lies below it in Hounsfield units: a scan of a body that has nothing there is not in these units. */
const fatHu = -50;

/**
 * Compares a scan with what the model records of the scans of each task's dataset: modality, spacing, field of view, and intensities
 * where their scale counts. It judges whether a task makes sense on a scan, not how well it is done. Tasks without a dataset of their own
 * (`any-foreground`) fit every scan. Of several models (`ensembleOf`) the first counts whose scans it is unlike.
 * @param scan canonical (RAS+); without `intensity` what follows from the values is not compared
 * @param tasks names; default: every real task of the model
 * @throws VERSEMI_MODEL_TASK_UNKNOWN
 */
export function taskFits(
  model: Pick<Segmenter, 'plan' | 'others'>,
  scan: ScanToFit,
  tasks?: readonly string[],
): TaskFit[] {
  const [own, ...others] = membersOf<Pick<Segmenter, 'plan'>>(model).map((member) => fitsOf(member, scan, tasks));
  return own!.map((fit, i) => {
    const misfit = [fit, ...others.map((fits) => fits[i]!)].find(({ misfits }) => misfits.length > 0);
    return { ...fit, misfits: misfit?.misfits ?? [] };
  });
}

function fitsOf(model: Pick<Segmenter, 'plan'>, scan: ScanToFit, tasks?: readonly string[]): TaskFit[] {
  const judged = new Map<string, Pick<TaskFit, 'misfits' | 'unchecked'>>();
  return taskIndices(model, tasks).map((index) => {
    const task = taskName(model, index);
    const dataset = model.plan.datasets.find(({ name }) => name === model.plan.tasks[index]?.dataset);
    if (dataset === undefined) return { task, dataset: '', misfits: [], unchecked: [...fitFields] };
    const known = judged.get(dataset.name) ?? judge(dataset, scan);
    judged.set(dataset.name, known);
    return { task, dataset: dataset.name, ...known };
  });
}

function judge(dataset: PlanDataset, scan: ScanToFit): Pick<TaskFit, 'misfits' | 'unchecked'> {
  const verdicts: readonly (readonly [FitField, Verdict])[] = [
    ['modality', modality(dataset, scan)],
    ['spacing', spacing(dataset, scan)],
    ['field of view', extent(dataset, scan)],
    ['intensity', intensity(dataset, scan)],
  ];
  return {
    misfits: verdicts.flatMap(([field, verdict]) => (typeof verdict === 'object' ? [{ field, ...verdict }] : [])),
    unchecked: verdicts.flatMap(([field, verdict]) => (verdict === 'unknown' ? [field] : [])),
  };
}

type Verdict = 'fits' | 'unknown' | Omit<Misfit, 'field'>;

/** Words of DICOM that do not say how an image was made. */
const noModality = new Set(['', 'OT', 'SC']);

function modality({ name, preprocessing, scans }: PlanDataset, scan: ScanToFit): Verdict {
  const trained = modalityOfDataset(preprocessing, scans);
  const said = scan.modality !== undefined && !noModality.has(scan.modality) ? scan.modality : undefined;
  if (said !== undefined) {
    if (trained === undefined) return 'unknown';
    return said === trained ? 'fits' : { expected: `${trained}, as ${name} is`, found: said };
  }
  if (scan.intensity === undefined) return 'unknown';
  const { percentile005 } = scan.intensity;
  if (percentile005 > airHu) return 'unknown'; // A CT without air has no mark by which its values show it.
  if (trained === 'CT') return 'fits';
  // Of a dataset whose modality nobody said, no scan had air in Hounsfield units, or CT would be recorded.
  if (trained === undefined && (scans?.percentile005 === undefined || scans.percentile005[0] <= airHu))
    return 'unknown';
  return {
    expected:
      trained === undefined ? `values as in ${name}, without air in Hounsfield units` : `${trained}, as ${name} is`,
    found: `air in Hounsfield units, as CT has (0.5 percentile ${short(percentile005)})`,
  };
}

/** A window that begins below zero is one of Hounsfield units, whoever wrote the plan. */
function modalityOfDataset({ window }: PlanDataset['preprocessing'], scans: ScanRanges | undefined) {
  return scans?.modality ?? (window !== null && window[0] < 0 ? 'CT' : undefined);
}

function spacing({ name, scans }: PlanDataset, { spacingMm, spacingKnown = true }: ScanToFit): Verdict {
  if (scans?.spacingMm === undefined || !spacingKnown) return 'unknown';
  const [low, high] = scans.spacingMm;
  if (spacingMm.every((value, axis) => value <= coarsest * high[axis]!)) return 'fits';
  return {
    expected: `at most ${coarsest} times the spacing of ${name}, ${ranges(low, high)} mm`,
    found: sides(spacingMm),
  };
}

function extent({ name, scans }: PlanDataset, scan: ScanToFit): Verdict {
  if (scans?.extentMm === undefined || scan.spacingKnown === false) return 'unknown';
  const [low, high] = scans.extentMm;
  const found = extentMm(scan);
  const times = extentRange(scans.cases);
  if (found.every((value, axis) => value >= low[axis]! / times && value <= high[axis]! * times)) return 'fits';
  return { expected: `within ${short(times)} times of ${name}, ${ranges(low, high)} mm`, found: sides(found) };
}

function intensity({ name, preprocessing, scans }: PlanDataset, scan: ScanToFit): Verdict {
  // Where every scan gets a mean and a spread of its own, its scale does not count.
  if (preprocessing.window === null && preprocessing.normalization !== 'none') return 'fits';
  if (scan.intensity === undefined) return 'unknown';
  const { percentile005, percentile995 } = scan.intensity;
  const found = `${short(percentile005)} to ${short(percentile995)} (0.5 to 99.5 percentile)`;
  if (modalityOfDataset(preprocessing, scans) === 'CT') {
    const withFat = scans?.percentile005 === undefined || scans.percentile005[1] <= fatHu;
    if (withFat && percentile005 > fatHu)
      return { expected: `Hounsfield units, as ${name} has, in which fat and air lie below ${fatHu}`, found };
  }
  if (scans?.percentile005 === undefined || scans.percentile995 === undefined) return 'unknown';
  const [low, high] = [scans.percentile005, scans.percentile995];
  // What a window cuts off has no part in the contrast.
  const cut = (value: number) =>
    preprocessing.window === null ? value : Math.min(Math.max(value, preprocessing.window[0]), preprocessing.window[1]);
  const apart = percentile995 < low[0] || percentile005 > high[1];
  const flat = cut(percentile995) - cut(percentile005) < leastContrast * (cut(high[0]) - cut(low[1]));
  if (!apart && !flat) return 'fits';
  return { expected: `intensities as in ${name}, from ${range(low[0], low[1])} to ${range(high[0], high[1])}`, found };
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}

function range(low: number, high: number): string {
  return short(low) === short(high) ? short(low) : `${short(low)}–${short(high)}`;
}

/** Smallest and largest along three axes. */
export function ranges(low: readonly number[], high: readonly number[]): string {
  return low.map((value, axis) => range(value, high[axis]!)).join(' x ');
}

function sides(values: readonly number[]): string {
  return `${values.map(short).join(' x ')} mm`;
}

/** One sentence part about what speaks against a task. */
export function misfitText(misfits: readonly Misfit[]): string {
  return misfits.map(({ field, expected, found }) => `${field}: expected ${expected}, found ${found}`).join('; ');
}

/** The same of several tasks, those of one dataset together. */
export function fitsText(fits: readonly TaskFit[]): string {
  const datasets = [...new Set(fits.map(({ dataset }) => dataset))];
  const hasLengths = fits.some(({ misfits }) => misfits.some(({ found }) => found.endsWith(' mm')));
  const axes = hasLengths ? ' [lengths are left-right x back-front x feet-head]' : '';
  const texts = datasets.map((name) => {
    const of = fits.filter(({ dataset }) => dataset === name);
    return `${of.map(({ task }) => task).join(', ')} (${misfitText(of[0]!.misfits)})`;
  });
  return `${texts.join('; ')}${axes}`;
}

/** The error of a scan that no task fits. @param file of the scan @param fits all with misfits */
export function noTaskFits(file: string, fits: readonly TaskFit[]): VersemiError {
  return new VersemiError('SCAN_UNLIKE_DATASETS', {
    file,
    field: 'task',
    expected: 'a scan like those that the model was trained on',
    found: `none of its tasks fits: ${fitsText(fits)}`,
    remedy: 'Name the task that is meant all the same (--task NAME), or force all tasks (--task all).',
  });
}
