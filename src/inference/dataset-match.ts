import { basename, resolve } from 'node:path';
import type { Plan } from '../config/plan.js';
import { type OpenDatasetOptions, openDataset } from '../datasets/dataset.js';
import type { Dataset } from '../datasets/types.js';
import { VersemiError } from '../errors.js';
import { planName } from '../preprocessing/fingerprint.js';
import { type Segmenter, taskIndices } from './segmenter.js';

/** A folder to evaluate on, and what the model's plan calls it where that is said outright. */
export interface DatasetFolder {
  readonly folder: string;
  readonly dataset?: string;
}

/** A dataset and the tasks that its labels are the reference of. */
export interface MatchedDataset extends DatasetFolder {
  /** Under its name in the plan; under its own name where the plan does not know it. */
  readonly opened: Dataset;
  /** Indices of tasks. */
  readonly tasks: readonly number[];
}

/**
 * Opens folders and finds out which datasets of the model's plan they are: by the name that was given, else by that in
 * dataset.json or that of the folder. Labels of one dataset are never taken for those of another: whatever leaves a doubt is an
 * error.
 * @param names of tasks; default: all tasks of the datasets. With them a folder may be one that the plan does not know, whose
 *   labels then mean what they mean in the dataset of these tasks.
 * @throws VERSEMI_MODEL_TASK_UNKNOWN, and what `openDataset` throws
 */
export async function matchDatasets(
  model: Pick<Segmenter, 'plan'>,
  folders: readonly DatasetFolder[],
  names?: readonly string[],
): Promise<MatchedDataset[]> {
  const asked = names === undefined ? undefined : realTasks(model, names);
  const matched: MatchedDataset[] = [];
  for (const folder of folders) matched.push(await matchDataset(model.plan, folder, asked));
  for (const [i, { opened, folder }] of matched.entries()) {
    const other = matched.slice(0, i).find((one) => one.opened.name === opened.name);
    if (other === undefined) continue;
    throw unmatched(folder, 'folders of different datasets', `"${opened.name}", as ${other.folder}`, [
      'Say which dataset of the plan each folder is (--data NAME=FOLDER), or evaluate them one by one.',
    ]);
  }
  const left = asked?.find((task) => !matched.some(({ tasks }) => tasks.includes(task)));
  if (left !== undefined) {
    const { name, dataset } = model.plan.tasks[left]!;
    const given = matched.map(({ opened }) => opened.name).join(', ');
    throw unmatched(undefined, `a folder of the dataset ${dataset}, whose labels the task ${name} needs`, given, [
      'Give its folder too, or leave the task out.',
    ]);
  }
  return matched;
}

/** @throws VERSEMI_MODEL_TASK_UNKNOWN also for the synthetic task */
function realTasks(model: Pick<Segmenter, 'plan'>, names: readonly string[]): number[] {
  const tasks = taskIndices(model, names);
  if (tasks.every((index) => index < model.plan.tasks.length)) return tasks;
  throw new VersemiError('MODEL_TASK_UNKNOWN', {
    field: 'task',
    expected: 'a task with a reference to compare with',
    found: 'the synthetic task, whose foreground is that of all tasks',
    remedy: 'Use versemi predict for it.',
  });
}

async function matchDataset(
  plan: Plan,
  { folder, dataset: given }: DatasetFolder,
  asked: readonly number[] | undefined,
): Promise<MatchedDataset> {
  const own = await openDataset(folder, howInPlan(given ?? basename(resolve(folder)), plan));
  const name = nameInPlan(own, plan, given);
  if (name === undefined) return { folder, opened: own, tasks: tasksOfStranger(own, plan, asked) };
  const opened = name === (given ?? basename(resolve(folder))) ? own : await openDataset(folder, howInPlan(name, plan));
  const tasks = plan.tasks.flatMap((task, index) => (task.dataset === name ? [index] : []));
  const chosen = asked === undefined ? tasks : tasks.filter((index) => asked.includes(index));
  if (chosen.length === 0) {
    const of = tasks.map((index) => plan.tasks[index]!.name).join(', ');
    throw unmatched(
      folder,
      of === '' ? 'a dataset with tasks' : `tasks of the dataset ${name}: ${of}`,
      asked === undefined ? `"${name}", which has none` : asked.map((index) => plan.tasks[index]!.name).join(', '),
      ['Leave the folder out, or name one of its tasks.'],
    );
  }
  return { folder, opened: { ...opened, name }, tasks: chosen };
}

/** How the plan opens a dataset. */
function howInPlan(name: string, { datasets }: Plan): OpenDatasetOptions {
  const planned = datasets.find((dataset) => dataset.name === name);
  return { keys: planned?.keys, filesOutside: planned?.filesOutside, lenient: true };
}

/** The name under which the plan knows a dataset; undefined where it does not. */
function nameInPlan({ name, folder }: Dataset, { datasets }: Plan, given: string | undefined): string | undefined {
  const known = datasets.map((dataset) => dataset.name);
  const meant = known.filter((one) => [name, planName(name), basename(folder)].includes(one));
  if (given === undefined) {
    if (meant.length <= 1) return meant[0];
    throw unmatched(folder, 'a folder that is one dataset of the plan', `one that could be ${meant.join(' or ')}`);
  }
  if (!known.includes(given)) throw unmatched(folder, known.join(', '), given);
  // One folder may be several datasets of a plan, one for each modality.
  const pathOf = (dataset: string) =>
    datasets
      .find((one) => one.name === dataset)!
      .path.split(/[\\/]/)
      .at(-1);
  const other = meant.find((one) => one !== given && pathOf(one) !== pathOf(given));
  if (other === undefined || meant.includes(given)) return given;
  throw unmatched(folder, given, `a folder that is the dataset ${other}`, [
    `Leave the name out, or give the folder of ${given}.`,
  ]);
}

/** Tasks for a dataset that the plan does not know: those that were named, of one dataset, whose labels are then meant. */
function tasksOfStranger({ folder, name }: Dataset, { datasets, tasks }: Plan, asked: readonly number[] | undefined) {
  if (asked === undefined) throw unmatched(folder, datasets.map((dataset) => dataset.name).join(', '), name);
  const meant = [...new Set(asked.map((index) => tasks[index]!.dataset))];
  if (meant.length === 1) return asked;
  throw unmatched(
    folder,
    'tasks of one dataset',
    `those of ${meant.join(' and ')}, whose labels mean different things`,
  );
}

function unmatched(folder: string | undefined, expected: string, found: string, [remedy]: string[] = []): VersemiError {
  return new VersemiError('MODEL_TASK_UNKNOWN', {
    ...(folder === undefined ? {} : { file: folder }),
    field: 'dataset',
    expected,
    found,
    remedy:
      remedy ??
      'Say which dataset of the plan the folder is (--data NAME=FOLDER), or name tasks of one dataset (--task).',
  });
}
