/** What the ranks of a training agree on: the same run, and when it ends. */
import { createHash } from 'node:crypto';
import type { Plan } from '../config/plan.js';
import { batchOfRanks } from '../config/steps.js';
import { VersemiError } from '../errors.js';
import { ownLossTerms } from '../losses/own-term.js';
import { architectureOf } from '../model/layers.js';
import type { Communicator } from '../ranks/communicator.js';
import type { BatchShare } from '../sampling/share.js';
import type { TrainingState } from './step.js';

/** A plan whose batch is that of a step of all ranks, and the part of one rank in it; the plan itself where there is one rank. */
export type RankPlan = Plan & { readonly share?: BatchShare };

/**
 * The plan as a rank computes it. Where the plan states the batch of a rank, the batch of a step has as many times more.
 * @throws VERSEMI_PLAN_CONTRADICTION where a rank would have no labelled patch in any step, or a loss term or network of one's own is
 *   not made for ranks
 */
export function rankPlan(plan: Plan, { rank, size: ranks }: Communicator): RankPlan {
  if (ranks === 1) return plan;
  requirePartsForRanks(plan, ranks);
  const [labeledBatchSize, unlabeledBatchSize] = batchOfRanks(plan, ranks);
  if (labeledBatchSize < ranks)
    throw new VersemiError('PLAN_CONTRADICTION', {
      field: 'training.labeledBatchSize',
      expected: `at least ${ranks} patches, one for each rank`,
      found: String(labeledBatchSize),
      remedy: "Start fewer ranks, enlarge the batch, or set training.batchSizeScope to 'rank'.",
    });
  return { ...plan, training: { ...plan.training, labeledBatchSize, unlabeledBatchSize }, share: { rank, ranks } };
}

/** What a part of one's own sums over the batch nobody else knows, and with several ranks each has a part of the batch alone. */
function requirePartsForRanks({ losses, network }: Plan, ranks: number): void {
  const parts = [
    ...Object.keys(losses.own ?? {}).map((name) => {
      const field = `losses.own.${name}`;
      return { field, part: ownLossTerms.get(name, field) };
    }),
    { field: 'network.architecture', part: architectureOf(network) },
  ];
  for (const { field, part } of parts)
    if (part.acrossRanks !== true)
      throw new VersemiError('PLAN_CONTRADICTION', {
        field,
        expected: 'parts whose sums over images are taken over the images of all ranks (acrossRanks)',
        found: `${part.name}, which does not say so, with ${ranks} ranks`,
        remedy: 'Train in one process (--ranks none), leave the part out, or write it for ranks (docs/own-parts.md).',
      });
}

/** What must be the same on all ranks, by the name that an error sentence gives it. */
export type RankFacts = Readonly<Record<string, string>>;

/** A short text that two values have in common only if they are the same. */
export function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** @throws VERSEMI_RANKS_DIFFER on every rank, naming the first fact and rank where there is a difference from rank 0 */
export async function requireSame(ranks: Communicator, facts: RankFacts, remedy: string): Promise<void> {
  if (ranks.size === 1) return;
  const all = await ranks.gather(facts);
  for (const field of Object.keys(all[0]!))
    for (const [rank, one] of all.entries())
      if (one[field] !== all[0]![field])
        throw new VersemiError('RANKS_DIFFER', {
          field,
          expected: `${all[0]![field]}, as rank 0 has it`,
          found: `${one[field] ?? 'nothing'} on rank ${rank}`,
          remedy,
        });
}

/**
 * Weights, their average and what the optimiser remembers are the same on every rank, bit for bit, as long as every rank rounds alike.
 * @throws VERSEMI_RANKS_DIFFER
 */
export async function requireSameState(ranks: Communicator, state: TrainingState, step: number): Promise<void> {
  if (ranks.size === 1) return;
  const hash = createHash('sha256');
  const all = [await state.network.values(), await state.average.values(), await state.optimizer.state()];
  for (const values of all)
    for (const one of values.values()) hash.update(new Uint8Array(one.buffer, one.byteOffset, one.byteLength));
  await requireSame(
    ranks,
    { [`weights after step ${step}`]: hash.digest('hex').slice(0, 16) },
    'Use processors of one kind with the same versemi (VERSEMI_ISA restricts their instruction set), and go on with --resume.',
  );
}

/** Of each of several facts whether any rank says so. */
export function anyRank(ranks: Communicator, says: readonly boolean[]): boolean[] {
  if (ranks.size === 1) return [...says];
  const all = ranks.allGather(Float64Array.from(says, Number));
  return says.map((_, fact) => all.some((one, i) => i % says.length === fact && one !== 0));
}

/** How many ranks a run has, in words. @param before ranks of the run until its checkpoint; undefined where it begins */
export function ranksNotice({ training }: Plan, ranks: Communicator, before: number | undefined): string {
  const { labeledBatchSize, unlabeledBatchSize } = training;
  const unlabeled = training.mode === 'supervised' ? '' : ` and ${unlabeledBatchSize} unlabelled`;
  const batch = `${labeledBatchSize} labelled${unlabeled} patches in a step`;
  const now = ranks.size > 1 ? `${ranks.size} ranks (${ranks.description})` : 'one process';
  const earlier = before === undefined || before === ranks.size ? '' : `, where it had ${before} until now`;
  return `The run has ${now}${earlier}: ${batch}.`;
}
