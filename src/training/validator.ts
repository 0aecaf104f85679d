import type { Plan } from '../config/plan.js';
import { caseDice, type Validation, validationOf } from '../inference/evaluate.js';
import type { VersemiNetwork } from '../model/network.js';
import type { PreprocessedCase } from '../preprocessing/preprocessed-case.js';
import type { Communicator } from '../ranks/communicator.js';
import { voxelCount } from '../volume/volume.js';

/** Dice of each task by name; a task without validation cases is null or left out. */
export type Validator = (
  network: VersemiNetwork,
  step: number,
) => Promise<{ readonly perTask: Readonly<Record<string, number | null>> }>;

/** Sliding-window Dice without mirroring and post-processing, which would cost more than they tell; each case on one rank. */
export function slidingValidator(plan: Plan, cases: readonly PreprocessedCase[], ranks: Communicator): Validator {
  const own = casesOfRank(cases, ranks);
  return async (network): Promise<Validation> => {
    const found: (readonly [index: number, dice: Awaited<ReturnType<typeof caseDice>>])[] = [];
    for (const index of own) found.push([index, await caseDice({ network, plan }, cases[index]!, { mirror: false })]);
    // In the order of the cases: their mean is then the same number, however they were shared out.
    const all = (await ranks.gather(found)).flat().sort(([a], [b]) => a - b);
    return validationOf(
      plan,
      all.flatMap(([, dice]) => dice),
    );
  };
}

/** Places of the cases that a rank validates: the largest first, each to the rank that has the fewest voxels so far. */
function casesOfRank(cases: readonly PreprocessedCase[], { rank, size }: Communicator): number[] {
  const voxels = cases.map(({ sizeVoxels }) => voxelCount(sizeVoxels));
  const order = cases.map((_, index) => index).sort((a, b) => voxels[b]! - voxels[a]! || a - b);
  const load = Array.from({ length: size }, () => 0);
  return order.filter((index) => {
    const least = load.indexOf(Math.min(...load));
    load[least]! += voxels[index]!;
    return least === rank;
  });
}
