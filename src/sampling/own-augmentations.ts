import { VersemiError } from '../errors.js';
import { type Part, PartTable } from '../parts.js';
import type { RandomStream } from '../random.js';
import type { Triple } from '../volume/volume.js';

/** What an augmentation of one's own is told of a patch. */
export interface AugmentedPatch {
  /** Along x, y, z; the voxels are [z, y, x]. */
  readonly sizeVoxels: Triple;
  /** Dataset and id of the case that the patch is cut from. */
  readonly dataset: string;
  readonly id: string;
  /** The only source of chance that keeps a run reproducible: a stream of its own for each patch of each step. */
  readonly random: RandomStream;
}

/**
 * An augmentation of one's own. It changes intensities alone, since the labels are cut from another volume. Plans name it in
 * `augmentation.own`; it runs on the host, in worker threads too.
 */
export interface Augmentation extends Part {
  /**
   * Changes a patch in place.
   * @param image [z, y, x], preprocessed intensities; every voxel must stay finite
   */
  change(image: Float32Array, patch: AugmentedPatch): void;
}

const augmentations = new PartTable<Augmentation>('augmentations');

/** Whether worker threads can do what a plan asks for. @throws VERSEMI_PART_UNKNOWN */
export function workersAugment(names: readonly string[]): boolean {
  for (const name of names) augmentations.get(name, 'augmentation.own');
  return augmentations.areInWorkers(names);
}

/**
 * Changes a patch by augmentations, one after the other.
 * @throws VERSEMI_PART_UNKNOWN; VERSEMI_PART_INVALID naming the augmentation that leaves a voxel NaN or infinite
 */
export function changePatch(names: readonly string[], image: Float32Array, patch: AugmentedPatch): void {
  for (const name of names) {
    augmentations.get(name, 'augmentation.own').change(image, patch);
    const wrong = image.findIndex((value) => !Number.isFinite(value));
    if (wrong < 0) continue;
    throw new VersemiError('PART_INVALID', {
      field: `augmentation ${name}, case ${patch.id} of ${patch.dataset}`,
      expected: 'finite voxels',
      found: `${image[wrong]} in voxel ${wrong}`,
      remedy: 'Mend the augmentation.',
    });
  }
}
