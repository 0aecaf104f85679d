import type { Plan } from '../config/plan.js';
import { defaultConvolutions } from '../config/schema.js';
import { forwardPasses, runPasses, trunkPasses } from '../config/steps.js';
import { formatDuration } from '../duration-text.js';
import type { Triple } from '../volume/volume.js';
import { type NetworkShape, passSeconds, trainingBytesPerVoxel } from './cost-model.js';
import { type DatasetFingerprint, type Fingerprint, medianOf, quantile } from './fingerprint.js';
import type { Method } from './methods.js';

export interface PlanningOptions {
  /** Name of the plan. Default 'plan'. */
  readonly name?: string;
  readonly seed?: number;
  /** Where given, it is taken as it is. */
  readonly patchSizeVoxels?: Triple;
  readonly baseWidth?: number;
  /** Where given, it is the spacing of every dataset. */
  readonly spacingMm?: Triple;
  /** Wall time for both stages. Where given, patch, width, spacing and steps are made to fit; else the schedule is the paper's. */
  readonly minutes?: number;
  /** Share of the time that validations take. Default 0. */
  readonly validationShare?: number;
  /** Memory for training. Default 8 GiB. */
  readonly deviceMemoryBytes?: number;
  /** Speed of the device in training. Default 100, a guess: `makeTimedPlan` measures it. */
  readonly gflopsPerSecond?: number;
  /** Where the speed comes from, as reasons say it. Default: it is assumed. */
  readonly speedNote?: string;
  /** Speed that patch, width and batch are chosen for, where it is not that which gives the number of steps. */
  readonly sizingGflopsPerSecond?: number;
  /** One task per dataset from all its labels (true: every dataset; or the names of some). Default: one task per label. */
  readonly mergeLabels?: boolean | readonly string[];
  /** How patches are changed; mirrors: only as the device itself can, see `hostOnlyDatasets`. Default all. */
  readonly augmentation?: 'all' | 'mirrors' | 'none';
  /** How the plan trains. Default: `defaultMethod`, with as much of it as the cases allow. */
  readonly method?: Method;
}

export type Numbers3 = [number, number, number];

const axes = [0, 1, 2] as const;
const GiB = 2 ** 30;
/** Memory for training where nothing is said. */
export const defaultMemoryBytes = 8 * GiB;
/** Share of the memory that activations may take: the rest is for weights, moments, and all that the cost model does not count. */
const memoryShare = 0.7;
/** The paper's patch; larger ones cost more than they give. */
const largestPatchVoxels = 96 ** 3;
/** A stage gets at least this number of steps: patch and width shrink first. Longer runs have more, in proportion to the root of the time. */
const fewestSteps = (minutes: number) => 1000 * Math.max(1, Math.sqrt(minutes / 60));
/** Steps of each stage in the paper. */
const paperSteps = 13000;
/** A patch should see this share of a case (nnU-Net's threshold for a low-resolution stage). */
export const leastCoverage = 0.25;
/** Spacings whose ratio is larger are anisotropic, as in nnU-Net. */
export const anisotropy = 3;

export interface Spacing {
  readonly spacingMm: Numbers3;
  readonly reason: string;
}

