import { caseFacts, openCase } from '../datasets/load-case.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { throwIfAborted } from '../errors.js';
import { summarize } from '../metrics/summary.js';
import type { VerbOptions } from '../verb-options.js';
import type { CaseSelection } from './case-selection.js';
import { type DatasetFolder, type MatchedDataset, matchDatasets } from './dataset-match.js';
import { type CaseOutcome, type EvaluateOptions, type Evaluation, evaluateCase } from './evaluate.js';
import { evaluationCases, type SelectOptions, type TrainedBy } from './evaluation-cases.js';
import { estimateMemory, type MemoryEstimate } from './memory.js';
import type { PredictProgress, WindowOptions } from './predict.js';
import { inferenceSettings, type Segmenter } from './segmenter.js';

/** How the cases of a dataset are segmented and compared. */
export interface EvaluateCasesOptions
  extends Omit<EvaluateOptions, 'onProgress'>,
    Pick<VerbOptions<CaseProgress>, 'onProgress' | 'onNotice'> {
  /** Called before a case is read, where `maxMemoryBytes` is set. */
  readonly onEstimate?: ((id: string, estimate: MemoryEstimate) => void) | undefined;
  /**
   * Does the work of one case, and may give undefined where that fails: the case then has no outcomes, and the next follows.
   * Default: a failure ends the evaluation.
   */
  readonly attempt?: (
    place: CasePlace,
    work: () => Promise<readonly CaseOutcome[]>,
  ) => Promise<readonly CaseOutcome[] | undefined>;
}

/** Which cases and tasks of a dataset are evaluated, and how. */
export interface EvaluateDatasetOptions extends EvaluateCasesOptions {
  /** What the model's plan calls the dataset; default: that one of its own names that the plan knows. */
  readonly dataset?: string;
  /** Names of tasks; default: those of the dataset. */
  readonly tasks?: readonly string[];
  /** One of `caseSets` (default: all), the name of a list in splits.json, or ids: see `evaluationCases`. */
  readonly cases?: readonly string[];
}

/** Which case of a dataset is being worked on. */
export interface CasePlace {
  readonly dataset: string;
  readonly id: string;
  /** Counts from 1. */
  readonly index: number;
  readonly total: number;
}

/** A window of a case has been segmented. */
export interface CaseProgress extends CasePlace, PredictProgress {}

/** One case has been read, segmented and compared. */
export interface EvaluationProgress extends CasePlace {
  /** Which cases these are, and what the model knew of them. */
  readonly selection: CaseSelection;
  readonly outcomes: readonly CaseOutcome[];
}

/** A dataset of the model's plan, and those of its cases that are to be compared. */
export interface SelectedDataset extends MatchedDataset {
  readonly cases: readonly CaseFiles[];
  readonly selection: CaseSelection;
}

/**
 * Finds out what there is to evaluate before anything is segmented.
 * @param tasks names; default: those of the datasets
 * @param cases one of `caseSets` (default: all), the name of a list in splits.json, or ids: see `evaluationCases`
 * @throws VERSEMI_MODEL_TASK_UNKNOWN when it is not clear which dataset of the model's plan a folder is, VERSEMI_SPLIT_INVALID;
 *   VERSEMI_ABORTED by `signal`
 */
export async function selectCases(
  model: Segmenter & TrainedBy,
  folders: readonly DatasetFolder[],
  tasks?: readonly string[],
  cases: readonly string[] = ['all'],
  options: SelectOptions = {},
): Promise<SelectedDataset[]> {
  const selected: SelectedDataset[] = [];
  for (const matched of await matchDatasets(model, folders, tasks))
    selected.push({ ...matched, ...(await evaluationCases(matched.opened, model, cases, options)) });
  return selected;
}

/**
 * Segments the labelled cases of a dataset and compares, case by case.
 * @param folder of the dataset
 * @throws as {@link selectCases} and {@link evaluateSelected}
 */
export async function* evaluateDataset(
  model: Segmenter & TrainedBy,
  folder: string,
  { dataset, tasks, cases, ...options }: EvaluateDatasetOptions = {},
): AsyncGenerator<EvaluationProgress, void> {
  const ofSignal = options.signal === undefined ? {} : { signal: options.signal };
  const folders = [{ folder, ...(dataset === undefined ? {} : { dataset }) }];
  for (const selected of await selectCases(model, folders, tasks, cases, ofSignal))
    yield* evaluateSelected(model, selected, options);
}

/**
 * As {@link evaluateDataset}, of cases that were selected before.
 * @throws VERSEMI_ABORTED by `signal`, and what reading a case throws
 */
export async function* evaluateSelected(
  model: Segmenter,
  { opened: dataset, tasks, cases, selection }: SelectedDataset,
  { onEstimate, onProgress, onNotice, attempt = (_, work) => work(), ...options }: EvaluateCasesOptions = {},
): AsyncGenerator<EvaluationProgress, void> {
  const channel = model.plan.datasets.find(({ name }) => name === dataset.name)?.channel ?? 0;
  for (const [i, files] of cases.entries()) {
    throwIfAborted(options.signal, 'evaluation');
    const place: CasePlace = { dataset: dataset.name, id: files.id, index: i + 1, total: cases.length };
    const outcomes = await attempt(place, async () => {
      const strips = await stripsBefore(model, dataset, files, channel, tasks, { ...options, onEstimate });
      const { label, ...opened } = await openCase(dataset, files, {
        channel,
        ...(onNotice === undefined ? {} : { onNotice }),
      });
      return evaluateCase(model, { ...opened, label: label! }, dataset.name, tasks, {
        ...options,
        ...strips,
        onProgress: (progress) => onProgress?.({ ...place, ...progress }),
      });
    });
    yield { ...place, selection, outcomes: outcomes ?? [] };
  }
}

/** The parts that a case is computed in, from the header of its image. @throws VERSEMI_MEMORY_LIMIT */
async function stripsBefore(
  model: Segmenter,
  dataset: Dataset,
  files: CaseFiles,
  channel: number | string,
  tasks: readonly number[],
  options: EvaluateCasesOptions,
): Promise<Pick<WindowOptions, 'strips'>> {
  if (options.maxMemoryBytes === undefined) return {};
  const facts = await caseFacts(dataset, files, { channel });
  const estimate = estimateMemory(model, { ...facts, labeled: true }, tasks, options);
  options.onEstimate?.(files.id, estimate);
  return { strips: estimate.strips };
}

/** What is known of an evaluation beside its cases. */
export interface EvaluationFacts {
  /** File of the model; of several, the first. */
  readonly model: string;
  readonly models?: NonNullable<Evaluation['models']>;
  /** Description of the device. */
  readonly device: string;
  readonly deviceSettings?: { readonly exact: boolean; readonly precision: string };
  readonly weights?: NonNullable<Evaluation['weights']>;
  readonly program?: NonNullable<Evaluation['program']>;
  readonly seconds?: number;
  /** One per dataset. */
  readonly selections?: NonNullable<Evaluation['selections']>;
  /** Which part of the selections was evaluated; absent: all. */
  readonly part?: NonNullable<Evaluation['part']>;
  /** Cases that could not be compared. */
  readonly failures?: NonNullable<Evaluation['failures']>;
}

/** Gathers outcomes into what `versemi evaluate` writes. */
export function makeEvaluation(
  model: Segmenter,
  cases: Evaluation['cases'],
  facts: EvaluationFacts,
  options: EvaluateOptions = {},
): Evaluation {
  return {
    format: 1,
    ...facts,
    inference: inferenceSettings(model, options),
    created: new Date().toISOString(),
    cases,
    summary: summarize(cases),
  };
}
