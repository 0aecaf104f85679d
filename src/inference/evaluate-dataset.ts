import { basename, resolve } from 'node:path';
import type { Plan } from '../config/plan.js';
import { type OpenDatasetOptions, openDataset } from '../datasets/dataset.js';
import { caseFacts, openCase } from '../datasets/load-case.js';
import type { CaseFiles, Dataset } from '../datasets/types.js';
import { throwIfAborted, VersemiError } from '../errors.js';
import { summarize } from '../metrics/summary.js';
import { type CaseOutcome, type EvaluateOptions, type Evaluation, evaluateCase } from './evaluate.js';
import { evaluationCases } from './evaluation-cases.js';
import { estimateMemory, type MemoryEstimate } from './memory.js';
import type { PredictProgress, WindowOptions } from './predict.js';
import { inferenceSettings, type Segmenter, taskIndices } from './segmenter.js';

export interface EvaluateDatasetOptions extends Omit<EvaluateOptions, 'onProgress'> {
  /** What the model's plan calls the dataset; default: the name that the dataset gives itself. */
  readonly dataset?: string;
  /** Names of tasks; default: those of the dataset. */
  readonly tasks?: readonly string[];
  /** `all` (default), `test`, `validation`, `labeled`, the name of a list in splits.json, or ids. */
  readonly cases?: readonly string[];
  /** Called before a case is read, where `maxMemoryBytes` is set. */
  readonly onEstimate?: (id: string, estimate: MemoryEstimate) => void;
  /** Called after each window of a case. */
  readonly onProgress?: (progress: CaseProgress) => void;
}

/** Which case of a dataset is being worked on. */
interface CasePlace {
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
  /** How many of the `total` cases the model was trained on, with their labels. */
  readonly trainedOn: number;
  readonly outcomes: readonly CaseOutcome[];
}

/**
 * Segments the labelled cases of a dataset and compares, case by case.
 * @param folder of the dataset
 * @throws VERSEMI_ABORTED by `signal`, VERSEMI_MODEL_TASK_UNKNOWN when the model's plan knows neither the dataset nor the tasks, VERSEMI_SPLIT_INVALID,
 *   and what reading a case throws
 */
export async function* evaluateDataset(
  model: Segmenter,
  folder: string,
  options: EvaluateDatasetOptions = {},
): AsyncGenerator<EvaluationProgress, void> {
  const dataset = nameInPlan(await openDataset(folder, howInPlan(folder, model.plan, options)), model.plan, options);
  const ofDataset = model.plan.tasks.filter((task) => task.dataset === dataset.name).map(({ name }) => name);
  const tasks = taskIndices(model, options.tasks ?? ofDataset);
  const synthetic = tasks.find((index) => index >= model.plan.tasks.length);
  if (synthetic !== undefined) {
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      field: 'task',
      expected: 'a task with a reference to compare with',
      found: 'the synthetic task, whose foreground is that of all tasks',
      remedy: 'Use versemi predict for it.',
    });
  }
  const { cases, trainedOn } = evaluationCases(dataset, model.plan, options.cases ?? ['all']);
  const channel = model.plan.datasets.find(({ name }) => name === dataset.name)?.channel ?? 0;
  const { onProgress, ...perCase } = options;
  for (const [i, files] of cases.entries()) {
    throwIfAborted(options.signal, 'evaluation');
    const place: CasePlace = { dataset: dataset.name, id: files.id, index: i + 1, total: cases.length };
    const strips = await stripsBefore(model, dataset, files, channel, tasks, options);
    const { label, ...opened } = await openCase(dataset, files, { channel });
    const outcomes = await evaluateCase(model, { ...opened, label: label! }, dataset.name, tasks, {
      ...perCase,
      ...strips,
      onProgress: (progress) => onProgress?.({ ...place, ...progress }),
    });
    yield { ...place, trainedOn, outcomes };
  }
}

/** The parts that a case is computed in, from the header of its image. @throws VERSEMI_MEMORY_LIMIT */
async function stripsBefore(
  model: Segmenter,
  dataset: Dataset,
  files: CaseFiles,
  channel: number | string,
  tasks: readonly number[],
  options: EvaluateDatasetOptions,
): Promise<Pick<WindowOptions, 'strips'>> {
  if (options.maxMemoryBytes === undefined) return {};
  const facts = await caseFacts(dataset, files, { channel });
  const estimate = estimateMemory(model, { ...facts, labeled: true }, tasks, options);
  options.onEstimate?.(files.id, estimate);
  return { strips: estimate.strips };
}

/** How the plan opens a dataset of the given name, else of the folder's name. */
function howInPlan(folder: string, { datasets }: Plan, { dataset }: EvaluateDatasetOptions): OpenDatasetOptions {
  const planned = datasets.find(({ name }) => name === (dataset ?? basename(resolve(folder))));
  return { keys: planned?.keys, filesOutside: planned?.filesOutside };
}

/** The dataset under the name that the plan knows it by, which decides its tasks and its preprocessing. */
function nameInPlan(dataset: Dataset, plan: Plan, { dataset: given, tasks }: EvaluateDatasetOptions): Dataset {
  const known = plan.datasets.map(({ name }) => name);
  const name = given ?? dataset.name;
  if (known.includes(name)) return { ...dataset, name };
  // A dataset that the model has not seen can still be used for tasks that are named.
  if (given === undefined && tasks !== undefined) return dataset;
  throw new VersemiError('MODEL_TASK_UNKNOWN', {
    file: dataset.folder,
    field: 'dataset',
    expected: known.join(', '),
    found: name,
    remedy: 'Say which of them it is (--dataset), or name the tasks (--task).',
  });
}

/** What is known of an evaluation beside its cases. */
export interface EvaluationFacts {
  /** File of the model. */
  readonly model: string;
  /** Description of the device. */
  readonly device: string;
  readonly deviceSettings?: { readonly exact: boolean; readonly precision: string };
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
