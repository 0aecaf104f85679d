import { type DatasetRecord, recordDifferences, recordedCase } from '../checkpoints/case-record.js';
import type { ModelProvenance } from '../checkpoints/metadata.js';
import type { Plan } from '../config/plan.js';
import { openPlanDataset } from '../datasets/dataset.js';
import { VersemiError } from '../errors.js';
import type { ContentKeys } from '../preprocessing/content-key.js';
import { type KnownIntensities, rangesOfDataset } from '../preprocessing/dataset-facts.js';
import { type CaseRole, type PreprocessOptions, preprocessCases } from '../preprocessing/preprocess-datasets.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import { RandomStream, streams } from '../random.js';
import type { SamplingData } from '../sampling/rows.js';
import type { VerbOptions } from '../verb-options.js';
import type { CaseEvent, LogEvent } from './events.js';

/** The cases that a run learns from and those that it is validated with. */
export interface TrainingData extends SamplingData {
  /** Cases with labels, for validation during training. */
  readonly validation: readonly PreprocessedCase[];
  /** Where the data come from, for the provenance of the model. */
  readonly sources: ModelProvenance['data'];
  /** What the files of the cases hold; a case that is not in it came from no file. */
  readonly contents?: ReadonlyMap<PreprocessedCase, ContentKeys>;
}

/**
 * Opens and preprocesses what a plan needs: no unlabelled cases where no step uses them. Yields each case as it is ready, and first what a
 * person should know of the datasets.
 * @throws what `preprocessCases` throws; VERSEMI_ABORTED by `signal`
 */
export async function* openTrainingData(
  plan: Plan,
  {
    onProgress,
    onNotice,
    ...options
  }: Pick<PreprocessOptions, 'cacheFolder' | 'ranks'> & VerbOptions<CaseEvent | LogEvent> = {},
): AsyncGenerator<CaseEvent | LogEvent, TrainingData> {
  const told = <Event extends CaseEvent | LogEvent>(event: Event): Event => {
    if (event.type === 'log') onNotice?.(event.message);
    onProgress?.(event);
    return event;
  };
  const { mode, stage2Steps } = plan.training;
  const unlabeled = mode === 'semi-supervised' && stage2Steps > 0;
  const roles: CaseRole[] = ['labeled', ...(unlabeled ? (['unlabeled'] as const) : []), 'validation'];
  const data: Record<CaseRole, PreprocessedCase[]> = { labeled: [], unlabeled: [], validation: [] };
  const contents = new Map<PreprocessedCase, ContentKeys>();
  const remarks: string[] = [];
  const cases = preprocessCases(plan, { ...options, roles, onNotice: (text) => remarks.push(text) });
  for await (const { role, case: one, content, cached, index, total } of cases) {
    for (const message of remarks.splice(0)) yield told({ type: 'log', step: 0, message });
    data[role].push(one);
    contents.set(one, content);
    yield told({ type: 'case', step: 0, role, dataset: one.dataset, id: one.id, cached, index, total });
  }
  return { ...data, sources: await Promise.all(plan.datasets.map(sourceOf)), contents };
}

/**
 * The plan with facts of the scans of every dataset, so that the model can tell which scans it fits. Facts that the plan has, or the
 * checkpoint from which a run goes on, stay as they are. Cases that came from no file have none.
 * @param known intensities that were read before
 * @throws what reading cases throws; VERSEMI_ABORTED by `signal`
 */
export async function withScanFacts(
  plan: Plan,
  data: TrainingData,
  before: Plan | undefined,
  signal: AbortSignal | undefined,
  known?: KnownIntensities,
): Promise<Plan> {
  const datasets: Plan['datasets'] = [];
  for (const [index, entry] of plan.datasets.entries()) {
    const cases = [...data.labeled, ...data.unlabeled].filter(
      (one) => one.dataset === entry.name && data.contents?.has(one) === true,
    );
    const recorded = entry.scans ?? before?.datasets[index]?.scans;
    const scans = recorded ?? (await rangesOfDataset(plan, entry, cases, signal, known));
    datasets.push({ ...entry, ...(scans === undefined ? {} : { scans }) });
  }
  return { ...plan, datasets };
}