/** nnU-Net's rule: the median along each axis; the 10th percentile along the coarse axis of anisotropic data. */
export function makeSpacing({ cases }: DatasetFingerprint, options: PlanningOptions): Spacing {
  if (options.spacingMm !== undefined) return { spacingMm: [...options.spacingMm], reason: 'as asked' };
  const along = (axis: 0 | 1 | 2) => cases.map(({ spacingMm }) => spacingMm[axis]);
  const median = axes.map((axis) => medianOf(along(axis))) as Numbers3;
  const coarse = median.indexOf(Math.max(...median)) as 0 | 1 | 2;
  const others = median.filter((_, axis) => axis !== coarse);
  const ratio = median[coarse] / Math.min(...others);
  if (ratio <= anisotropy) return { spacingMm: median.map(rounded) as Numbers3, reason: 'median of the cases' };
  const spacingMm = median.slice() as Numbers3;
  spacingMm[coarse] = Math.max(quantile(along(coarse), 0.1), Math.max(...others));
  return {
    spacingMm: spacingMm.map(rounded) as Numbers3,
    reason: `median of the cases; along ${'xyz'[coarse]}, ${ratio.toFixed(1)} times coarser, the 10th percentile`,
  };
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

export function percent(share: number): string {
  return `${(100 * Math.min(1, share)).toFixed(0)} %`;
}

/** Median size of the cases at a spacing. */
export function medianSize({ cases }: DatasetFingerprint, spacingMm: Numbers3): Numbers3 {
  return axes.map((axis) =>
    medianOf(cases.map((one) => (one.sizeVoxels[axis] * one.spacingMm[axis]) / spacingMm[axis])),
  ) as Numbers3;
}

/** Share of a median case that a patch sees. */
export function coverageOf(dataset: DatasetFingerprint, spacingMm: Numbers3, patch: Numbers3): number {
  const size = medianSize(dataset, spacingMm);
  return axes.reduce<number>((share, axis) => share * Math.min(1, patch[axis] / size[axis]), 1);
}

export interface Budget {
  readonly network: NetworkShape;
  readonly patch: Numbers3;
  readonly spacings: readonly Spacing[];
  readonly training: Pick<Plan['training'], 'labeledBatchSize' | 'unlabeledBatchSize'>;
  /** Trunk passes of the whole run, in units of one forward pass. */
  readonly passes: number;
  /** Whether there are unlabelled cases. */
  readonly unlabeled: boolean;
  /** Why there are as many steps as there are. */
  readonly stepReason: string;
  readonly explanations: readonly { field: string; value: unknown; reason: string }[];
}

interface Choice {
  readonly network: NetworkShape;
  readonly patch: Numbers3;
  readonly batch: number;
  /** Bytes of activations. */
  readonly bytes: number;
  /** What keeps the patch from being larger. */
  readonly limit: string;
}

export function makeBudget(
  fingerprint: Fingerprint,
  spacings: readonly Spacing[],
  prompts: number,
  options: PlanningOptions,
): Budget {
  const bound = largestSize(fingerprint, spacings);
  // Smaller batches, then narrower networks, until a patch of a useful size fits memory and time.
  const widths = options.baseWidth === undefined ? [16, 8] : [options.baseWidth];
  let choice: Choice | undefined;
  for (const baseWidth of widths) {
    for (const batch of [8, 4, 2]) {
      // As many levels as leave two voxels at the bottom along every axis.
      for (const levels of [5, 4, 3, 2]) {
        const network = { baseWidth, levels, convolutions: defaultConvolutions(levels), headWidth: 8 };
        const { most, limit } = mostVoxels(network, batch, prompts, options);
        const divisor = 2 ** (levels - 1);
        const given = options.patchSizeVoxels;
        const patch: Numbers3 = given === undefined ? fitPatch(bound, spacings, divisor, most) : [...given];
        const voxels = patch[0] * patch[1] * patch[2];
        choice = { network, patch, batch, limit, bytes: batch * voxels * trainingBytesPerVoxel(network, prompts) };
        const deepEnough = patch.every((size) => size % divisor === 0 && size >= 2 * divisor);
        const useful = given !== undefined || isUseful(patch, bound);
        if (deepEnough && useful && voxels <= most) return finish(choice, fingerprint, spacings, options);
        if (deepEnough) break;
      }
    }
  }
  return finish(choice!, fingerprint, spacings, options);
}

/** Largest patch that memory, time and sense allow. */
function mostVoxels(
  network: NetworkShape,
  batch: number,
  prompts: number,
  options: PlanningOptions,
): { most: number; limit: string } {
  const { minutes, deviceMemoryBytes = defaultMemoryBytes, gflopsPerSecond = 100 } = options;
  const [first, second] = passesPerStep(batch);
  const secondsPerVoxel = passSeconds(network, 1, first + second, options.sizingGflopsPerSecond ?? gflopsPerSecond);
  const limits = {
    'the patch of the paper': largestPatchVoxels,
    memory: (memoryShare * deviceMemoryBytes) / (batch * trainingBytesPerVoxel(network, prompts)),
    time:
      minutes === undefined
        ? Number.POSITIVE_INFINITY
        : (60 * minutes) / (Math.min(paperSteps, fewestSteps(minutes)) * secondsPerVoxel),
  };
  const most = Math.min(...Object.values(limits));
  return { most, limit: Object.entries(limits).find(([, voxels]) => voxels === most)![0] };
}

/** Terms whose cost the sizes of a plan are made for, whatever its method: with them methods are compared at equal cost. */
function budgeted(batch: number, stage1Steps: number, stage2Steps: number) {
  const sizes = { labeledBatchSize: batch, unlabeledBatchSize: batch };
  const weights = { synthetic: 1, auxiliary: 1, unsupervised: 1, cube: 1, cubeTasks: 0, agreement: 0, teacher: 1 };
  return {
    training: { mode: 'semi-supervised' as const, stage1Steps, stage2Steps, ...sizes },
    cutmix: { unlabeledMix: 'labeled-inside' as const },
    losses: { ...weights, auxiliaryInStage2: false, noisyPasses: 0 },
  };
}

/** Forward passes of the trunk in a step of the first and of the second stage. */
function passesPerStep(batch: number): [number, number] {
  const of = (step: 0 | 1) => forwardPasses(trunkPasses(budgeted(batch, 1, 1), step));
  return [of(0), of(1)];
}

/** Median size of the cases along each axis, of the dataset in which it is largest. */
function largestSize({ datasets }: Fingerprint, spacings: readonly Spacing[]): Numbers3 {
  const sizes = datasets.map((dataset, i) => medianSize(dataset, spacings[i]!.spacingMm));
  return axes.map((axis) => Math.max(...sizes.map((size) => size[axis]))) as Numbers3;
}

/** Large enough to see an organ: 48^3 voxels, or the cases themselves when they are smaller. */
function isUseful(patch: Numbers3, bound: Numbers3): boolean {
  const wanted = axes.reduce<number>((product, axis) => product * Math.min(48, bound[axis]), 1);
  return patch[0] * patch[1] * patch[2] >= 0.9 * wanted;
}

/** A patch has room for a CutMix cube of the second stage, 0.3 of its side, even where the cases are single slices. */
const leastPatchSize = 4;

/** Longer axes are cut to this many voxels, up to which all arithmetic on sizes is exact. */
const longestAxis = 2 ** 40;
/** So many steps are walked one by one; scans never ask for more. */
const walkedSteps = 10_000;

/**
 * The largest patch of at most `most` voxels: from the size of the cases (rounded up to the divisor) the axis that is
 * longest in millimetres shrinks by the divisor until the patch fits, so that it ends as near to a cube in millimetres as can be.
 * Headers may promise billions of voxels along an axis: then all but the last steps are taken at once.
 */
export function fitPatch(
  bound: Numbers3,
  spacings: readonly Pick<Spacing, 'spacingMm'>[],
  divisor: number,
  most: number,
): Numbers3 {
  const whole = bound.map((size) => {
    const wanted = Math.min(longestAxis, Math.max(size, leastPatchSize));
    return Math.max(divisor, Math.ceil(wanted / divisor - 1e-6) * divisor);
  }) as Numbers3;
  const meanSpacing = axes.map((axis) =>
    Math.exp(spacings.reduce((sum, { spacingMm }) => sum + Math.log(spacingMm[axis]), 0) / spacings.length),
  );
  const least = Math.max(divisor, leastPatchSize);
  const voxels = (patch: Numbers3) => patch[0] * patch[1] * patch[2];
  /** The patch once no axis that can shrink is longer than `lengthMm`: the steps pass through it, whatever their order. */
  const shrunk = (lengthMm: number) =>
    axes.map((axis) => {
      const steps = Math.ceil((whole[axis] - lengthMm / meanSpacing[axis]!) / divisor);
      return whole[axis] - divisor * Math.max(0, Math.min(steps, Math.ceil((whole[axis] - least) / divisor)));
    }) as Numbers3;
  const stepsBetween = (from: Numbers3, to: Numbers3) =>
    axes.reduce<number>((sum, axis) => sum + (from[axis] - to[axis]) / divisor, 0);
  let patch = whole.slice() as Numbers3;
  let [short, long] = [
    0,
    Math.min(Number.MAX_VALUE, Math.max(...axes.map((axis) => whole[axis] * meanSpacing[axis]!))),
  ];
  for (
    let middle = (short + long) / 2;
    stepsBetween(patch, shrunk(short)) > walkedSteps && short < middle && middle < long;
    middle = (short + long) / 2
  ) {
    const candidate = shrunk(middle);
    if (voxels(candidate) > most) [long, patch] = [middle, candidate];
    else short = middle;
  }
  while (voxels(patch) > most) {
    const shrinkable = axes.filter((axis) => patch[axis] > least);
    if (shrinkable.length === 0) break;
    const longest = shrinkable.reduce((best, axis) =>
      patch[axis] * meanSpacing[axis]! > patch[best] * meanSpacing[best]! ? axis : best,
    );
    patch[longest] -= divisor;
  }
  return patch;
}

/** A coarser spacing for datasets of which a patch would see too little. */
function coarsened(dataset: DatasetFingerprint, spacing: Spacing, patch: Numbers3): Spacing {
  const spacingMm = spacing.spacingMm.slice() as Numbers3;
  while (coverageOf(dataset, spacingMm, patch) < leastCoverage) {
    // The finest axes first: they carry detail that the others cannot match.
    const finest = Math.min(...spacingMm);
    for (const axis of axes) if (spacingMm[axis] < finest * 1.05) spacingMm[axis] *= 1.05;
  }
  const changed = spacingMm.some((value, axis) => value !== spacing.spacingMm[axis]);
  if (!changed) return spacing;
  const reason = `${spacing.reason} (${spacing.spacingMm.join(', ')}), made coarser until a patch sees ${percent(leastCoverage)} of a case`;
  return { spacingMm: spacingMm.map(rounded) as Numbers3, reason };
}

function finish(
  { network, patch, batch, limit, bytes }: Choice,
  fingerprint: Fingerprint,
  medianSpacings: readonly Spacing[],
  options: PlanningOptions,
): Budget {
  const { minutes, gflopsPerSecond = 100, speedNote = 'assumed', validationShare = 0 } = options;
  const { deviceMemoryBytes = defaultMemoryBytes } = options;
  // Where memory or the paper keep the patch small, more time would not make it larger: the spacing stays.
  const kept = limit !== 'time' || options.spacingMm !== undefined;
  const spacings = kept
    ? medianSpacings
    : fingerprint.datasets.map((dataset, i) => coarsened(dataset, medianSpacings[i]!, patch));
  const voxels = patch[0] * patch[1] * patch[2];
  const sizes = { labeledBatchSize: batch, unlabeledBatchSize: batch };
  const unlabeled = fingerprint.datasets.some(({ unlabeledCases }) => unlabeledCases > 0);
  const seconds = passesPerStep(batch).map((passes) => passSeconds(network, voxels, passes, gflopsPerSecond)) as [
    number,
    number,
  ];
  const perPair = seconds[0] + (unlabeled ? seconds[1] : seconds[0]);
  const steps =
    minutes === undefined
      ? paperSteps
      : Math.max(10, Math.min(paperSteps, Math.floor((60 * minutes * (1 - validationShare)) / perPair / 10) * 10));
  const stepReason =
    minutes === undefined || steps === paperSteps
      ? 'as in the paper'
      : `what ${formatDuration(60 * minutes)} allow, at ${gflopsPerSecond.toPrecision(3)} GFLOP/s (${speedNote})`;
  return {
    network,
    patch,
    spacings,
    training: sizes,
    passes: runPasses(unlabeled ? budgeted(batch, steps, steps) : budgeted(batch, 2 * steps, 0)),
    unlabeled,
    stepReason,
    explanations: [
      {
        field: 'patchSizeVoxels',
        value: patch,
        reason:
          options.patchSizeVoxels === undefined
            ? `the median size of the cases, at most ${limit} allows, near to a cube in millimetres, divisible by ${2 ** (network.levels - 1)}`
            : 'as asked',
      },
      {
        field: 'network.baseWidth',
        value: network.baseWidth,
        reason: options.baseWidth === undefined ? 'the widest that leaves room for a useful patch' : 'as asked',
      },
      {
        field: 'network.levels',
        value: network.levels,
        reason: 'as many as leave two voxels along every axis at the bottom, at most five',
      },
      {
        field: 'training.labeledBatchSize',
        value: batch,
        reason: `needs about ${(bytes / GiB).toFixed(1)} of ${(deviceMemoryBytes / GiB).toFixed(1)} GiB`,
      },
    ],
  };
}
