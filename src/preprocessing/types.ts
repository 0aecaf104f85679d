import type { Triple } from '../volume/volume.js';
import type { ResampledGrid } from './grid.js';

/** A case as the network sees it: one spacing, one orientation, normalised intensities. Arrays are [z, y, x], x fastest. */
export interface PreprocessedCase {
  readonly id: string;
  /** Name of the dataset in the plan. */
  readonly dataset: string;
  readonly image: Float32Array;
  /** Label values of the dataset; absent for an unlabelled case. */
  readonly label?: Uint8Array;
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /**
   * For each label value that occurs (but 0): up to {@link maximumForegroundSamples} linear voxel indices, evenly spread
   * over its voxels in memory order, for patches centred on foreground. Absent for an unlabelled case.
   */
  readonly foreground?: Readonly<Record<number, Int32Array>>;
  /** The way back to the source. */
  readonly grid: ResampledGrid;
}

/** Voxel indices kept per label value: enough to reach every part of a structure, small beside the volume. */
export const maximumForegroundSamples = 1000;
