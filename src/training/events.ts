import type { LossValues } from '../config/steps.js';
import type { CaseRole } from '../preprocessing/preprocess-datasets.js';
import type { Traffic } from '../ranks/communicator.js';
import type { ProgramVersion } from '../root.js';

/** What `train` yields; from `start` on, each also becomes a line of metrics.jsonl. Steps count from 1: the number of steps done. */
export type TrainingEvent =
  | CaseEvent
  | StartEvent
  | StepEvent
  | ValidationEvent
  | CheckpointEvent
  | LogEvent
  | EndEvent;

/** A case is preprocessed, or was found in the cache; all come before `start`. */
export interface CaseEvent {
  readonly type: 'case';
  readonly step: 0;
  readonly role: CaseRole;
  readonly dataset: string;
  readonly id: string;
  readonly cached: boolean;
  /** Counts from 1 to total. */
  readonly index: number;
  readonly total: number;
}

/** The device is chosen and the data are there: the first step follows. */
export interface StartEvent {
  readonly type: 'start';
  /** Steps already done: 0, or where a resumed run goes on. */
  readonly step: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** TF.js backend, and why it was chosen. */
  readonly device: string;
  readonly why: string;
  /** Trained numbers of the network. */
  readonly parameters: number;
  readonly cases: { readonly labeled: number; readonly unlabeled: number; readonly validation: number };
  /** ISO 8601. */
  readonly created: string;
  readonly program: ProgramVersion;
}

/** A step has been done. */
export interface StepEvent {
  readonly type: 'step';
  readonly step: number;
  readonly stage: 1 | 2;
  /** Terms before their weights, and `total`, their weighted sum. */
  readonly losses: Readonly<LossValues & { total: number }>;
  readonly learningRate: number;
  /** Euclidean norm, before clipping. */
  readonly gradientNorm: number;
  /** Labelled and unlabelled patches per second. */
  readonly samplesPerSecond: number;
  /** Seconds that the step took, waiting included. */
  readonly secondsPerStep: number;
  /** Of these, seconds spent waiting for the batch. */
  readonly waitSeconds: number;
  /** Estimate until the last step; validations are not counted. */
  readonly etaSeconds: number;
  /** Most memory of the device that was in use at one time so far; absent where the backend is not one of ours. */
  readonly bytesPeak?: number;
  /**
   * Of several ranks: what rank 0 has sent through MPI in this step, and how long it has waited for others; absent in a run of one process. What
   * goes from GPU to GPU is not counted.
   */
  readonly communication?: Traffic;
}

/** The validation cases have been segmented and compared. */
export interface ValidationEvent {
  readonly type: 'validation';
  readonly step: number;
  /** Mean Dice of each task that has validation cases. */
  readonly perTask: Readonly<Record<string, number>>;
  /** Mean of the tasks. */
  readonly mean: number;
  /** Whether this is the best so far: checkpoints/best.safetensors is then written. */
  readonly best: boolean;
  readonly seconds: number;
}

/** A checkpoint has been written. */
export interface CheckpointEvent {
  readonly type: 'checkpoint';
  readonly step: number;
  readonly file: string;
  /** Whether this is the best model so far by validation; else it is where a run can go on. */
  readonly best: boolean;
}

/** One sentence that a person should know. */
export interface LogEvent {
  readonly type: 'log';
  readonly step: number;
  readonly message: string;
}

/** The last event of a run that ends by itself or by its signal. */
export interface EndEvent {
  readonly type: 'end';
  readonly step: number;
  readonly reason: 'finished' | 'aborted';
  /** The final model; absent when aborted. */
  readonly model?: string;
  /** Of this part of the run. */
  readonly seconds: number;
}
