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

/** The same case with its arrays in shared memory, so that worker threads read them without copies. */
export function shareCase(one: PreprocessedCase): PreprocessedCase {
  const shared = <T extends Float32Array | Uint8Array | Int32Array>(array: T): T => {
    if (array.buffer instanceof SharedArrayBuffer) return array;
    const type = array.constructor as new (buffer: SharedArrayBuffer) => T;
    const copy = new type(new SharedArrayBuffer(array.byteLength));
    copy.set(array);
    return copy;
  };
  return {
    ...one,
    image: shared(one.image),
    ...(one.label === undefined ? {} : { label: shared(one.label) }),
    ...(one.foreground === undefined
      ? {}
      : { foreground: Object.fromEntries(Object.entries(one.foreground).map(([k, v]) => [k, shared(v)])) }),
  };
}
