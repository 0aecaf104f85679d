import type { Plan } from '../config/plan.js';
import { batchArrays, batchBytes, stepBatch } from './buffers.js';
import { BatchCutter, type SamplingData } from './cutter.js';
import { RecipeMaker, type StepRecipe } from './recipe.js';
import type { StepBatch } from './types.js';

export interface SamplerOptions {
  /** Blocks of memory used in turn: a batch holds until `batch` has been called `buffers` more times. Default 2. */
  readonly buffers?: number;
}

export interface Sampler {
  /**
   * The batch of a step: a pure function of the plan (with its seed), the cases, the step and the stage, in whatever
   * order steps are asked for. Its arrays hold until `batch` has been called `buffers` more times.
   */
  batch(step: number, stage: 1 | 2): StepBatch;
  /** The decisions behind a batch, without its voxels. */
  recipe(step: number, stage: 1 | 2): StepRecipe;
}

/** `dataset/id` of cases. */
export function caseNames(cases: SamplingData['labeled']): string[] {
  return cases.map(({ dataset, id }) => `${dataset}/${id}`);
}

/**
 * @param data labelled cases with labels; of unlabelled ones only the images are read
 * @throws VERSEMI_SPLIT_INVALID when there are no cases for what the plan asks
 */
export function createSampler(plan: Plan, data: SamplingData, { buffers = 2 }: SamplerOptions = {}): Sampler {
  const maker = new RecipeMaker(plan, data);
  const cutter = new BatchCutter(plan, data);
  const names = caseNames(data.labeled);
  const ring = Array.from({ length: buffers }, () => batchArrays(plan, new ArrayBuffer(batchBytes(plan))));
  let made = 0;
  return {
    recipe: (step, stage) => maker.recipe(step, stage),
    batch(step, stage) {
      const recipe = maker.recipe(step, stage);
      const arrays = ring[made++ % ring.length]!;
      cutter.fill(recipe, arrays);
      return stepBatch(recipe, arrays, names);
    },
  };
}
