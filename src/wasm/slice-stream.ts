import type { Triple, VoxelArray } from '../volume/volume.js';
import { bytesOf, checkLength, chunkElements, type HostCore, Scope, voxelKind } from './host-core.js';
import { type GridMap, type LinearTable, linearTable, sliceCache } from './host-resample.js';
import type { Box } from './host-volume.js';
import { type EachChunk, percentilesOf, type Statistics, statisticsOf } from './statistics.js';

/** Where the slices of a volume come from. */
export interface VoxelSource {
  readonly sizeVoxels: Triple;
  /** A value is its voxel * slope + intercept, computed in double; default 1 and 0. */
  readonly slope?: number;
  readonly intercept?: number;
  /** Voxels [z, y, x] of the slices begin <= z < end, of any type; read before the next call, which may reuse the array. */
  slices(begin: number, end: number): VoxelArray;
}

/** Writes slice z [y, x] as float32 to an address. Slices in ascending order cost least: steps keep only a few of them. */
type Load = (z: number, address: number) => void;

/**
 * A volume as a chain of steps. When a slice is asked for, each step makes it from slices of the step before and keeps in
 * linear memory only what it needs again (two slices for resampling, a ring as deep as the kernel for smoothing), never the
 * volume. Each step gives a new stream over the same memory; `dispose` of any of them gives the memory of all back.
 */
export class SliceStream {
  private constructor(
    private readonly core: HostCore,
    private readonly scope: Scope,
    readonly sizeVoxels: Triple,
    private readonly load: Load,
  ) {}

  static of(core: HostCore, source: VoxelSource): SliceStream {
    const { sizeVoxels, slope = 1, intercept = 0 } = source;
    const { memory, wasm } = core;
    const scope = new Scope(memory);
    const plane = sizeVoxels[0] * sizeVoxels[1];
    let raw: { address: number; bytes: number } | undefined;
    return new SliceStream(core, scope, sizeVoxels, (z, address) => {
      const voxels = source.slices(z, z + 1);
      checkLength(voxels, [sizeVoxels[0], sizeVoxels[1], 1], 'slice');
      if (voxels instanceof Float32Array && slope === 1 && intercept === 0) {
        memory.float32(address, plane).set(voxels);
        return;
      }
      const bytes = voxels.byteLength;
      raw ??= { address: scope.allocate(bytes), bytes };
      memory.uint8(raw.address, bytes).set(bytesOf(voxels));
      wasm.toFloat32(voxelKind(voxels), raw.address, address, plane, slope, intercept);
    });
  }

  /** The box of `sizeVoxels` that begins at voxel `begin`, inside the volume. */
  crop(begin: Triple, sizeVoxels: Triple): SliceStream {
    if (begin.every((first, axis) => first === 0 && sizeVoxels[axis] === this.sizeVoxels[axis])) return this;
    const [fromX, fromY] = this.sizeVoxels;
    const [sizeX, sizeY] = sizeVoxels;
    const whole = this.scope.allocate(fromX * fromY * 4);
    return this.step(sizeVoxels, (z, address) => {
      this.load(z + begin[2], whole);
      const first = whole + (begin[1] * fromX + begin[0]) * 4;
      this.core.wasm.copyRows(first, fromX * 4, address, sizeX * 4, sizeX * 4, sizeY);
    });
  }

  /** (clip(value, low, high) - mean) * scale */
  normalize(options: { low?: number; high?: number; mean?: number; scale?: number }): SliceStream {
    const { low = -Infinity, high = Infinity, mean = 0, scale = 1 } = options;
    const plane = this.sizeVoxels[0] * this.sizeVoxels[1];
    return this.step(this.sizeVoxels, (z, address) => {
      this.load(z, address);
      this.core.wasm.normalize(address, address, plane, low, high, mean, scale);
    });
  }

  /** (value - mean) * scale where the value is not 0; zeros stay. */
  normalizeNonzero(mean: number, scale: number): SliceStream {
    const plane = this.sizeVoxels[0] * this.sizeVoxels[1];
    return this.step(this.sizeVoxels, (z, address) => {
      this.load(z, address);
      this.core.wasm.normalizeNonzero(address, plane, mean, scale);
    });
  }

