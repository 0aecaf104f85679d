import type { Plan } from '../config/plan.js';
import { type FieldName, fieldShape, fieldsOf, type StepBatch } from './fields.js';
import { promptsPerImage, type StepPrompts } from './recipe.js';

/**
 * A batch of a step whose voxels do not come from cases: what is timed or compared where no case counts.
 * @param voxels gives so many voxels for a field
 * @param prompts default: the tasks of the plan in turn
 */
export function madeBatch(
  plan: Plan,
  step: number,
  voxels: (name: FieldName, count: number) => Float32Array,
  prompts: StepPrompts = promptsInTurn(plan),
): StepBatch {
  const countOf = (name: FieldName) => fieldShape(plan, name).reduce((product, size) => product * size, 1);
  return {
    step,
    prompts,
    caseIds: prompts.labeled.map((_, i) => `made/${i}`),
    fields: Object.fromEntries(fieldsOf(plan, step).map((name) => [name, voxels(name, countOf(name))])),
  };
}

function promptsInTurn(plan: Plan): StepPrompts {
  const { labeledBatchSize, unlabeledBatchSize } = plan.training;
  const some = (images: number, count: number) =>
    Array.from({ length: images }, (_, i) => Array.from({ length: count }, (_, p) => (i + p) % plan.tasks.length));
  const perImage = promptsPerImage(plan);
  return {
    labeled: some(labeledBatchSize, perImage),
    mixed: some(labeledBatchSize / 2, 2) as [number, number][],
    unlabeled: some(unlabeledBatchSize, perImage),
  };
}
