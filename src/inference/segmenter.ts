import type { Plan, PreprocessingSettings } from '../config/plan.js';
import { VersemiError } from '../errors.js';
import type { SegmentationNetwork } from '../model/network.js';
import type { WindowProtocol } from './windows.js';

/** A network and the plan it was trained by: all that inference needs of a model. The network may be of one's own. */
export interface Segmenter {
  readonly network: SegmentationNetwork;
  readonly plan: Plan;
  /** Models whose probabilities are averaged with those of this one, see `ensembleOf`. */
  readonly others?: readonly Segmenter[];
}

/**
 * How to segment; what is left out comes from the plan's `inference`. Asked for the protocol `versemi`, which in the paper neither
 * mirrors nor post-processes, the plan's mirroring and largest component do not count.
 */
export interface InferenceOptions extends Partial<WindowProtocol> {
  readonly mirror?: boolean;
  readonly largestComponent?: boolean;
  /** 'task': each task by itself; 'dataset': before, all tasks of its dataset together. */
  readonly largestComponentOf?: 'task' | 'dataset';
}

/** How windows are placed, weighed and averaged, every setting given. */
export type InferenceSettings = Required<InferenceOptions>;

export function inferenceSettings(
  { plan }: Pick<Segmenter, 'plan'>,
  options: InferenceOptions = {},
): InferenceSettings {
  const { inference } = plan;
  const { mirror, largestComponent } =
    options.protocol === 'versemi' ? { mirror: false, largestComponent: false } : inference;
  return {
    protocol: options.protocol ?? inference.protocol,
    overlap: options.overlap ?? inference.overlap,
    weighting: options.weighting ?? inference.weighting,
    mirror: options.mirror ?? mirror,
    largestComponent: options.largestComponent ?? largestComponent,
    largestComponentOf: options.largestComponentOf ?? inference.largestComponentOf,
  };
}

/** Name of the prompt for the synthetic task on the command line and in file names. */
export const syntheticTaskName = 'any-foreground';

/**
 * Indices of tasks by name; all real tasks when no name is given.
 * @throws VERSEMI_MODEL_TASK_UNKNOWN
 */
export function taskIndices({ plan }: Pick<Segmenter, 'plan'>, names?: readonly string[]): number[] {
  const known = plan.tasks.map((task) => task.name);
  if (names === undefined || names.length === 0) return known.map((_, index) => index);
  return names.map((name) => {
    const index = [...known, syntheticTaskName].indexOf(name);
    if (index >= 0) return index;
    throw new VersemiError('MODEL_TASK_UNKNOWN', {
      field: 'task',
      expected: [...known, syntheticTaskName].join(', '),
      found: name,
      remedy: 'Name one of these tasks, or use a model that was trained for the task.',
    });
  });
}

/** Name of a task by index; the last one is the synthetic task. */
export function taskName({ plan }: Pick<Segmenter, 'plan'>, index: number): string {
  return plan.tasks[index]?.name ?? syntheticTaskName;
}

/**
 * The tasks that have to be found for those asked for, which come first: where the largest component is looked for in all tasks of a
 * dataset together, the others of that dataset too. So a mask does not depend on what else was asked for.
 */
export function tasksToFind(
  model: Pick<Segmenter, 'plan'>,
  wanted: readonly number[],
  options: InferenceOptions = {},
): readonly number[] {
  const { largestComponent, largestComponentOf } = inferenceSettings(model, options);
  if (!largestComponent || largestComponentOf === 'task') return wanted;
  const { tasks } = model.plan;
  const datasets = new Set(wanted.map((index) => tasks[index]?.dataset));
  const others = tasks.flatMap(({ dataset }, index) => (datasets.has(dataset) ? [index] : []));
  return [...wanted, ...others.filter((index) => !wanted.includes(index))];
}

/** The model itself, and those that are averaged with it. */
export function membersOf<Member>(model: Member & { readonly others?: readonly Member[] }): Member[] {
  return [model, ...(model.others ?? [])];
}

/** What one model of several, or the only one, contributes to the tasks of a group. */
export interface GroupMember {
  readonly preprocessing: PreprocessingSettings;
  /** Indices of the tasks in this model, in the order of the group. */
  readonly tasks: readonly number[];
}

/** Tasks that see a scan through the same preprocessing, and so share the passes of the trunk. */
export interface TaskGroup {
  readonly dataset: string;
  readonly preprocessing: PreprocessingSettings;
  readonly tasks: readonly number[];
  /** One per model, in the order of {@link membersOf}. */
  readonly members: readonly GroupMember[];
}

/** The synthetic task belongs to no dataset: it takes the preprocessing of the first one asked for beside it. */
export function groupTasks(model: Pick<Segmenter, 'plan' | 'others'>, tasks: readonly number[]): TaskGroup[] {
  const { plan } = model;
  const groups = new Map<string, { dataset: string; members: (GroupMember & { tasks: number[] })[] }>();
  const fallback = plan.tasks[tasks.find((index) => index < plan.tasks.length) ?? 0]!;
  for (const index of tasks) {
    const seenAs = plan.tasks[index] ?? fallback;
    const members = membersOf<Pick<Segmenter, 'plan'>>(model).map((member) => ({
      preprocessing: preprocessingOf(member, seenAs.name),
      tasks: taskIndices(member, [taskName(model, index)]),
    }));
    const key = JSON.stringify(members.map(({ preprocessing }) => preprocessing));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { dataset: seenAs.dataset, members });
    else for (const [i, { tasks: own }] of members.entries()) group.members[i]!.tasks.push(...own);
  }
  return [...groups.values()].map(({ dataset, members }) => {
    const { preprocessing, tasks: own } = members[0]!;
    return { dataset, preprocessing, tasks: own, members };
  });
}

/** @param task name of a real task of the model */
function preprocessingOf({ plan }: Pick<Segmenter, 'plan'>, task: string): PreprocessingSettings {
  const { dataset } = plan.tasks.find(({ name }) => name === task)!;
  return plan.datasets.find(({ name }) => name === dataset)!.preprocessing;
}
