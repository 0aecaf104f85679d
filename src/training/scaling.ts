/**
 * What a step of a plan takes on several machines: a model of its time, from that of one process and from latency and bandwidth of
 * the network. Where it was compared with measurements: NOTES.md.
 */
import type { Plan } from '../config/plan.js';
import {
  comparesWithAverage,
  forwardPasses,
  type LossTerm,
  type StepGroup,
  stepTerms,
  totalSteps,
  trunkPasses,
} from '../config/steps.js';
import { networkConfig, parameterCount } from '../model/layers.js';
import { shareRows } from '../sampling/share.js';
import { hasGroups } from './row-groups.js';

/** The network between the machines. */
export interface NetworkLink {
  /** From one rank to another, of a short message, one way. */
  readonly latencySeconds: number;
  /** Of one rank, in each direction. */
  readonly bytesPerSecond: number;
}

export type ScalingPlan = Pick<Plan, 'network' | 'tasks' | 'training' | 'losses' | 'cutmix'>;

/** A step on so many ranks, and what its time is made of. */
export interface RankedStep {
  readonly ranks: number;
  /** Labelled and unlabelled patches of the whole step. */
  readonly batch: readonly [labeled: number, unlabeled: number];
  /** The sum of the two that follow. */
  readonly secondsPerStep: number;
  /** The kernels of the rank that has most to do, and what every rank does alike. */
  readonly computeSeconds: number;
  /** Waiting for sums over the ranks. */
  readonly communicationSeconds: number;
  /** What each rank sends. */
  readonly bytesSent: number;
  /** Sums over the ranks, those of gradients among them. */
  readonly sums: number;
  /** Seconds of one process with the same batch, divided by ranks and by seconds here. */
  readonly efficiency: number;
}

/**
 * What a rank does alike whatever its share, per parameter: Adam and the moving average read and write ten numbers of 4 bytes, at the
 * 8 GB/s of one core.
 */
const secondsPerParameter = 40 / 8e9;

/** What the gradients of a group cost a rank beside their way: out of the device, added up in double precision, back. */
const gradientSecondsPerByte = 1 / 1.2e9;

/** What a sum costs beside its messages: the thread of MPI wakes up, and wakes up the one that waits. */
const handlingSeconds = 60e-6;

/** What each further rank adds to a sum: one more message out and in. */
const messageSeconds = 3e-6;

/** Sums over the batch of each term; Dice and cross-entropy come out of one. */
const sumsOfTerm: Readonly<Record<LossTerm, number>> = {
  dice: 1,
  crossEntropy: 0,
  synthetic: 1,
  auxiliary: 1,
  unsupervised: 1,
  cube: 1,
  cubeTasks: 1,
  agreement: 1,
  teacher: 1,
};

/** Batch normalisations of the heads: each sums its statistics over the batch, and their gradients. */
const batchNorms = 2;

/**
 * Sums over the ranks in a step, those of gradients apart.
 * @param step counts from 0
 */
export function sumsPerStep(plan: ScalingPlan, step: number): { readonly small: number; readonly gradients: number } {
  const terms = stepTerms(plan, step);
  const groups = Object.values(terms).filter((of) => of.length > 0);
  const averaged =
    comparesWithAverage(terms) && plan.losses.teacherStatistics === 'batch'
      ? batchNorms * (1 + plan.losses.noisyPasses)
      : 0;
  // The auxiliary term is one sum for either cube, where rows have no groups.
  const ofTerm = (term: LossTerm) => (sumsOfTerm[term] ?? 0) + (term === 'auxiliary' && !hasGroups(plan) ? 1 : 0);
  const ofGroups = groups.map((of) => 2 * batchNorms + of.reduce((sum, term) => sum + ofTerm(term), 0));
  return { small: ofGroups.reduce((sum, one) => sum + one, averaged), gradients: groups.length };
}

/**
 * The time of a step on `ranks` machines.
 * @param step counts from 0; all steps of a stage are alike
 * @param aloneSeconds what the same step takes in one process on one such machine, with `plan`'s batch
 * @param batch patches of the whole step; default: the plan's
 */