  /**
   * Gaussian smoothing, edges replicated.
   * @param sigmaVoxels standard deviation along x, y, z; 0: that axis stays as it is
   */
  smooth(sigmaVoxels: Triple): SliceStream {
    if (sigmaVoxels.every((sigma) => sigma === 0)) return this;
    const { core, scope } = this;
    const { memory, wasm } = core;
    const [sizeX, sizeY, sizeZ] = this.sizeVoxels;
    const plane = sizeX * sizeY;
    const kernels = sigmaVoxels.map(gaussianKernel);
    const [radiusX, radiusY, radius] = kernels.map((kernel) => kernel.length - 1) as unknown as Triple;
    const [weightsX, weightsY] = kernels.slice(0, 2).map((kernel) => {
      const address = scope.allocate(kernel.byteLength);
      memory.float32(address, kernel.length).set(kernel);
      return address;
    }) as [number, number];
    const row = scope.allocate((sizeX + 2 * radiusX) * 4);
    const raw = scope.allocate(plane * 4);
    const depth = 2 * radius + 1;
    const ring = scope.allocate(depth * plane * 4);
    const slot = (z: number) => ring + (z % depth) * plane * 4;
    /** Slices [first, filled) are in the ring, smoothed along x and y. */
    let [first, filled] = [0, 0];
    return this.step(this.sizeVoxels, (z, address) => {
      const [low, high] = [Math.max(0, z - radius), Math.min(sizeZ, z + radius + 1)];
      if (low < first || low > filled) first = filled = low;
      for (; filled < high; filled++) {
        this.load(filled, raw);
        if (radiusX > 0) wasm.smoothRows(raw, raw, sizeX, sizeY, weightsX, radiusX, row);
        wasm.smoothColumns(raw, slot(filled), sizeX, sizeY, weightsY, radiusY);
      }
      first = Math.max(first, filled - depth);
      const weights = kernels[2]!;
      wasm.accumulate(slot(z), weights[0]!, address, plane, 1);
      for (let i = 1; i <= radius; i++) {
        wasm.accumulate(slot(Math.max(z - i, 0)), weights[i]!, address, plane, 0);
        wasm.accumulate(slot(Math.min(z + i, sizeZ - 1)), weights[i]!, address, plane, 0);
      }
    });
  }

  /** Trilinear interpolation; source = output * scale + offset (voxel indices), clamped to the volume. */
  resample(outSizeVoxels: Triple, map: GridMap): SliceStream {
    const { core, scope } = this;
    const { memory, wasm } = core;
    const [sizeX, sizeY] = this.sizeVoxels;
    const [outX, outY, outZ] = outSizeVoxels;
    const [x, y, z] = ([outX, outY, outZ] as const).map((count, axis) =>
      linearTable(core, scope, count, this.sizeVoxels[axis]!, map.scale[axis]!, map.offset[axis]!),
    ) as [LinearTable, LinearTable, LinearTable];
    const raw = scope.allocate(sizeX * sizeY * 4);
    const row = scope.allocate((sizeX + 1) * 4);
    const slice = sliceCache(outX * outY * 4, scope, (index, address) => {
      this.load(index, raw);
      wasm.resampleSlice(raw, sizeX, sizeY, address, outX, outY, x.indices, x.weights, y.indices, y.weights, row);
    });
    const lower = memory.int32(z.indices, outZ).slice();
    const weight = memory.float32(z.weights, outZ).slice();
    return this.step(outSizeVoxels, (k, address) => {
      const low = slice(lower[k]!);
      if (weight[k]! > 0) wasm.interpolate(low, slice(lower[k]! + 1), weight[k]!, address, outX * outY);
      else wasm.copyRows(low, 0, address, 0, outX * outY * 4, 1);
    });
  }

  /** Slices begin <= z < end, rows beginY <= y < endY of each, [z, y, x]. */
  read(
    into: Float32Array,
    begin: number,
    end: number,
    rows: readonly [number, number] = [0, this.sizeVoxels[1]],
  ): void {
    const { core, sizeVoxels } = this;
    const [sizeX, sizeY] = sizeVoxels;
    const count = (rows[1] - rows[0]) * sizeX;
    checkLength(into, [sizeX, rows[1] - rows[0], end - begin], 'slices');
    this.withPlane((plane) => {
      for (let z = begin; z < end; z++) {
        this.load(z, plane);
        const values = core.memory.float32(plane, sizeX * sizeY);
        into.set(values.subarray(rows[0] * sizeX, rows[1] * sizeX), (z - begin) * count);
      }
    });
  }

