import type { VolumeFormat } from '../datasets/formats.js';
import type { DatasetLayout } from '../datasets/layouts.js';
import type { OwnLossTerm } from '../losses/own-term.js';
import type { Metric } from '../metrics/own-metrics.js';
import type { Architecture } from '../model/architecture.js';
import { addPartLists } from '../parts.js';
import type { Augmentation } from '../sampling/own-augmentations.js';

/**
 * Parts of one's own, by kind. A module that `loadParts` or `--parts` loads exports one such object as `parts`. Plans name
 * parts and hold no code; a model that was trained with a network of one's own needs that part wherever it is loaded.
 */
export interface Parts {
  /** File formats of images and label maps. */
  readonly formats?: readonly VolumeFormat[];
  /** Layouts of dataset folders; a plan names one in `datasets[].format`. */
  readonly layouts?: readonly DatasetLayout[];
  /** Changes of the intensities of patches; a plan names them in `augmentation.own`. */
  readonly augmentations?: readonly Augmentation[];
  /** Loss terms; a plan gives their weights in `losses.own`. */
  readonly lossTerms?: readonly OwnLossTerm[];
  /** Networks; a plan names one in `network.architecture`. */
  // biome-ignore lint/suspicious/noExplicitAny: what a trunk gives, its own head takes
  readonly networks?: readonly Architecture<any>[];
  /** Metrics, which every evaluation measures. */
  readonly metrics?: readonly Metric[];
}

/**
 * Adds parts in this thread alone: for pages, and for parts that no worker thread needs. Batches of a plan that names such parts are
 * made in this thread. Parts in a module that worker threads load too: `loadParts`.
 * @throws VERSEMI_PART_INVALID naming what is wrong (a name that another part has, a function that is missing)
 */
export function addParts(parts: Parts): void {
  addPartLists(parts);
}