async function sourceOf(entry: Plan['datasets'][number]): Promise<ModelProvenance['data'][number]> {
  const { licence, reference } = await openPlanDataset(entry);
  return {
    dataset: entry.name,
    ...(licence === undefined ? {} : { licence }),
    ...(reference === undefined ? {} : { reference }),
  };
}

/**
 * The validation cases on which every validation during training is done: of each dataset as many as the plan says, drawn by
 * their ids alone, so that all runs with the same split watch the same cases, whatever their method and seed.
 */
export function watchedCases(plan: Plan, cases: readonly PreprocessedCase[]): PreprocessedCase[] {
  const limit = plan.training.validationCases ?? Number.POSITIVE_INFINITY;
  return plan.datasets.flatMap(({ name }) => {
    const ofDataset = cases.filter(({ dataset }) => dataset === name);
    if (ofDataset.length <= limit) return ofDataset;
    const ids = ofDataset.map(({ id }) => id).sort((a, b) => (a < b ? -1 : 1));
    const drawn = new Set(new RandomStream(0, streams.validation).shuffled(ids).slice(0, limit));
    return ofDataset.filter(({ id }) => drawn.has(id));
  });
}

/** The cases of a run as its checkpoints and its model remember them. */
export function caseRecord(plan: Plan, data: TrainingData): DatasetRecord[] {
  const watched = watchedCases(plan, data.validation);
  return plan.datasets.map(({ name }) => {
    const of = (cases: readonly PreprocessedCase[]) => cases.filter(({ dataset }) => dataset === name);
    const recorded = (cases: readonly PreprocessedCase[]) =>
      of(cases).map((one) => recordedCase(one.id, data.contents?.get(one)));
    return {
      dataset: name,
      labeled: recorded(data.labeled),
      unlabeled: recorded(data.unlabeled),
      validation: recorded(data.validation),
      watched: of(watched).map(({ id }) => id),
    };
  });
}

/** Cases that an error sentence names. */
const mostNamed = 20;

/**
 * @param began cases of the checkpoint in `file`
 * @throws VERSEMI_CHECKPOINT_MISMATCH naming the cases that are not what the run began with
 */
export function requireSameCases(began: readonly DatasetRecord[], now: readonly DatasetRecord[], file: string): void {
  const differences = recordDifferences(began, now);
  if (differences.length === 0) return;
  throw new VersemiError('CHECKPOINT_MISMATCH', {
    file,
    field: 'cases',
    expected: 'the cases that the run began with',
    found: named(differences, '; '),
    remedy: 'Put the cases back as they were, or start a new run in another folder.',
  });
}

function named(list: readonly string[], separator: string): string {
  const more = list.length > mostNamed ? [`and ${list.length - mostNamed} more`] : [];
  return [...list.slice(0, mostNamed), ...more].join(separator);
}

/**
 * A task that no labelled case shows would learn that it is never there.
 * @throws VERSEMI_DATASET_INVALID
 */
export function requireForeground({ tasks }: Plan, { labeled }: TrainingData): void {
  for (const [index, { name, dataset, labels }] of tasks.entries()) {
    const cases = labeled.filter((one) => one.dataset === dataset);
    if (cases.some(({ foreground }) => labels.some((label) => (foreground?.[label]?.length ?? 0) > 0))) continue;
    const ids = cases.map(({ id }) => id);
    throw new VersemiError('DATASET_INVALID', {
      field: `tasks[${index}] "${name}", labels ${labels.join(', ')} of ${dataset}`,
      expected: 'at least one labelled case with a foreground voxel, at the spacing of the plan',
      found: `none in ${ids.length} labelled cases (${named(ids, ', ')})`,
      remedy: 'Name labelled cases that show it in the split, or take the task out of the plan.',
    });
  }
}
