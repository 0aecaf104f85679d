import type * as tf from '#tfjs';
import type { Plan } from '../config/plan.js';
import type { RowGroups } from '../losses/overlap.js';
import type { InputSource, StepValues } from './step-data.js';

type GroupsPlan = Pick<Plan, 'tasks' | 'training' | 'losses'>;

/** Whether rows of a batch are taken together by groups: where Dice is taken per task, or where repeated prompts must not count. */
export function hasGroups({ training, losses }: GroupsPlan): boolean {
  return losses.diceOver === 'task' || training.promptsPerImage === 'each';
}

/**
 * The groups of the rows of a loss term: one per task of the plan and one for the synthetic task, or a single one where Dice
 * is taken over the batch. With `promptsPerImage: each` a prompt that an image has a second time is in no group: it only fills
 * the tensor, which has as many prompts for each image.
 * @param name of the term
 * @param prompts for each image of the batch the tasks of its rows, which follow each other
 * @param images the images of which this process has the rows; absent: all. Weights are those of the whole batch.
 * @returns values of `NAME.members` and `NAME.weights`; none where the plan takes all rows together
 */
export function groupValues(
  name: string,
  plan: GroupsPlan,
  prompts: readonly (readonly number[])[],
  images: readonly number[] = prompts.map((_, image) => image),
): StepValues {
  if (!hasGroups(plan)) return new Map();
  const perTask = plan.losses.diceOver === 'task';
  const once = plan.training.promptsPerImage === 'each';
  const groups = perTask ? plan.tasks.length + 1 : 1;
  const groupOf = (task: number) => (perTask ? task : 0);
  const occurs = new Set(prompts.flat().map(groupOf));
  const own = images.map((image) => prompts[image]!);
  const rows = own.flat().length;
  const members = new Float32Array(groups * rows);
  let row = 0;
  for (const tasks of own)
    for (const [i, task] of tasks.entries()) {
      if (!once || tasks.indexOf(task) === i) members[groupOf(task) * rows + row] = 1;
      row++;
    }
  const weights = Float32Array.from({ length: groups }, (_, group) => (occurs.has(group) ? 1 / occurs.size : 0));
  return new Map([
    [`${name}.members`, { values: members, shape: [groups, rows] }],
    [`${name}.weights`, { values: weights, shape: [groups] }],
  ]);
}

/** The tensors of `groupValues`. */
export function rowGroups(name: string, plan: GroupsPlan, inputs: InputSource): RowGroups | undefined {
  if (!hasGroups(plan)) return undefined;
  return {
    members: inputs.get<tf.Tensor2D>(`${name}.members`),
    weights: inputs.get<tf.Tensor1D>(`${name}.weights`),
  };
}
