import { RandomStream, streams } from '../random.js';

/** A difference with the interval in which it lies in most of the resampled sets of cases. */
export interface PairedDifference {
  readonly mean: number;
  /** Percentile bootstrap interval (Efron and Tibshirani, 1993) at 95 %. */
  readonly low: number;
  readonly high: number;
  /** Cases that both sides have. */
  readonly cases: number;
}

const resamples = 10_000;
const level = 0.95;

/**
 * Mean of the differences of pairs, and its bootstrap interval over cases. Each group (a task) is averaged over its cases, and
 * the mean over the groups is taken; cases are drawn again within their stratum (a dataset), all groups of a case together.
 * @param differences per case: its stratum, and the difference of each group that it has
 * @param seed of the draws: the same interval each time
 */
export function pairedDifference(
  differences: readonly { readonly stratum: string; readonly byGroup: ReadonlyMap<string, number> }[],
  seed: number,
): PairedDifference | undefined {
  if (differences.length === 0) return undefined;
  const groups = [...new Set(differences.flatMap(({ byGroup }) => [...byGroup.keys()]))];
  const cases = differences.map(({ byGroup }) =>
    [...byGroup].map(([group, value]) => ({ group: groups.indexOf(group), value })),
  );
  const strata = [...new Set(differences.map(({ stratum }) => stratum))].map((name) =>
    differences.flatMap(({ stratum }, i) => (stratum === name ? [i] : [])),
  );
  const sums = new Float64Array(groups.length);
  const counts = new Float64Array(groups.length);
  /** Mean over the groups that occur of the mean over their cases. */
  const meanOf = (drawn: Iterable<number>): number => {
    sums.fill(0);
    counts.fill(0);
    for (const i of drawn)
      for (const { group, value } of cases[i]!) {
        sums[group]! += value;
        counts[group]!++;
      }
    let [total, present] = [0, 0];
    for (let group = 0; group < sums.length; group++)
      if (counts[group]! > 0) {
        total += sums[group]! / counts[group]!;
        present++;
      }
    return total / present;
  };
  const random = new RandomStream(seed, streams.bootstrap);
  const drawn = new Int32Array(cases.length);
  const means = Float64Array.from({ length: resamples }, () => {
    let next = 0;
    for (const members of strata)
      for (let i = 0; i < members.length; i++) drawn[next++] = members[random.integer(members.length)]!;
    return meanOf(drawn);
  }).sort();
  const at = (share: number) => means[Math.min(resamples - 1, Math.floor(share * resamples))]!;
  const tail = (1 - level) / 2;
  return { mean: meanOf(cases.keys()), low: at(tail), high: at(1 - tail), cases: cases.length };
}
