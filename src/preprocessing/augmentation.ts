import type { AugmentationSettings, Plan } from '../config/plan.js';
import { voxelCount } from '../volume/volume.js';
import { anisotropy, type Numbers3, type PlanningOptions } from './budget.js';
import { type DatasetFingerprint, quantile } from './fingerprint.js';
import { nonzeroMoments } from './nonzero-moments.js';

type Changes = Partial<AugmentationSettings>;
type Normalization = Plan['datasets'][number]['preprocessing']['normalization'];
type Flags = [boolean, boolean, boolean];

export interface PlannedAugmentation {
  /** For all datasets. */
  readonly all: Changes;
  /** What each dataset has of its own. */
  readonly own: readonly { readonly augmentation?: Changes }[];
}

/**
 * The kinds of nnU-Net (Isensee et al., Nature Methods 2021): mirrors, rotation, magnification, gamma, brightness, noise. It draws from
 * wide ranges for one patch in five or ten; here every patch draws, from narrower ranges.
 */
const turned: Changes = { rotationDegrees: [10, 10, 15], magnification: [0.8, 1.25] };
const shaded: Changes = { gamma: [0.7, 1.5], intensityScale: 0.2, intensityShift: 0.1, noise: 0.05 };

/**
 * Where scans without a unit of intensity differ, a z-score leaves much of it: how much air there is moves all values, sequence and contrast
 * agent move tissues against each other. A few labelled scans show little of this range, so that augmentation must (../training/NOTES.md: what it is worth).
 */
const shadedWidely: Changes = { gamma: [0.4, 1.8], intensityScale: 0.3, intensityShift: 0.5 };

/** `intensitySpread` from which `shadedWidely` holds: between hippocampi (0.5), which lose by it, and left atria and hearts (1.6 and 1.8). */
const widelySpread = 1;

/** Words that tell a direction along x, y and z. */
const directions = [
  /left|right|(?<![a-z])[lr](?![a-z])/gi,
  /anterior|posterior|ventral|dorsal/gi,
  /superior|inferior|upper|lower|cranial|caudal/gi,
] as const;

/** Axes along which tasks of one dataset have the same name but for the direction: mirrored, one would look like the other. */
function toldApart(names: readonly string[]): Flags {
  return directions.map((words) => {
    const rest = names.filter((name) => name.search(words) >= 0).map((name) => name.replaceAll(words, ''));
    return new Set(rest).size < rest.length;
  }) as Flags;
}

/** Scans of fewer voxels along an axis are slices: what is interpolated across them would fade into the padding. */
const fewestSlices = 8;

/** Fewer scans do not say how much scans differ. */
const fewestScans = 5;

/** What is known of a dataset before its augmentation is decided. */
export interface AugmentedDataset {
  readonly name: string;
  /** How much scans differ after the z-score, see `intensitySpread`. */
  readonly intensitySpread: number;
  readonly spacingMm: Numbers3;
  /** Median size of its cases at that spacing, voxels. */
  readonly sizeVoxels: Numbers3;
}

/** Augmentation of a plan: on, but for what would blur the meaning of a task or keep the device waiting. */
export function makeAugmentation(
  datasets: readonly AugmentedDataset[],
  patchSizeVoxels: Numbers3,
  tasks: Plan['tasks'],
  { augmentation = 'all' }: Pick<PlanningOptions, 'augmentation'>,
  explain: (field: string, value: unknown, reason: string) => void,
): PlannedAugmentation {
  if (augmentation === 'none') {
    explain('augmentation', 'none', 'as asked: patches are cut at random places and not changed');
    return { all: {}, own: datasets.map(() => ({})) };
  }
  const onlyMirrors = augmentation === 'mirrors';
  const flip: Flags = [true, true, true];
  const all: Changes = onlyMirrors ? { flip } : { flip, ...turned, ...shaded };
  explain(
    'augmentation',
    all,
    onlyMirrors
      ? 'mirrors in half of the patches, as nnU-Net has them; on cuda nothing else, since only the host rotates, magnifies and changes intensities, and steps would wait for it (--augmentation all)'
      : "nnU-Net's kinds of augmentation: mirrors in half of the patches, the rest in every patch from narrower ranges (--augmentation none: only the random place of a patch)",
  );
  const own = datasets.map((dataset, index) => {
    const at = `datasets[${index}].augmentation`;
    const explained = (changes: Changes, reason: string): Changes => {
      for (const [field, value] of Object.entries(changes)) explain(`${at}.${field}`, value, reason);
      return changes;
    };
    const kept = toldApart(tasks.filter((task) => task.dataset === dataset.name).map(({ name }) => name));
    const flipped = kept.some(Boolean) ? { flip: kept.map((one) => !one) as Flags } : {};
    const changes: Changes = {
      ...explained(flipped, 'names of tasks differ in a direction: mirrored, one would look like the other'),
      ...explained(
        onlyMirrors ? {} : flattened(dataset, patchSizeVoxels),
        'only in the plane of the slices: voxels or scans are thin across it',
      ),
      ...explained(
        !onlyMirrors && dataset.intensitySpread >= widelySpread ? shadedWidely : {},
        `scans differ: after the z-score their brightest voxels (99.5 percentile) lie ${dataset.intensitySpread.toFixed(1)} apart, without the 5 % of scans at either end`,
      ),
    };
    return Object.keys(changes).length === 0 ? {} : { augmentation: changes };
  });
  return { all, own };
}

/** What stays of `turned` where voxels, patches or scans are thin along an axis, as in nnU-Net's augmentation of slices. */
function flattened({ spacingMm, sizeVoxels }: AugmentedDataset, patch: Numbers3): Changes {
  const longest = Math.max(...patch);
  const thin = ([0, 1, 2] as const).find(
    (axis) =>
      spacingMm[axis] / Math.min(...spacingMm) > anisotropy ||
      longest / patch[axis] > anisotropy ||
      sizeVoxels[axis] < fewestSlices,
  );
  if (thin === undefined) return {};
  const rotationDegrees = [0, 1, 2].map((axis) => (axis === thin ? 30 : 0)) as Numbers3;
  return { rotationDegrees, ...(sizeVoxels[thin] < fewestSlices ? { magnification: [1, 1] } : {}) };
}

/**
 * How far scans differ in where their brightest voxels lie, (99.5 percentile - mean) / standard deviation, each after the `normalization` that the plan has
 * for them: from the 5th to the 95th percentile over scans, labelled or not. 0 for CT, whose unit is the same for all scans, and where there are too few
 * scans to tell.
 */
export function intensitySpread(
  { modality, cases }: Pick<DatasetFingerprint, 'modality' | 'cases'>,
  normalization: Normalization,
): number {
  if (modality === 'CT' || cases.length < fewestScans) return 0;
  const brightest = cases.map(({ intensity, sizeVoxels, zeroFraction }) => {
    const count = voxelCount(sizeVoxels);
    const moments =
      normalization === 'zscore-nonzero' ? nonzeroMoments(intensity, count, zeroFraction * count) : intensity;
    if (moments === null || !(moments.standardDeviation > 0)) return 0;
    return (intensity.percentile995 - moments.mean) / moments.standardDeviation;
  });
  return quantile(brightest, 0.95) - quantile(brightest, 0.05);
}
