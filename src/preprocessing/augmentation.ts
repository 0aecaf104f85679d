import type { AugmentationSettings, Plan } from '../config/plan.js';
import { anisotropy, type Numbers3, type PlanningOptions } from './budget.js';

type Changes = Partial<AugmentationSettings>;
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

/** What is known of a dataset before its augmentation is decided. */
export interface AugmentedDataset {
  readonly name: string;
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
  const flip: Flags = [true, true, true];
  const all: Changes = augmentation === 'mirrors' ? { flip } : { flip, ...turned, ...shaded };
  explain(
    'augmentation',
    all,
    augmentation === 'mirrors'
      ? 'mirrors in half of the patches, as nnU-Net has them; on cuda nothing else, since only the host rotates, magnifies and changes intensities, and steps would wait for it (--augmentation all)'
      : "nnU-Net's kinds of augmentation: mirrors in half of the patches, the rest in every patch from narrower ranges (--augmentation none: only the random place of a patch)",
  );
  const own = datasets.map((dataset, index) => {
    const at = `datasets[${index}].augmentation`;
    const kept = toldApart(tasks.filter((task) => task.dataset === dataset.name).map(({ name }) => name));
    const flipped = kept.some(Boolean) ? { flip: kept.map((one) => !one) as Flags } : {};
    if (kept.some(Boolean))
      explain(
        `${at}.flip`,
        flipped.flip,
        'names of tasks differ in a direction: mirrored, one would look like the other',
      );
    const flat = augmentation === 'mirrors' ? {} : flattened(dataset, patchSizeVoxels);
    for (const [field, value] of Object.entries(flat))
      explain(`${at}.${field}`, value, 'only in the plane of the slices: voxels or scans are thin across it');
    const changes: Changes = { ...flipped, ...flat };
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
