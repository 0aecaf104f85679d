import type { Region } from '../datasets/label-meanings.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { lookupOf } from './targets.js';

/** How much of the labels that one task may be made of hangs together. */
export interface LabelPieces {
  /** Ascending. */
  readonly labels: readonly number[];
  /** Share of their voxels that lies in the largest component (26 neighbours): 1 for one piece. Mean over the cases looked at. */
  readonly largestShare: number;
}

/** Each set of labels costs a search of the whole scan: where there are more labels, or more voxels, nothing is looked at. */
const mostLabels = 8;
const mostVoxels = 2 ** 28;

/**
 * Of each label of a case, of each region and of all labels together.
 * @param label one byte per voxel
 * @param values labels that the case has
 */
export function piecesOfCase(
  label: Uint8Array,
  sizeVoxels: Triple,
  values: readonly number[],
  regions: readonly Region[] = [],
): LabelPieces[] {
  if (values.length > mostLabels || voxelCount(sizeVoxels) > mostVoxels) return [];
  const sets = [
    ...values.map((value) => [value]),
    ...regions.map(({ labels }) => ascending(labels)),
    ascending(values),
  ];
  return distinct(sets).flatMap((labels) => {
    const lookup = lookupOf(labels);
    const mask = label.map((value) => lookup[value]!);
    const whole = ones(mask);
    if (whole === 0) return [];
    return [{ labels, largestShare: ones(host().largestComponent(mask, sizeVoxels, 26, mask)) / whole }];
  });
}

/** The mean over cases of each set of labels. */
export function meanPieces(cases: readonly (readonly LabelPieces[])[]): LabelPieces[] {
  const all = cases.flat();
  return distinct(all.map(({ labels }) => labels)).map((labels) => {
    const shares = all.filter((one) => `${one.labels}` === `${labels}`).map(({ largestShare }) => largestShare);
    return { labels, largestShare: shares.reduce((sum, share) => sum + share, 0) / shares.length };
  });
}

/** Undefined where these labels were not looked at together. */
export function largestShare(pieces: readonly LabelPieces[], labels: readonly number[]): number | undefined {
  return pieces.find((one) => `${one.labels}` === `${ascending(labels)}`)?.largestShare;
}

const ones = (mask: Uint8Array) => host().labelCounts(mask)[1] ?? 0;
const ascending = (values: readonly number[]) => [...values].sort((a, b) => a - b);
const distinct = (sets: readonly (readonly number[])[]) => [...new Map(sets.map((set) => [`${set}`, set])).values()];
