import type { Plan } from '../config/plan.js';
import { type ErrorCode, type ErrorDetails, isVersemiError, VersemiError } from '../errors.js';
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

export interface PlainError {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
}

export interface Answer {
  readonly id: number;
  readonly error?: PlainError;
}

/** An error as it can cross threads. */
export function toPlain(error: unknown): PlainError {
  if (isVersemiError(error)) return { code: error.code.replace('VERSEMI_', '') as ErrorCode, details: error.details };
  return {
    code: 'INTERNAL',
    details: {
      field: 'prefetch worker',
      found: error instanceof Error ? (error.stack ?? error.message) : String(error),
    },
  };
}

export function fromPlain({ code, details }: PlainError): VersemiError {
  return new VersemiError(code, details);
}