export function rankedStep(
  plan: ScalingPlan,
  step: number,
  aloneSeconds: number,
  ranks: number,
  link: NetworkLink,
  batch: readonly [labeled: number, unlabeled: number] = batchOf(plan),
): RankedStep {
  const scaled = withBatch(plan, batch);
  const parameters = parameterCount(networkConfig(plan));
  const fixed = Math.min(aloneSeconds / 2, parameters * secondsPerParameter);
  const passes = (of: ScalingPlan) => forwardPasses(trunkPasses(of, step));
  const secondsPerPass = (aloneSeconds - fixed) / passes(plan);
  const alone = fixed + secondsPerPass * passes(scaled);
  if (ranks === 1)
    return {
      ...{ ranks, batch, secondsPerStep: alone, computeSeconds: alone, communicationSeconds: 0 },
      ...{ bytesSent: 0, sums: 0, efficiency: 1 },
    };

  const groups = busiestRank(scaled, step, ranks);
  const computeSeconds = fixed + secondsPerPass * groups.reduce((sum, { passes }) => sum + passes, 0);
  const { small, gradients } = sumsPerStep(plan, step);
  const round = link.latencySeconds + handlingSeconds + (ranks - 1) * messageSeconds;
  const gradientBytes = 4 * parameters;
  const sentBytes = (2 * (ranks - 1) * gradientBytes) / ranks;
  const transfer = 2 * round + sentBytes / link.bytesPerSecond;
  // The sum of one group's gradients is under way while the next group computes; nothing hides that of the last.
  const exposed = groups.map((_, i) => Math.max(0, transfer - secondsPerPass * (groups[i + 1]?.passes ?? 0)));
  const communicationSeconds =
    small * round + gradients * gradientBytes * gradientSecondsPerByte + exposed.reduce((sum, one) => sum + one, 0);
  const secondsPerStep = computeSeconds + communicationSeconds;
  return {
    ...{ ranks, batch, secondsPerStep, computeSeconds, communicationSeconds },
    ...{ bytesSent: gradients * sentBytes, sums: small + gradients },
    efficiency: alone / (ranks * secondsPerStep),
  };
}

/** Forward passes, in units of one, of each group that has any, on the rank that has most in all. */
function busiestRank(plan: ScalingPlan, step: number, ranks: number): { readonly passes: number }[] {
  const terms = stepTerms(plan, step);
  const names = (Object.keys(terms) as StepGroup[]).filter((name) => terms[name].length > 0);
  const averaged = comparesWithAverage(terms) ? 1 + plan.losses.noisyPasses : 0;
  const each = Array.from({ length: ranks }, (_, rank) => {
    const { rows } = shareRows({ ...plan, share: { rank, ranks } });
    return names.map((name) => ({ passes: rows[name].length * (3 + (name === 'unlabeled' ? averaged : 0)) }));
  });
  const total = (groups: readonly { readonly passes: number }[]) => groups.reduce((sum, { passes }) => sum + passes, 0);
  return each.reduce((most, groups) => (total(groups) > total(most) ? groups : most));
}

/** Efficiency that a batch is looked for with. */
export const wantedEfficiency = 0.9;

/** No batch is larger than so many times the plan's. */
const largestFactor = 256;

/**
 * The smallest batch, a whole multiple of the plan's that all ranks share evenly, with which so many machines are used well.
 * @returns undefined where there is none
 */
export function batchForRanks(
  plan: ScalingPlan,
  step: number,
  aloneSeconds: number,
  ranks: number,
  link: NetworkLink,
): RankedStep | undefined {
  const [labeled, unlabeled] = batchOf(plan);
  for (let factor = 1; factor <= largestFactor; factor++) {
    const batch = [factor * labeled, factor * unlabeled] as const;
    if (batch[0] < ranks) continue;
    const one = rankedStep(plan, step, aloneSeconds, ranks, link, batch);
    if (one.efficiency >= wantedEfficiency) return one;
  }
  return undefined;
}

function batchOf({ training }: ScalingPlan): [labeled: number, unlabeled: number] {
  return [training.labeledBatchSize, training.unlabeledBatchSize];
}

function withBatch(plan: ScalingPlan, [labeledBatchSize, unlabeledBatchSize]: readonly [number, number]): ScalingPlan {
  return { ...plan, training: { ...plan.training, labeledBatchSize, unlabeledBatchSize } };
}

/** The first step of the last stage: the one that a run has most of, and the costliest. */
export function lastStageStep({ training }: Pick<Plan, 'training'>): number {
  return Math.max(0, totalSteps(training) - 1);
}
