/**
 * What a step of a plan takes on several machines: a model of its time from that of one process and from latency and bandwidth of
 * the network. What was measured against it: NOTES.md.
 */
import type { Plan } from '../config/plan.js';
import {
  comparesWithAverage,
  forwardPasses,
  type LossTerm,
  type StepGroup,
  stepTerms,
  type TermsPlan,
  trunkPasses,
} from '../config/steps.js';
import { networkConfig, parameterCount } from '../model/layers.js';
import { shareRows } from '../sampling/share.js';

export interface NetworkLink {
  /** Seconds that a short message takes from one rank to another, one way. */
  readonly latencySeconds: number;
  /** Of one rank, in each direction. */
  readonly bytesPerSecond: number;
}

export type ScalingPlan = Pick<Plan, 'network' | 'tasks' | 'training' | 'losses' | 'cutmix'>;

/** Seconds of a step on so many ranks, and what they are made of. */
export interface RankedStep {
  readonly ranks: number;
  readonly secondsPerStep: number;
  /** Of `secondsPerStep`: kernels on the rank that has most to do, and what every rank does alike. */
  readonly computeSeconds: number;
  /** Of `secondsPerStep`: waiting for sums. */
  readonly communicationSeconds: number;
  /** Bytes that each rank sends. */
  readonly bytesSent: number;
  /** Sums over the ranks. */
  readonly sums: number;
  /** Seconds of one process, divided by ranks and by seconds here. */
  readonly efficiency: number;
}

/**
 * What every rank does alike whatever its share, per parameter: Adam and the moving average read and write ten numbers of 4 bytes, at
 * 8 GB/s.
 */
const secondsPerParameter = 40 / 8e9;

/** A rank's own work on the gradients of a group: out of the device, into it, and adding up its part. Bytes per second. */
const gradientCopyBytesPerSecond = 1.5e9;
