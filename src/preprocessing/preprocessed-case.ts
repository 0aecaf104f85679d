import type { Triple } from '../volume/volume.js';
import type { ResampledGrid } from './grid.js';

/**
 * Labels of voxels, in one of two forms. Bytes: one label per voxel, a target of 0 or 1. Float32: the two labels that fill most
 * of a voxel, with their shares, as one whole number (see `resamplePairs` in wasm/host-resample.ts): a target is a fraction.
 */
export type LabelMap = Uint8Array | Float32Array;

/** A case as the network sees it: one spacing, one orientation, normalised intensities. Arrays are [z, y, x], x fastest. */
export interface PreprocessedCase {
  readonly id: string;
  /** Name of the dataset in the plan. */
  readonly dataset: string;
  readonly image: Float32Array;
  /** Labels of the dataset, absent for an unlabelled case. Bytes: one label per voxel; float32: label pairs, see `LabelMap`. */
  readonly label?: LabelMap;
  /** Where `label` is known, as a map of the labels 0 (unknown) and 1 (known) in the same form; absent where it is everywhere. */
  readonly known?: LabelMap;
  readonly sizeVoxels: Triple;
  readonly spacingMm: Triple;
  /**
   * For each label value that occurs (but 0), where it fills most of a voxel, or else where it comes second: up to `maximumForegroundSamples` linear voxel indices, evenly spread
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
    ...(one.known === undefined ? {} : { known: shared(one.known) }),
    ...(one.foreground === undefined
      ? {}
      : { foreground: Object.fromEntries(Object.entries(one.foreground).map(([k, v]) => [k, shared(v)])) }),
  };
}
