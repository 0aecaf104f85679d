import type { Plan } from '../config/plan.js';
import type { PlainError } from '../plain-error.js';
import type { SamplingData } from './cutter.js';
import type { StepRecipe } from './recipe.js';

/** What a worker is given when it starts; the volumes and blocks are shared memory, not copies. */
export interface WorkerStart {
  readonly plan: Plan;
  readonly data: SamplingData;
  /** One block of `batchBytes(plan)` per slot. */
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
