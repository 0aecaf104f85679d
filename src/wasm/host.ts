/**
 * Voxel loops of the host, in WebAssembly (assembly/host.ts): the one door to them. Volumes are [z, y, x] arrays with
 * `sizeVoxels` [x, y, z]. What can be streamed is streamed in chunks or slices, so that linear memory stays small
 * whatever the size of a volume. Imports no `node:` module.
 */
import type { Triple } from '../volume/volume.js';
import { HostCore } from './host-core.js';
import { crop, cropInto } from './host-crop.js';
import { metricOperations } from './host-metrics.js';
import { preprocessOperations } from './host-preprocess.js';
import { resampleOperations } from './host-resample.js';
import { samplingOperations } from './host-sampling.js';
import { SlabAccumulator } from './host-slab.js';
import { volumeOperations } from './host-volume.js';

export type { ResidentArray } from './host-core.js';
export type {
  Components,
  Connectivity,
  DirectedSummary,
  MaskComparison,
  Measure,
  SurfaceSummary,
} from './host-metrics.js';
export type { GridMap } from './host-resample.js';
export type { IntensityAugmentation, Matrix3, PatchBox, PatchCut } from './host-sampling.js';
export type { SlabAccumulator } from './host-slab.js';
export type { Box, Statistics } from './host-volume.js';

/** Bytes of linear memory. */
export interface HostMemory {
  readonly bytesInUse: number;
  readonly bytesPeak: number;
  /** Size of the linear memory, which never shrinks. */
  readonly bytesReserved: number;
  /** Live blocks: resident arrays and accumulators; 0 between operations otherwise. */
  readonly blocks: number;
}

export type Host = ReturnType<typeof createHost>;

/** A new instance with a memory of its own (about a millisecond); each thread needs its own. */
export function createHost() {
  const core = new HostCore();
  const volume = volumeOperations(core);
  return {
    ...resampleOperations(core),
    ...preprocessOperations(core),
    ...volume,
    ...samplingOperations(core),
    crop,
    cropInto,
    ...metricOperations(core, volume),
    /** An array in linear memory, e.g. allocate(Float32Array, 96 ** 3): operations use it in place. */
    allocate: core.allocate,
    /** For `tasks` logits per voxel; see {@link SlabAccumulator}. */
    slabAccumulator: (tasks: number, sizeVoxels: Triple, windowVoxels: Triple) =>
      new SlabAccumulator(core, tasks, sizeVoxels, windowVoxels),
    memory: (): HostMemory => ({
      bytesInUse: core.memory.bytesInUse,
      bytesPeak: core.memory.bytesPeak,
      bytesReserved: core.memory.memory.buffer.byteLength,
      blocks: core.memory.blocks,
    }),
  };
}

let shared: Host | undefined;

/** This thread's instance, made when first asked for. */
export function host(): Host {
  shared ??= createHost();
  return shared;
}

/** Drops this thread's instance, and with it its memory, unless it holds resident arrays; the next call makes a new one. */
export function trimHost(): void {
  if (shared?.memory().blocks === 0) shared = undefined;
}
