/**
 * Voxel loops of the host, in WebAssembly (assembly/host.ts): the one door to them. Volumes are [z, y, x] arrays with
 * `sizeVoxels` [x, y, z]. What can be streamed is streamed in chunks or slices, so that linear memory stays small
 * whatever the size of a volume. Imports no `node:` module.
 */
import type { Triple } from '../volume/volume.js';
import { cutMix } from './host-box.js';
import { checkLength, HostCore } from './host-core.js';
import { crop, cropInto } from './host-crop.js';
import { maskOperations } from './host-mask.js';
import { metricOperations } from './host-metrics.js';
import { type GridMap, resampleOperations } from './host-resample.js';
import { samplingOperations } from './host-sampling.js';
import { SlabAccumulator } from './host-slab.js';
import { volumeOperations } from './host-volume.js';
import { MaskRestorer, type RestoreOptions } from './mask-restorer.js';
import { SliceStream, type VoxelSource } from './slice-stream.js';

export type { PatchBox } from './host-box.js';
export { emptyMask, type PackedMask } from './host-mask.js';
export type {
  Connectivity,
  DirectedSummary,
  MaskComparison,
  Measure,
  SurfaceSummary,
} from './host-metrics.js';
export type { GridMap } from './host-resample.js';
export type { IntensityAugmentation, Matrix3, PatchCut } from './host-sampling.js';
export type { SlabAccumulator } from './host-slab.js';
export type { Box } from './host-volume.js';
export { type MaskRestorer, neededRows, type Rows } from './mask-restorer.js';
export type { SliceStream, VoxelSource } from './slice-stream.js';
export type { Statistics } from './statistics.js';

/** Bytes of linear memory. */
export interface HostMemory {
  readonly bytesInUse: number;
  readonly bytesPeak: number;
  /** Size of the linear memory, which never shrinks. */
  readonly bytesReserved: number;
  /** Live blocks: those of streams, accumulators and restorers; 0 between operations otherwise. */
  readonly blocks: number;
}

export type Host = ReturnType<typeof createHost>;

/** A new instance with a memory of its own (about a millisecond); each thread needs its own. */
export function createHost() {
  const core = new HostCore();
  const volume = volumeOperations(core);
  const slices = (source: VoxelSource) => SliceStream.of(core, source);
  return {
    /** Slices of a volume on their way through steps; see {@link SliceStream}. Dispose it. */
    slices,
    /** Trilinear interpolation of a volume; see {@link SliceStream.resample}. @throws VERSEMI_VOLUME_INVALID */
    resampleLinear: (data: Float32Array, sizeVoxels: Triple, outSizeVoxels: Triple, map: GridMap): Float32Array => {
      checkLength(data, sizeVoxels, 'volume');
      const plane = sizeVoxels[0] * sizeVoxels[1];
      const stream = slices({ sizeVoxels, slices: (begin, end) => data.subarray(begin * plane, end * plane) });
      try {
        return stream.resample(outSizeVoxels, map).collect();
      } finally {
        stream.dispose();
      }
    },
    ...resampleOperations(core),
    ...volume,
    ...samplingOperations(core),
    ...maskOperations(core),
    crop,
    cropInto,
    cutMix,
    ...metricOperations(core, volume),
    /** For `tasks` logits per voxel; see {@link SlabAccumulator}. */
    slabAccumulator: (tasks: number, sizeVoxels: Triple, windowVoxels: Triple) =>
      new SlabAccumulator(core, tasks, sizeVoxels, windowVoxels),
    /** From probabilities to masks, slice by slice; see {@link MaskRestorer}. Dispose it. */
    maskRestorer: (options: RestoreOptions) => new MaskRestorer(core, options),
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
