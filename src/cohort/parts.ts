import { environment } from '../environment.js';
import { VersemiError } from '../errors.js';
import { launchedRank, wholeNumberOf } from '../ranks/launch.js';

/** Which part of a cohort a process works on. */
export interface Part {
  /** From 1 to `count`. */
  readonly index: number;
  readonly count: number;
}

/** A part that a scheduler has given to this process, and the variables that say so. */
export interface ScheduledPart extends Part {
  readonly from: string;
}

const remedy = 'Say --part I/N, or --part none where this process is to do everything.';

/**
 * The part that the scheduler of this process has given to it: a task of a Slurm array, a pod of an Indexed Job of Kubernetes, a rank
 * of MPI or of srun; where ranks run inside of a task of an array, each task's part is divided once more. Undefined outside of all.
 * @throws VERSEMI_USAGE where the number of parts is not known, or the variables contradict each other
 */
export function scheduledPart(): ScheduledPart | undefined {
  const task = arrayTask() ?? completionIndex();
  const rank = rankOfStep();
  if (task === undefined || rank === undefined) return task ?? rank;
  return {
    index: (task.index - 1) * rank.count + rank.index,
    count: task.count * rank.count,
    from: `${task.from}, ${rank.from}`,
  };
}

function arrayTask(): ScheduledPart | undefined {
  const id = wholeNumberOf('SLURM_ARRAY_TASK_ID', environment('SLURM_ARRAY_TASK_ID'), 0, remedy);
  if (id === undefined) return undefined;
  const count = wholeNumberOf('SLURM_ARRAY_TASK_COUNT', environment('SLURM_ARRAY_TASK_COUNT'), 1, remedy);
  const first = wholeNumberOf('SLURM_ARRAY_TASK_MIN', environment('SLURM_ARRAY_TASK_MIN'), 0, remedy) ?? 0;
  const last = wholeNumberOf('SLURM_ARRAY_TASK_MAX', environment('SLURM_ARRAY_TASK_MAX'), 0, remedy);
  const step = wholeNumberOf('SLURM_ARRAY_TASK_STEP', environment('SLURM_ARRAY_TASK_STEP'), 1, remedy) ?? 1;
  const index = (id - first) / step + 1;
  const even = last === undefined || count === undefined || (last - first) / step + 1 === count;
  if (count === undefined || !even || !Number.isInteger(index) || index < 1 || index > count)
    throw new VersemiError('USAGE', {
      field: 'SLURM_ARRAY_TASK_ID',
      expected: 'an array whose numbers follow each other at one step, such as 0-9 or 1-19:2',
      found: `task ${id} of ${count ?? 'an unknown number of'} tasks from ${first} to ${last ?? '?'}, step ${step}`,
      remedy,
    });
  return { index, count, from: 'SLURM_ARRAY_TASK_ID' };
}

function completionIndex(): ScheduledPart | undefined {
  const index = wholeNumberOf('JOB_COMPLETION_INDEX', environment('JOB_COMPLETION_INDEX'), 0, remedy);
  if (index === undefined) return undefined;
  const count = wholeNumberOf('VERSEMI_PARTS', environment('VERSEMI_PARTS'), 1, remedy);
  if (count === undefined)
    throw new VersemiError('USAGE', {
      field: 'VERSEMI_PARTS',
      expected: 'the number of completions of the Indexed Job, which Kubernetes does not tell its pods',
      found: `JOB_COMPLETION_INDEX ${index} alone`,
      remedy:
        'Set the environment variable VERSEMI_PARTS in the job to the number of its completions, or say --part none.',
    });
  return checked({ index: index + 1, count, from: 'JOB_COMPLETION_INDEX' }, 'JOB_COMPLETION_INDEX');
}

function rankOfStep(): ScheduledPart | undefined {
  const launched = launchedRank(remedy);
  return launched && { index: launched.rank + 1, count: launched.size, from: launched.from };
}

/** Whether `mpirun` has started this process, by the variables that say its part. */
export function isOfMpi(from: ScheduledPart['from']): boolean {
  return /OMPI_COMM_WORLD_RANK|PMI_RANK/.test(from);
}

function checked(part: ScheduledPart, field: string): ScheduledPart {
  if (part.index <= part.count) return part;
  throw new VersemiError('USAGE', {
    field,
    expected: `a number below ${part.count}, the number of parts`,
    found: `${part.index - 1}`,
    remedy,
  });
}

/** A case before it is given to a part. */
export interface CostedCase {
  /** Its name, unlike that of every other case. */
  readonly key: string;
  /** What it is expected to cost, in voxels. */
  readonly cost: number;
}

/**
 * The cases of one part, in their order: the costliest case goes to the part that has least, then the next (Graham, 1969: no part
 * then costs more than 4/3 of the best division). The parts of one cohort are disjoint and complete, and depend on names and costs
 * alone, not on the order of the cases.
 */
export function casesOfPart<T extends CostedCase>(cases: readonly T[], { index, count }: Part): T[] {
  const sorted = [...cases].sort((a, b) => b.cost - a.cost || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const loads = new Float64Array(count);
  const sizes = new Float64Array(count);
  const mine = new Set<string>();
  for (const { key, cost } of sorted) {
    let least = 0;
    // Cases of no cost are shared out by number.
    for (let part = 1; part < count; part++)
      if (loads[part]! < loads[least]! || (loads[part] === loads[least] && sizes[part]! < sizes[least]!)) least = part;
    loads[least]! += cost;
    sizes[least]! += 1;
    if (least === index - 1) mine.add(key);
  }
  return cases.filter(({ key }) => mine.has(key));
}

/** "out/manifest.jsonl" -> "out/manifest-3-of-8.jsonl": a file that each part writes for itself. */
export function fileOfPart(file: string, part: Part | undefined): string {
  if (part === undefined) return file;
  const [, stem, ending] = /^(.*?)(\.[^./\\]*)?$/s.exec(file)!;
  return `${stem}-${part.index}-of-${part.count}${ending ?? ''}`;
}
