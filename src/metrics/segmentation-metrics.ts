import { VersemiError } from '../errors.js';
import type { Triple } from '../volume/volume.js';
import { type Host, type SurfaceSummary, host as sharedHost } from '../wasm/host.js';

/** Surface distances that are reported; units in the name. */
export const distanceNames = ['hd95Pooled', 'hd95Max', 'hd', 'asd', 'assd'] as const;
/** Names of the surface distances, without their unit. */
export type DistanceName = (typeof distanceNames)[number];

/**
 * Distances between surfaces, a surface being the mask's voxels that have a background voxel among their six neighbours.
 * With A the distances from each surface voxel of the prediction to the nearest one of the reference, B the reverse:
 * - hd95Pooled: 95th percentile of A and B together (medpy `hd95`)
 * - hd95Max: the larger of the 95th percentiles of A and of B (MONAI; Google's surface-distance too, but that weights
 *   each surface element by its area, which this does not)
 * - hd: the largest of A and B (Hausdorff distance)
 * - asd: mean of A: from prediction to reference only (medpy `asd`)
 * - assd: mean of the means of A and B (medpy `assd`)
 * Percentiles interpolate linearly between order statistics (numpy.percentile). null = undefined: a mask is empty.
 */
export type Distances<Unit extends 'Mm' | 'Voxels'> = {
  readonly [Name in DistanceName as `${Name}${Unit}`]: number | null;
};

/** Overlap of two masks, from counts of voxels. null = undefined (0 / 0 with exactly one empty mask). */
export interface Overlap {
  /** 2 |P and R| / (|P| + |R|) */
  readonly dice: number;
  /** |P and R| / |P or R| */
  readonly jaccard: number;
  /** |P and R| / |P|; undefined for an empty prediction of a structure that is there */
  readonly precision: number | null;
  /** |P and R| / |R|; undefined for a prediction of a structure that is not there */
  readonly recall: number | null;
  readonly volumePredictionMl: number;
  readonly volumeReferenceMl: number;
  /** 1 - | |P| - |R| | / (|P| + |R|) */
  readonly volumeSimilarity: number;
}

/**
 * All metrics of one prediction. The empty cases: both masks empty: the overlap metrics and surface Dice are 1 (nothing
 * was there and nothing was found) and distances are undefined; one empty: Dice, Jaccard, volume similarity and surface
 * Dice are 0 and distances are undefined. Undefined values are null and are counted by {@link summarize}.
 */
export interface CaseMetrics extends Overlap, Distances<'Mm'>, Partial<Distances<'Voxels'>> {
  /** Share of both surfaces' voxels that lie within the tolerance of the other surface (each voxel counts the same). */
  readonly surfaceDice: number;
  readonly surfaceDiceToleranceMm: number;
  /** The same with a tolerance of one voxel, where distances in voxels were asked for. */
  readonly surfaceDiceVoxels?: number;
}

/** How two masks are compared. */
export interface MetricOptions {
  /** Tolerance of surface Dice in millimetres; default 1. */
  readonly toleranceMm?: number;
  /** Also measure distances in voxels (spacing 1, 1, 1), as the literature on the left atrium prints them. */
  readonly voxels?: boolean;
  /** Volume of a voxel; default the product of its edges, which are at right angles where the gantry was not tilted. */
  readonly voxelMm3?: number;
  /** Default: this thread's host. @internal */
  readonly host?: Host;
}

/**
 * Compares two masks [z, y, x], nonzero = inside.
 * @throws VERSEMI_VOLUME_INVALID when sizes disagree or the spacing is not positive
 */
export function segmentationMetrics(
  prediction: Uint8Array,
  reference: Uint8Array,
  sizeVoxels: Triple,
  spacingMm: Triple,
  {
    toleranceMm = 1,
    voxels = false,
    voxelMm3 = spacingMm[0] * spacingMm[1] * spacingMm[2],
    host = sharedHost(),
  }: MetricOptions = {},
): CaseMetrics {
  if (!spacingMm.every((spacing) => spacing > 0 && Number.isFinite(spacing)))
    throw new VersemiError('VOLUME_INVALID', {
      field: 'spacingMm',
      expected: 'three positive numbers',
      found: spacingMm.join(', '),
    });
  const { counts, summaries } = host.compareMasks(prediction, reference, sizeVoxels, [
    { spacing: spacingMm, tolerance: toleranceMm },
    ...(voxels ? [{ spacing: [1, 1, 1] as const, tolerance: 1 }] : []),
  ]);
  const [inMm = null, inVoxels = null] = summaries ?? [];
  const bothEmpty = counts.inA + counts.inB === 0;
  return {
    ...overlap(counts, voxelMm3 / 1000),
    surfaceDice: surfaceDice(inMm, bothEmpty),
    surfaceDiceToleranceMm: toleranceMm,
    ...distances(inMm, 'Mm'),
    ...(voxels ? { surfaceDiceVoxels: surfaceDice(inVoxels, bothEmpty), ...distances(inVoxels, 'Voxels') } : {}),
  };
}

/** Voxels of two masks: in both, in A, in B. */
export interface MaskCounts {
  readonly both: number;
  readonly inA: number;
  readonly inB: number;
}

/** 2 |A and B| / (|A| + |B|); 1 when both masks are empty. */
export function diceOf({ both, inA, inB }: MaskCounts): number {
  return inA + inB === 0 ? 1 : (2 * both) / (inA + inB);
}

function overlap({ both, inA, inB }: MaskCounts, voxelMl: number): Overlap {
  const empty = inA + inB === 0;
  const ratio = (a: number, b: number) => (empty ? 1 : b === 0 ? null : a / b);
  return {
    dice: diceOf({ both, inA, inB }),
    jaccard: empty ? 1 : both / (inA + inB - both),
    precision: ratio(both, inA),
    recall: ratio(both, inB),
    volumePredictionMl: inA * voxelMl,
    volumeReferenceMl: inB * voxelMl,
    volumeSimilarity: empty ? 1 : 1 - Math.abs(inA - inB) / (inA + inB),
  };
}

function surfaceDice(summary: SurfaceSummary | null, bothEmpty: boolean): number {
  if (summary === null) return bothEmpty ? 1 : 0;
  const { predictionToReference: a, referenceToPrediction: b } = summary;
  return (a.within + b.within) / (a.count + b.count);
}

function distances<Unit extends 'Mm' | 'Voxels'>(summary: SurfaceSummary | null, unit: Unit): Distances<Unit> {
  const values = summary === null ? null : distanceValues(summary);
  return Object.fromEntries(
    distanceNames.map((name) => [`${name}${unit}`, values?.[name] ?? null]),
  ) as unknown as Distances<Unit>;
}

function distanceValues({
  predictionToReference: a,
  referenceToPrediction: b,
  pooledPercentile95,
}: SurfaceSummary): Record<DistanceName, number> {
  return {
    hd95Pooled: pooledPercentile95,
    hd95Max: Math.max(a.percentile95, b.percentile95),
    hd: Math.max(a.maximum, b.maximum),
    asd: a.mean,
    assd: (a.mean + b.mean) / 2,
  };
}
