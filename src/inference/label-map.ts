import type { Plan, PlanTask } from '../config/plan.js';
import type { SlabbedVolume } from '../datasets/nifti-encode.js';
import { VersemiError } from '../errors.js';
import type { MaskVolume } from '../scans/mask-volume.js';
import type { TaskPrediction } from './predict.js';

/** The value that a task has in the label map of its dataset. */
export interface PaintedTask {
  readonly task: string;
  readonly value: number;
}

/** One label map of the masks of one dataset's tasks; its voxels are made slab by slab while they are written. */
export interface PaintedMap extends SlabbedVolume {
  readonly dataset: string;
  /** In the order in which they are painted: where masks overlap, the later one is seen. */
  readonly painted: readonly PaintedTask[];
  /**
   * Voxels in the masks of two tasks of which neither is part of the other: there the order of painting decides what the
   * anatomy does not.
   */
  contested(): number;
}

/**
 * Values of the tasks of a dataset in a label map, in the order in which they are painted.
 * - Tasks that say `writtenAs` (regions of a dataset.json with `regions_class_order`) are painted in the order of the plan, as
 *   nnU-Net does.
 * - Else a task of more labels is painted before one of fewer, so that a part lies on its whole; tasks of as many labels are
 *   painted in the order of the plan. The value is the smallest label of the task that no task of fewer labels has, so that
 *   the voxels of a label get that label back; where there is none, the smallest label of the task.
 */
export function paintedTasks(plan: Pick<Plan, 'tasks'>, dataset: string): PaintedTask[] {
  const tasks = plan.tasks.filter((task) => task.dataset === dataset);
  const declared = tasks.every(({ writtenAs }) => writtenAs !== undefined);
  const ordered = declared ? tasks : [...tasks].sort((a, b) => b.labels.length - a.labels.length);
  return ordered.map((task) => ({ task: task.name, value: task.writtenAs ?? ownLabel(task, tasks) }));
}

function ownLabel({ labels }: PlanTask, tasks: readonly PlanTask[]): number {
  const smaller = tasks.filter((other) => other.labels.length < labels.length);
  const own = labels.filter((label) => !smaller.some((other) => other.labels.includes(label)));
  return Math.min(...(own.length > 0 ? own : labels));
}

/**
 * Paints the masks of one scan into label maps: one for each dataset of the plan that has tasks among them, since values of
 * labels mean something within their dataset only. The synthetic task has no value and is left out.
 * @param predictions of one scan, as `predictVolume` gives them
 * @throws VERSEMI_PLAN_CONTRADICTION when two tasks of a dataset would get the same value
 */
export function labelMaps(
  plan: Pick<Plan, 'tasks'>,
  predictions: readonly Pick<TaskPrediction, 'task' | 'mask'>[],
): PaintedMap[] {
  const datasets = [...new Set(plan.tasks.map(({ dataset }) => dataset))];
  return datasets.flatMap((dataset) => {
    const layers = paintedTasks(plan, dataset).flatMap(({ task, value }) => {
      const mask = predictions.find((prediction) => prediction.task === task)?.mask;
      return mask === undefined ? [] : [{ task, value, mask }];
    });
    requireValues(dataset, layers);
    return layers.length === 0 ? [] : [paintMap(plan, dataset, layers)];
  });
}

/** @throws VERSEMI_PLAN_CONTRADICTION when two tasks would get the same value */
export function requireValues(dataset: string, painted: readonly PaintedTask[]): void {
  const tasksOf = new Map<number, string>();
  for (const { task, value } of painted) {
    const other = tasksOf.get(value);
    if (other !== undefined) {
      throw new VersemiError('PLAN_CONTRADICTION', {
        field: `tasks of ${dataset}`,
        expected: 'a value of its own for each task in a label map',
        found: `${value} for ${other} and ${task}`,
        remedy: 'Name one of them only (--task), or write masks without --label-map.',
      });
    }
    tasksOf.set(value, task);
  }
}

/** The mask of a task, and its value. */
export interface Layer extends PaintedTask {
  readonly mask: MaskVolume;
}

/** Paints masks of one scan into a label map, each over those before it. @param layers at least one */
export function paintMap(plan: Pick<Plan, 'tasks'>, dataset: string, layers: readonly Layer[]): PaintedMap {
  const { sizeVoxels, spacingMm, affine, forms } = layers[0]!.mask;
  return {
    ...{ dataset, sizeVoxels, spacingMm, affine, type: new Uint8Array(0) },
    ...(forms === undefined ? {} : { forms }),
    painted: layers.map(({ task, value }) => ({ task, value })),
    *slabs() {
      for (const slabs of together(layers)) {
        const painted = new Uint8Array(slabs[0]!.length);
        for (const [i, { value }] of layers.entries())
          for (let at = 0; at < painted.length; at++) if (slabs[i]![at] !== 0) painted[at] = value;
        yield painted;
      }
    },
    contested() {
      const labels = layers.map(({ task }) => new Set(plan.tasks.find(({ name }) => name === task)!.labels));
      const apart = (i: number, j: number) => !contains(labels[i]!, labels[j]!) && !contains(labels[j]!, labels[i]!);
      const pairs = layers.flatMap((_, i) => layers.flatMap((_, j) => (i < j && apart(i, j) ? [[i, j] as const] : [])));
      if (pairs.length === 0) return 0;
      let count = 0;
      for (const slabs of together(layers))
        for (let at = 0; at < slabs[0]!.length; at++)
          if (pairs.some(([i, j]) => slabs[i]![at] !== 0 && slabs[j]![at] !== 0)) count++;
      return count;
    },
  };
}

function contains(whole: ReadonlySet<number>, part: ReadonlySet<number>): boolean {
  return [...part].every((label) => whole.has(label));
}

/** The same slab of each mask, slab by slab. */
function* together(layers: readonly Layer[]): Generator<Uint8Array[]> {
  const walks = layers.map(({ mask }) => mask.slabs());
  for (;;) {
    const slabs = walks.map((walk) => walk.next());
    if (slabs.some(({ done }) => done)) return;
    yield slabs.map(({ value }) => value as Uint8Array);
  }
}