  /** The whole volume, [z, y, x]. */
  collect(): Float32Array {
    const [sizeX, sizeY, sizeZ] = this.sizeVoxels;
    const output = new Float32Array(sizeX * sizeY * sizeZ);
    this.read(output, 0, sizeZ);
    return output;
  }

  /** Over all voxels. The numbers are those of the collected volume: chunks are counted from its first voxel. */
  statistics(): Statistics {
    return statisticsOf(this.core, this.chunks);
  }

  /** Exact quantiles of the finite voxels (two passes); as `host().percentiles`. @param fractions in [0, 1] */
  percentiles(fractions: readonly number[]): number[] {
    return percentilesOf(this.core, fractions, this.chunks);
  }

  /** Number of voxels that are 0. */
  zeros(): number {
    const { wasm, memory } = this.core;
    let zeros = 0;
    this.core.run((scope) => {
      const mask = scope.allocate(chunkElements);
      const state = scope.zeros(1024);
      this.chunks((address, count) => {
        wasm.threshold(address, mask, count, 0, 0);
        wasm.countLabels(mask, count, state);
      });
      zeros = memory.int32(state, 256)[1]! >>> 0;
    });
    return zeros;
  }

  /** The smallest box around the voxels of at least `low`; null when there are none. */
  boxAbove(low: number): Box | null {
    const { wasm, memory, run } = this.core;
    const [sizeX, sizeY, sizeZ] = this.sizeVoxels;
    return run((scope) => {
      const mask = scope.allocate(sizeX * sizeY);
      const state = scope.allocate(36);
      const large = 0x7fffffff;
      memory.int32(state, 9).set([0, 0, 0, large, large, large, -1, -1, -1]);
      this.withPlane((plane) => {
        for (let z = 0; z < sizeZ; z++) {
          this.load(z, plane);
          wasm.threshold(plane, mask, sizeX * sizeY, low, Infinity);
          wasm.addMaskSlice(mask, mask, sizeX, sizeY, z, state);
        }
      });
      const [, , , minX, minY, minZ, maxX, maxY, maxZ] = memory.int32(state, 9) as unknown as number[];
      return maxX! < 0 ? null : { begin: [minX!, minY!, minZ!], end: [maxX! + 1, maxY! + 1, maxZ! + 1] };
    });
  }

  dispose(): void {
    this.scope.release();
  }

  private step(sizeVoxels: Triple, load: Load): SliceStream {
    return new SliceStream(this.core, this.scope, sizeVoxels, load);
  }

  private withPlane(body: (address: number) => void): void {
    this.core.run((scope) => body(scope.allocate(this.sizeVoxels[0] * this.sizeVoxels[1] * 4)));
  }

  /** The volume in chunks of `chunkElements` voxels from its first one on, across slices. */
  private readonly chunks: EachChunk = (body) => {
    const [sizeX, sizeY, sizeZ] = this.sizeVoxels;
    const { wasm, run } = this.core;
    const plane = sizeX * sizeY;
    run((scope) => {
      const chunk = scope.allocate(chunkElements * 4);
      const slice = scope.allocate(plane * 4);
      let held = 0;
      for (let z = 0; z < sizeZ; z++) {
        this.load(z, slice);
        for (let from = 0; from < plane; ) {
          const count = Math.min(plane - from, chunkElements - held);
          wasm.copyRows(slice + from * 4, 0, chunk + held * 4, 0, count * 4, 1);
          held += count;
          from += count;
          if (held < chunkElements) continue;
          body(chunk, held);
          held = 0;
        }
      }
      if (held > 0) body(chunk, held);
    });
  };
}

/** Below this standard deviation a Gaussian changes a voxel by less than a thousandth of its neighbours. */
const negligibleSigma = 0.25;

/** One half of a normalised Gaussian kernel, the middle first, cut at three standard deviations. */
function gaussianKernel(sigmaVoxels: number): Float32Array {
  if (!(sigmaVoxels > negligibleSigma)) return Float32Array.of(1);
  const radius = Math.ceil(3 * sigmaVoxels);
  const half = Array.from({ length: radius + 1 }, (_, i) => Math.exp(-0.5 * (i / sigmaVoxels) ** 2));
  const sum = half.reduce((total, weight, i) => total + (i === 0 ? weight : 2 * weight), 0);
  return Float32Array.from(half, (weight) => weight / sum);
}
