import { parentPort, workerData } from 'node:worker_threads';
import type { Plan } from '../config/plan.js';
import { inheritParts } from '../load-parts.js';
import { type PlainError, toPlain } from '../plain-error.js';
import { BatchCutter } from './cutter.js';
import { batchArrays, withUnknownVoxels } from './fields.js';
import type { StepRecipe } from './recipe.js';
import type { SamplingData } from './rows.js';

/** What a worker is given when it starts; the volumes and blocks are shared memory, not copies. */
export interface WorkerStart {
  readonly plan: Plan;
  readonly data: SamplingData;
  /** One block of `batchBytes` per slot. */
  readonly blocks: readonly SharedArrayBuffer[];
}

export interface Job {
  readonly id: number;
  readonly recipe: StepRecipe;
  readonly slot: number;
}

export interface Answer {
  readonly id: number;
  readonly error?: PlainError;
}

// A worker thread of the prefetcher: carries out recipes in the order in which they come, into shared memory.
const { plan, data, blocks } = workerData as WorkerStart;
const port = parentPort!;
await inheritParts();
const all = withUnknownVoxels(plan, data);
const arrays = blocks.map((block) => batchArrays(all, block));
const cutter = new BatchCutter(plan, data);

port.on('message', ({ id, recipe, slot }: Job) => {
  let answer: Answer = { id };
  try {
    cutter.fill(recipe, arrays[slot]!);
  } catch (error) {
    answer = { id, error: toPlain(error, 'prefetch worker') };
  }
  port.postMessage(answer);
});
