import { type Plan, type PlanTask, parsePlan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { someOf } from '../list-text.js';
import { anatomyOf } from './anatomy.js';
import { intensitySpread, makeAugmentation } from './augmentation.js';
import {
  coverageOf,
  leastCoverage,
  makeBudget,
  makeSpacing,
  medianSize,
  type PlanningOptions,
  percent,
} from './budget.js';
import { type DatasetFingerprint, type Fingerprint, medianOf, planName } from './fingerprint.js';
import {
  completePlan,
  defaultMethod,
  hasSeveralTasks,
  labeledOnly,
  type Method,
  type MethodRow,
  methodRow,
  usesUnlabeled,
} from './methods.js';
import { largestShare } from './pieces.js';

export type { PlanningOptions } from './budget.js';

/** Share of the voxels of a task, or of all tasks of a dataset, that the largest component must hold so that the others can be left out. */
const leastLargestShare = 0.95;

/** Why a field of the plan is what it is. */
export interface Explanation {
  readonly field: string;
  readonly value: string;
  readonly reason: string;
}

/** A plan, and why it is as it is. */
export interface PlanningResult {
  /** Complete: every field explicit. */
  readonly plan: Plan;
  readonly explanations: readonly Explanation[];
}

/**
 * Derives a plan from a fingerprint. Spacing, window, normalisation per dataset; patch, width, batch and steps for all,
 * since one network serves all datasets.
 * @throws VERSEMI_DATASET_INVALID when there is nothing labelled to make a task of; VERSEMI_SPLIT_INVALID for a method that
 *   needs unlabelled cases where there are none
 */
export function makePlan(fingerprint: Fingerprint, options: PlanningOptions = {}): PlanningResult {
  const explanations: Explanation[] = [];
  const explain = (field: string, value: unknown, reason: string) => {
    explanations.push({ field, value: typeof value === 'string' ? value : JSON.stringify(value), reason });
  };
  for (const [index, dataset] of fingerprint.datasets.entries())
    explain(`datasets[${index}]`, dataset.name, casesOf(dataset));
  const tasks = makeTasks(fingerprint, options, explain);
  const spacings = fingerprint.datasets.map((dataset) => makeSpacing(dataset, options));
  const budget = makeBudget(fingerprint, spacings, tasks.length + 1, options);
  const { network, patch } = budget;
  for (const { field, value, reason } of budget.explanations) explain(field, value, reason);

  const datasets = fingerprint.datasets.map((dataset, index) => {
    const spacing = budget.spacings[index]!;
    explain(`datasets[${index}].preprocessing.spacingMm`, spacing.spacingMm, spacing.reason);
    return {
      name: dataset.name,
      path: dataset.path,
      format: dataset.format,
      ...(dataset.keys === undefined ? {} : { keys: dataset.keys }),
      ...(dataset.filesOutside === undefined ? {} : { filesOutside: dataset.filesOutside }),
      channel: dataset.channel,
      // A dataset without a task serves as a source of unlabelled images.
      split: tasks.some((task) => task.dataset === dataset.name) ? dataset.split : { ...dataset.split, labeled: [] },
      preprocessing: {
        spacingMm: spacing.spacingMm,
        ...makeIntensities(dataset, index, explain),
        targets: 'fractions' as const,
      },
      scans: dataset.scans,
    };
  });
  const coverage = Math.min(
    ...fingerprint.datasets.map((dataset, i) => coverageOf(dataset, budget.spacings[i]!.spacingMm, patch)),
  );
  const foregroundFraction = coverage < leastCoverage ? 0.33 : 0;
  explain(
    'augmentation.foregroundFraction',
    foregroundFraction,
    `a patch sees ${percent(coverage)} of a case of the largest dataset${
      foregroundFraction > 0 ? ': without it most patches would hold no foreground' : ''
    }`,
  );
  explain(
    'datasets[].preprocessing.targets',
    'fractions',
    'a label per voxel of a coarser grid loses the rim of what is thin or convex',
  );
  const several = hasSeveralTasks({ datasets, tasks });
  const grids = fingerprint.datasets.map((dataset, i) => {
    const { spacingMm } = budget.spacings[i]!;
    return {
      name: dataset.name,
      intensitySpread: intensitySpread(dataset, datasets[i]!.preprocessing.normalization),
      spacingMm,
      sizeVoxels: medianSize(dataset, spacingMm),
    };
  });
  const augmentation = makeAugmentation(grids, patch, tasks, options, explain);
  const scattered = scatteredTasks(fingerprint, tasks);
  const fixed = {
    version: 1,
    name: options.name ?? 'plan',
    seed: options.seed ?? 0,
    datasets: datasets.map((dataset, index) => ({ ...dataset, ...augmentation.own[index] })),
    tasks,
    network,
    patchSizeVoxels: patch,
    augmentation: { ...augmentation.all, foregroundFraction },
    inference: { network: 'ema', ...componentsOf(fingerprint, tasks, scattered, explain) },
  };
  explain('inference.network', fixed.inference.network, 'the average of the last weights: single steps count less');
  // The paper trains at one rate; a run that has to end in time ends with small steps.
  const [schedule, scheduleReason] =
    options.minutes === undefined
      ? (['constant', 'as in the paper'] as const)
      : (['polynomial', 'the last steps are small'] as const);
  explain('training.schedule', schedule, scheduleReason);
  const method = chooseMethod(options.method, budget.unlabeled);
  const facts = { several, inOnePiece: scattered.length === 0 };
  const { plan, fields } = completePlan(method, budget.passes, facts, ({ training, ...others }) =>
    parsePlan({ ...fixed, ...others, training: { ...training, ...budget.training, schedule } }),
  );
  explainMethod(method, fields, budget.stepReason, several, scattered, explain);
  return { plan, explanations };
}

/**
 * The method of a plan.
 * @throws VERSEMI_SPLIT_INVALID for one that needs unlabelled cases where there are none
 */
function chooseMethod(asked: Method | undefined, unlabeled: boolean): MethodRow {
  if (asked === undefined) return unlabeled ? methodRow(defaultMethod) : labeledOnly(methodRow(defaultMethod));
  if (usesUnlabeled(asked) && !unlabeled)
    throw new VersemiError('SPLIT_INVALID', {
      field: 'datasets[].split.unlabeled',
      expected: `unlabelled cases, which the method ${asked} learns from`,
      found: 'none in any dataset',
      remedy: 'Add unlabelled cases, or plan with the method supervised-cutmix.',
    });
  return methodRow(asked);
}

/** Says what the method of a plan set. */
function explainMethod(
  { name, explanation }: MethodRow,
  { training, losses, cutmix }: ReturnType<typeof completePlan>['fields'],
  stepReason: string,
  several: boolean,
  scattered: readonly string[],
  explain: Explain,
): void {
  explain('method', name, explanation);
  explain('training.mode', training.mode, 'by the method');
  explain('training.stage1Steps', training.stage1Steps, stepReason);
  const unused = training.stage2Steps === 0;
  explain('training.stage2Steps', training.stage2Steps, unused ? 'no unlabelled case is used' : stepReason);
  explain(
    'training.promptsPerImage',
    training.promptsPerImage,
    several ? 'a dataset has several tasks; by the method' : 'every dataset has one task',
  );
  for (const [field, value] of Object.entries(losses)) {
    const isKept = field !== 'largestComponent' || scattered.length === 0;
    explain(`losses.${field}`, value, isKept ? 'by the method' : `not as the method has it: ${scattered.join(', ')}`);
  }
  for (const [field, value] of Object.entries(cutmix)) explain(`cutmix.${field}`, value, 'by the method');
}

/** The tasks that do not come in one piece, or of which nobody knows: the largest component alone would forget the rest. */
function scatteredTasks(fingerprint: Fingerprint, tasks: readonly PlanTask[]): string[] {
  return tasks.flatMap(({ name, dataset, labels }) => scatteredLabels(fingerprint, name, dataset, labels));
}

/** @param name what the labels are together. @returns nothing where they come in one piece */
function scatteredLabels(
  { datasets }: Fingerprint,
  name: string,
  dataset: string,
  labels: readonly number[],
): string[] {
  const { pieces = [] } = datasets.find((one) => one.name === dataset)!;
  const share = largestShare(pieces, labels);
  if (share === undefined) return [`pieces of ${name} were not counted`];
  return share < leastLargestShare ? [`the largest piece of ${name} holds ${percent(share)} of it`] : [];
}

/** Which components of a prediction are kept. */
function componentsOf(
  fingerprint: Fingerprint,
  tasks: readonly PlanTask[],
  scattered: readonly string[],
  explain: Explain,
): Pick<Plan['inference'], 'largestComponent' | 'largestComponentOf'> {
  const largestComponent = scattered.length === 0;
  explain(
    'inference.largestComponent',
    largestComponent,
    largestComponent ? 'every task comes in one piece in the labelled cases' : scattered.join(', '),
  );
  if (!largestComponent) return { largestComponent, largestComponentOf: 'task' };
  const shared = fingerprint.datasets
    .map(({ name }) => ({ name, own: tasks.filter(({ dataset }) => dataset === name) }))
    .filter(({ own }) => own.length > 1);
  const apart = shared.flatMap(({ name, own }) =>
    scatteredLabels(fingerprint, `all tasks of ${name}`, name, [...new Set(own.flatMap(({ labels }) => labels))]),
  );
  const largestComponentOf = shared.length > 0 && apart.length === 0 ? 'dataset' : 'task';
  if (shared.length > 0)
    explain(
      'inference.largestComponentOf',
      largestComponentOf,
      apart.length === 0
        ? 'the tasks of a dataset are one piece together: a spot far from it is none'
        : apart.join(', '),
    );
  return { largestComponent, largestComponentOf };
}

type Explain = (field: string, value: unknown, reason: string) => void;

function makeTasks({ datasets }: Fingerprint, { mergeLabels = false }: PlanningOptions, explain: Explain): PlanTask[] {
  const tasks = datasets.flatMap(({ name, classes, regions }): PlanTask[] => {
    if (classes.length === 0) return [];
    const merge = typeof mergeLabels === 'boolean' ? mergeLabels : mergeLabels.includes(name);
    // Labels that are merged are no longer what the name of one of them says.
    if (merge || classes.length === 1) {
      const known = classes.length === 1 ? anatomyOf(classes[0]!.name) : undefined;
      return [{ name: planName(name), dataset: name, labels: classes.map(({ value }) => value), ...known }];
    }
    if (regions !== undefined) {
      const found = regions.filter(({ labels }) => classes.some(({ value }) => labels.includes(value)));
      return found.map((region) => ({
        name: planName(`${name}-${region.name}`),
        dataset: name,
        labels: [...region.labels],
        ...(region.writtenAs === undefined ? {} : { writtenAs: region.writtenAs }),
        ...anatomyOf(region.name),
      }));
    }
    return classes.map((one) => ({
      ...{ name: planName(`${name}-${one.name}`), dataset: name, labels: [one.value] },
      ...anatomyOf(one.name),
    }));
  });
  if (tasks.length === 0) {
    throw new VersemiError('DATASET_INVALID', {
      field: 'labels',
      expected: 'at least one labelled case with a foreground voxel',
      found: datasets.map((dataset) => `none in ${dataset.path} (${casesOf(dataset)})`).join(', '),
      remedy: 'Add labels, or name labelled cases in the split.',
    });
  }
  explain(
    'tasks',
    tasks.map(({ name }) => name),
    mergeLabels !== false
      ? 'labels merged as asked'
      : datasets.some(({ regions }) => regions !== undefined)
        ? 'one per region, or per label where dataset.json has no regions'
        : 'one per label',
  );
  const coded = tasks.flatMap(({ name, code }) => (code === undefined ? [] : [`${name}: ${code.meaning}`]));
  if (coded.length > 0)
    explain(
      'tasks[].code',
      coded,
      'what the names of the labels mean in SNOMED CT, for DICOM objects; colours likewise',
    );
  return tasks;
}

/** Files named one by one in an explanation. */
const mostNamedFiles = 5;

/** How many cases there are of each kind, and what belongs to none: what is missing here was not found. */
function casesOf(dataset: DatasetFingerprint): string {
  const { totalCases, labeledCases, unlabeledCases, validationCases, leftOut, remarks = [], ignoredLabel } = dataset;
  const kinds = [`${labeledCases} labelled`, `${unlabeledCases} unlabelled`, `${validationCases} for validation`];
  const unused = totalCases - labeledCases - unlabeledCases - validationCases;
  if (unused > 0) kinds.push(`${unused} unused`);
  const ignored = ignoredLabel === undefined ? '' : `; voxels of label ${ignoredLabel} are ignored`;
  const files = leftOut.map(({ file, reason }) => `${file} (${reason})`);
  const left = leftOut.length === 0 ? '' : `; ${leftOut.length} left out: ${someOf(files, mostNamedFiles)}`;
  const said = remarks.map((text) => `; ${text}`).join('');
  return `${totalCases} cases: ${kinds.join(', ')}${ignored}${left}${said}`;
}

function makeIntensities(
  dataset: DatasetFingerprint,
  index: number,
  explain: Explain,
): Pick<Plan['datasets'][number]['preprocessing'], 'window' | 'normalization' | 'crop'> {
  const at = `datasets[${index}].preprocessing`;
  const { modality, modalityReason, foreground, cases } = dataset;
  if (modality === 'CT') {
    const intensities = foreground === null ? cases.map(({ intensity }) => intensity) : [foreground];
    const low = medianOf(intensities.map(({ percentile005 }) => percentile005));
    const high = medianOf(intensities.map(({ percentile995 }) => percentile995));
    const window: [number, number] = [
      Math.floor(low / 10) * 10,
      Math.max(Math.ceil(high / 10) * 10, Math.floor(low / 10) * 10 + 10),
    ];
    const of = foreground === null ? 'all voxels, since nothing is labelled' : 'the foreground';
    explain(`${at}.window`, window, `0.5 to 99.5 percentile of ${of}, in tens; CT: ${modalityReason}`);
    explain(`${at}.normalization`, 'zscore', 'after the window');
    explain(`${at}.crop`, 'body', 'air round the body teaches nothing');
    return { window, normalization: 'zscore', crop: 'body' };
  }
  const zeros = medianOf(cases.map(({ zeroFraction }) => zeroFraction));
  const normalization = zeros > 0.25 ? 'zscore-nonzero' : 'zscore';
  explain(`${at}.window`, null, `no fixed scale of intensities; MR: ${modalityReason}`);
  explain(`${at}.normalization`, normalization, `${percent(zeros)} of the voxels are exactly 0 (median)`);
  return { window: null, normalization, crop: 'none' };
}
