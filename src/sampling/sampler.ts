import type { Plan } from '../config/plan.js';
import { BatchCutter } from './cutter.js';
import { arraysOf, batchArrays, batchBytes, type FieldArrays, type StepBatch, withUnknownVoxels } from './fields.js';
import { promptsOf, RecipeMaker, type StepRecipe } from './recipe.js';
import type { SamplingData } from './rows.js';

/** How long the arrays of a batch hold. */
export interface SamplerOptions {
  /** Blocks of memory used in turn: a batch holds until `batch` has been called `buffers` more times. Default 2. */
  readonly buffers?: number;
}

/** Batches that are made when they are asked for. */
export interface Sampler {
  /**
   * The batch of a step: a pure function of the plan (with its seed), the cases and the step, in whatever order steps are
   * asked for. Its arrays hold until `batch` has been called `buffers` more times.
   */
  batch(step: number): StepBatch;
  /** The decisions behind a batch, without its voxels. */
  recipe(step: number): StepRecipe;
}

/** What a batch says of its cases and prompts, without its voxels. */
export function batchFacts(recipe: StepRecipe, { labeled }: SamplingData): Omit<StepBatch, 'fields'> {
  const nameOf = ({ dataset, id }: SamplingData['labeled'][number]) => `${dataset}/${id}`;
  return {
    step: recipe.step,
    prompts: promptsOf(recipe),
    caseIds: recipe.labeled.map(({ caseIndex }) => nameOf(labeled[caseIndex]!)),
  };
}

/** The batch of a recipe whose voxels lie in `arrays`, which hold the fields of all steps. */
export function stepBatch(plan: Plan, data: SamplingData, recipe: StepRecipe, arrays: FieldArrays): StepBatch {
  return { ...batchFacts(recipe, data), fields: arraysOf(withUnknownVoxels(plan, data), recipe.step, arrays) };
}

/**
 * @param data labelled cases with labels; of unlabelled ones only the images are read
 * @throws VERSEMI_SPLIT_INVALID when there are no cases for what the plan asks
 */
export function createSampler(plan: Plan, data: SamplingData, { buffers = 2 }: SamplerOptions = {}): Sampler {
  const maker = new RecipeMaker(plan, data);
  const cutter = new BatchCutter(plan, data);
  const all = withUnknownVoxels(plan, data);
  const ring = Array.from({ length: buffers }, () => batchArrays(all, new ArrayBuffer(batchBytes(all))));
  let made = 0;
  return {
    recipe: (step) => maker.recipe(step),
    batch(step) {
      const recipe = maker.recipe(step);
      const arrays = ring[made++ % ring.length]!;
      cutter.fill(recipe, arrays);
      return stepBatch(plan, data, recipe, arrays);
    },
  };
}
