import { type Plan, type PlanTask, parsePlan } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import { coverageOf, leastCoverage, makeBudget, makeSpacing, type PlanningOptions, percent } from './budget.js';
import { type DatasetFingerprint, type Fingerprint, medianOf, planName } from './fingerprint.js';

export type { PlanningOptions } from './budget.js';

/** What `versemi plan` writes as `preprocessing.targets` of every dataset. */
const derivedTargets: Plan['datasets'][number]['preprocessing']['targets'] = 'labels';

/** Why a field of the plan is what it is. */
export interface Explanation {
  readonly field: string;
  readonly value: string;
  readonly reason: string;
}

export interface PlanningResult {
  /** Complete: every field explicit. */
  readonly plan: Plan;
  readonly explanations: readonly Explanation[];
}

/**
 * Derives a plan from a fingerprint. Spacing, window, normalisation per dataset; patch, width, batch and steps for all,
 * since one network serves all datasets.
 * @throws VERSEMI_DATASET_INVALID when there is nothing labelled to make a task of
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
  const { network, patch, training } = budget;
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
        targets: derivedTargets,
      },
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
  const beyond = makeBeyondPaper(fingerprint, tasks, training, explain);
  const plan = parsePlan({
    version: 1,
    name: options.name ?? 'plan',
    seed: options.seed ?? 0,
    datasets,
    tasks,
    network,
    patchSizeVoxels: patch,
    training: { ...training, ...beyond.training },
    losses: beyond.losses,
    augmentation: { foregroundFraction },
  });
  return { plan, explanations };
}

/**
 * Options that the paper does not have and that gave better models on real scans (README, real scans): the teacher where there are
 * unlabelled cases, and all prompts of an image where a dataset has several tasks.
 */
function makeBeyondPaper(
  { datasets }: Fingerprint,
  tasks: readonly PlanTask[],
  { mode = 'semi-supervised', stage2Steps = 0 }: Partial<Plan['training']>,
  explain: Explain,
) {
  const several = datasets.some(({ name }) => tasks.filter(({ dataset }) => dataset === name).length > 1);
  const taught = mode === 'semi-supervised' && stage2Steps > 0;
  const unsupervisedRampSteps = taught ? Math.round(stage2Steps / 5) : 0;
  explain(
    'training.promptsPerImage',
    several ? 'all' : 'one',
    several
      ? 'a dataset has several tasks: each is in every step, for the cost of a small head'
      : 'every dataset has one task',
  );
  explain(
    'losses.teacher',
    taught ? 1 : 0,
    taught
      ? 'better on real scans than the terms of the paper alone'
      : mode === 'supervised'
        ? 'only labelled cases are used'
        : 'there are no unlabelled cases',
  );
  if (taught)
    explain(
      'losses.unsupervisedRampSteps',
      unsupervisedRampSteps,
      'a fifth of the stage: the teacher is weak at first',
    );
  return {
    training: { promptsPerImage: several ? ('all' as const) : ('one' as const) },
    losses: { teacher: taught ? 1 : 0, unsupervisedRampSteps },
  };
}

type Explain = (field: string, value: unknown, reason: string) => void;

function makeTasks({ datasets }: Fingerprint, { mergeLabels = false }: PlanningOptions, explain: Explain): PlanTask[] {
  const tasks = datasets.flatMap(({ name, classes, regions }): PlanTask[] => {
    if (classes.length === 0) return [];
    const merge = typeof mergeLabels === 'boolean' ? mergeLabels : mergeLabels.includes(name);
    if (merge || classes.length === 1)
      return [{ name: planName(name), dataset: name, labels: classes.map(({ value }) => value) }];
    if (regions !== undefined) {
      const found = regions.filter(({ labels }) => classes.some(({ value }) => labels.includes(value)));
      return found.map((region) => ({
        name: planName(`${name}-${region.name}`),
        dataset: name,
        labels: [...region.labels],
        ...(region.writtenAs === undefined ? {} : { writtenAs: region.writtenAs }),
      }));
    }
    return classes.map((one) => ({ name: planName(`${name}-${one.name}`), dataset: name, labels: [one.value] }));
  });
  if (tasks.length === 0) {
    throw new VersemiError('DATASET_INVALID', {
      field: 'labels',
      expected: 'at least one labelled case with a foreground voxel',
      found: `none in ${datasets.map(({ path }) => path).join(', ')}`,
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
  return tasks;
}

/** Files named one by one in an explanation. */
const mostNamedFiles = 5;

/** How many cases there are of each kind, and what belongs to none: what is missing here was not found. */
function casesOf(dataset: DatasetFingerprint): string {
  const { totalCases, labeledCases, unlabeledCases, validationCases, leftOut, ignoredLabel } = dataset;
  const kinds = [`${labeledCases} labelled`, `${unlabeledCases} unlabelled`, `${validationCases} for validation`];
  const unused = totalCases - labeledCases - unlabeledCases - validationCases;
  if (unused > 0) kinds.push(`${unused} unused`);
  const ignored = ignoredLabel === undefined ? '' : `; voxels of label ${ignoredLabel} are ignored`;
  const files = leftOut.slice(0, mostNamedFiles).map(({ file, reason }) => `${file} (${reason})`);
  const more = leftOut.length > files.length ? `, and ${leftOut.length - files.length} more` : '';
  const left = leftOut.length === 0 ? '' : `; ${leftOut.length} left out: ${files.join(', ')}${more}`;
  return `${totalCases} cases: ${kinds.join(', ')}${ignored}${left}`;
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
