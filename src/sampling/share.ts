/** Which part of a batch one rank of a training computes. */
import type { Plan } from '../config/plan.js';
import type { StepGroup } from '../config/steps.js';

/** One of the ranks that compute the batches of a run together. */
export interface BatchShare {
  /** Counts from 0. */
  readonly rank: number;
  /** Number of ranks. */
  readonly ranks: number;
}

/** What the rows of a share follow from. */
export interface SharePlan {
  readonly training: Pick<Plan['training'], 'labeledBatchSize' | 'unlabeledBatchSize'>;
  readonly cutmix: Pick<Plan['cutmix'], 'unlabeledMix'>;
  /** Absent: this process computes the whole batch. */
  readonly share?: BatchShare;
}

export interface ShareRows {
  /** Of the labelled patches, the mixes of labelled patches, and the unlabelled patches of the step: at least one of each group that has any. */
  readonly rows: Readonly<Record<StepGroup, readonly number[]>>;
  /**
   * False where a group has fewer rows than there are ranks, and none for this one. The rank then computes one that another has too,
   * which must count nowhere: so every rank runs the same ops and takes part in the same sums.
   */
  readonly counts: Readonly<Record<StepGroup, boolean>>;
}

/**
 * The rows of a rank. All ranks together have every row that counts once; the order of rows is that of the batch. Labelled patches
 * that are mixed with each other go to the same rank as far as there are enough pairs, so that each patch is cut once.
 */
export function shareRows({ training, cutmix, share }: SharePlan): ShareRows {
  const { labeledBatchSize, unlabeledBatchSize } = training;
  const pairs = Math.floor(labeledBatchSize / 2);
  const labeled = labeledBatchSize % 2 === 0 ? inPairs(labeledBatchSize).flat() : upTo(labeledBatchSize);
  // What the average finds in an unlabelled patch is mixed with what it finds in the patch's partner.
  const together = cutmix.unlabeledMix === 'unlabeled-pairs' && unlabeledBatchSize % 2 === 0;
  const groups: Record<StepGroup, readonly (readonly number[])[]> = {
    labeled: labeled.map((row) => [row]),
    mixed: upTo(pairs).map((row) => [row]),
    unlabeled: together ? inPairs(unlabeledBatchSize) : upTo(unlabeledBatchSize).map((row) => [row]),
  };
  const parts = Object.entries(groups).map(([name, units]) => [name as StepGroup, partOf(units, share)] as const);
  return {
    rows: Object.fromEntries(parts.map(([name, { rows }]) => [name, rows])) as unknown as ShareRows['rows'],
    counts: Object.fromEntries(parts.map(([name, { counts }]) => [name, counts])) as unknown as ShareRows['counts'],
  };
}

/** Rows that stay together, a contiguous stretch of them per rank, as equal as can be. */
function partOf(units: readonly (readonly number[])[], share: BatchShare | undefined) {
  const { rank, ranks } = share ?? { rank: 0, ranks: 1 };
  const begin = Math.floor((units.length * rank) / ranks);
  const end = Math.floor((units.length * (rank + 1)) / ranks);
  const counts = end > begin;
  const own = counts ? units.slice(begin, end) : units.slice(begin, begin + 1);
  return { rows: own.flat().sort((a, b) => a - b), counts: counts || units.length === 0 };
}

/** Row i with row i + n / 2. */
function inPairs(count: number): number[][] {
  return upTo(count / 2).map((row) => [row, row + count / 2]);
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
