import type { Triple } from '../volume/volume.js';
import { checkLength, checkSameLength, type HostCore, type Scope, uint32View } from './host-core.js';
import type { Box, volumeOperations } from './host-volume.js';
import { interpolateLikeNumpy } from './statistics.js';

export type Connectivity = 6 | 18 | 26;

/** One directed set of surface distances: from every surface voxel of one mask to the nearest of the other's. */
export interface DirectedSummary {
  /** Surface voxels. */
  readonly count: number;
  readonly mean: number;
  readonly maximum: number;
  readonly percentile95: number;
  /** Surface voxels whose distance is <= tolerance. */
  readonly within: number;
}

/** Distances in the unit of the spacing. */
export interface SurfaceSummary {
  readonly predictionToReference: DirectedSummary;
  readonly referenceToPrediction: DirectedSummary;
  /** 95th percentile of both sets together. */
  readonly pooledPercentile95: number;
}

export interface MaskComparison {
  /** Voxels in both masks, in the first, in the second. */
  readonly counts: { readonly both: number; readonly inA: number; readonly inB: number };
  /** One per measure; null when a mask is empty. */
  readonly summaries: SurfaceSummary[] | null;
}

/** A spacing to measure in, with the tolerance of surface Dice in the same unit. */
export interface Measure {
  readonly spacing: Triple;
  readonly tolerance: number;
}

interface Lists {
  /** Size of the box with its border of zeros. */
  readonly size: Triple;
  readonly prediction: VoxelList;
  readonly reference: VoxelList;
}

interface VoxelList {
  readonly address: number;
  readonly count: number;
}

export function metricOperations({ wasm, memory, run }: HostCore, volume: ReturnType<typeof volumeOperations>) {
  /** Copies the box of a mask into linear memory with a border of one zero voxel on all sides. */
  function placeBordered(scope: Scope, mask: Uint8Array, sizeVoxels: Triple, { begin, end }: Box) {
    const inner = end.map((e, i) => e - begin[i]!) as unknown as Triple;
    const size = inner.map((n) => n + 2) as unknown as Triple;
    const address = scope.zeros(size[0] * size[1] * size[2]);
    const stage = scope.allocate(inner[1] * sizeVoxels[0]);
    for (let z = 0; z < inner[2]; z++) {
      const from = ((begin[2] + z) * sizeVoxels[1] + begin[1]) * sizeVoxels[0];
      memory.uint8(stage, inner[1] * sizeVoxels[0]).set(mask.subarray(from, from + inner[1] * sizeVoxels[0]));
      const to = address + ((z + 1) * size[1] + 1) * size[0] + 1;
      wasm.copyRows(stage + begin[0], sizeVoxels[0], to, size[0], inner[0], inner[1]);
    }
    return { address, size };
  }

  function listSurface(scope: Scope, address: number, size: Triple): VoxelList {
    const count = wasm.listSurface(address, size[0], size[1], size[2], 0);
    const list = scope.allocate(count * 4);
    wasm.listSurface(address, size[0], size[1], size[2], list);
    return { address: list, count };
  }

  /** Per slice [beginZ, endZ): nearest source in the slice (assembly/metrics/distance.ts), over the box inside the border. */
  function nearestInSlices(scope: Scope, sources: VoxelList, size: Triple, spacing: Triple) {
    const [width, height] = [size[0] - 2, size[1] - 2];
    const plane = size[0] * size[1];
    const list = () => uint32View(memory, sources.address, sources.count);
    const beginZ = Math.floor(list()[0]! / plane);
    const endZ = Math.floor(list()[sources.count - 1]! / plane) + 1;
    const nearest = scope.allocate((endZ - beginZ) * width * height * 4);
    const present = scope.zeros(endZ - beginZ);
    const rowY = scope.allocate(height * 4);
    const offsets = scope.allocate(height * width * 2);
    const stack = scope.allocate((height + 1) * 4);
    const bounds = scope.allocate((height + 1) * 8);
    const heights = scope.allocate((height + 1) * 8);
    const halves = scope.allocate((height + 1) * 8);
    memory.float64(halves, height + 1).set(Float64Array.from({ length: height + 1 }, (_, i) => 0.5 / i));
    const voxels = list();
    for (let z = beginZ, first = 0; z < endZ; z++) {
      const last = lowerBound(voxels, (z + 1) * plane, first);
      if (last > first) {
        memory.uint8(present, endZ - beginZ)[z - beginZ] = 1;
        wasm.nearestInSlice(
          sources.address + first * 4, last - first, size[0], z * size[1], 1, width + 1, 1, height + 1,
          spacing[0], spacing[1], rowY, offsets, stack, bounds, heights, halves, nearest + (z - beginZ) * width * height * 4,
        ); // biome-ignore format: lines of related numbers
      }
      first = last;
    }
    return { nearest, present, beginZ, endZ };
  }

  /** Distances from all queries to the nearest source, f64 at `output`. */
  function distances(queries: VoxelList, sources: VoxelList, size: Triple, spacing: Triple, output: number): void {
    run((scope) => {
      const { nearest, present, beginZ, endZ } = nearestInSlices(scope, sources, size, spacing);
      wasm.queryDistances(
        queries.address, queries.count, size[0], size[1], nearest, present,
        1, size[0] - 1, 1, size[1] - 1, beginZ, endZ, spacing[0], spacing[1], spacing[2], output,
      ); // biome-ignore format: lines of related numbers
    });
  }

  /** Surfaces of both masks within the box around both; neither may be empty. */
  function surfaces(scope: Scope, prediction: Uint8Array, reference: Uint8Array, sizeVoxels: Triple, box: Box): Lists {
    const a = placeBordered(scope, prediction, sizeVoxels, box);
    const b = placeBordered(scope, reference, sizeVoxels, box);
    return {
      size: a.size,
      prediction: listSurface(scope, a.address, a.size),
      reference: listSurface(scope, b.address, b.size),
    };
  }

  function percentile95(address: number, count: number): number {
    const position = (count - 1) * 0.95;
    const rank = Math.floor(position);
    const low = wasm.select(address, count, rank);
    const high = rank + 1 < count ? wasm.smallest(address, rank + 1, count) : low;
    return interpolateLikeNumpy(low, high, position - rank);
  }

  function directed(scope: Scope, address: number, count: number, tolerance: number): DirectedSummary {
    const result = scope.allocate(24);
    wasm.summarize(address, count, tolerance, result);
    const [sum, maximum, within] = memory.float64(result, 3) as unknown as number[];
    return {
      count,
      mean: sum! / count,
      maximum: maximum!,
      percentile95: percentile95(address, count),
      within: within!,
    };
  }

  /**
   * Counts and surface distances of two masks [z, y, x] (nonzero = inside), the latter in several units at once;
   * surfaces are extracted once, within the box around both masks.
   * A surface voxel has a background voxel among its six neighbours (outside the volume is background).
   */
  function compareMasks(
    prediction: Uint8Array,
    reference: Uint8Array,
    sizeVoxels: Triple,
    measures: readonly Measure[],
  ): MaskComparison {
    const { box, ...counts } = volume.maskCounts(prediction, reference, sizeVoxels);
    if (box === null || counts.inA === 0 || counts.inB === 0) return { counts, summaries: null };
    const summaries = run((scope) => {
      const { size, prediction: a, reference: b } = surfaces(scope, prediction, reference, sizeVoxels, box);
      const output = scope.allocate((a.count + b.count) * 8);
      return measures.map(({ spacing, tolerance }) => {
        distances(a, b, size, spacing, output);
        distances(b, a, size, spacing, output + a.count * 8);
        return {
          predictionToReference: directed(scope, output, a.count, tolerance),
          referenceToPrediction: directed(scope, output + a.count * 8, b.count, tolerance),
          pooledPercentile95: percentile95(output, a.count + b.count),
        };
      });
    });
    return { counts, summaries };
  }

  interface Runs {
    readonly begins: number;
    readonly ends: number;
    readonly rowFirst: number;
    readonly labels: number;
    readonly sizes: Uint32Array;
  }

  function findComponents(scope: Scope, address: number, sizeVoxels: Triple, connectivity: Connectivity): Runs {
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const rows = sizeY * sizeZ;
    const count = wasm.countRuns(address, sizeX, rows);
    const [begins, ends, parents, labels, sizes] = Array.from({ length: 5 }, () => scope.allocate(count * 4)) as [
      number, number, number, number, number,
    ]; // biome-ignore format: five numbers
    const rowFirst = scope.allocate((rows + 1) * 4);
    wasm.findRuns(address, sizeX, rows, begins, ends, rowFirst, parents);
    const found = wasm.joinRuns(sizeY, sizeZ, connectivity, begins, ends, rowFirst, parents, labels, sizes);
    return { begins, ends, rowFirst, labels, sizes: uint32View(memory, sizes, found).slice() };
  }

  /**
   * 1 in the largest connected component (the first of equals in raster order), else 0; all 0 for an empty mask.
   * @param into default: a new array; may be the mask itself
   */
  function largestComponent(
    mask: Uint8Array,
    sizeVoxels: Triple,
    connectivity: Connectivity = 26,
    into?: Uint8Array,
  ): Uint8Array {
    const output = into ?? new Uint8Array(mask.length);
    checkLength(mask, sizeVoxels, 'largestComponent mask');
    checkSameLength(mask, output, 'largestComponent output');
    run((scope) => {
      const [address] = scope.place(mask);
      const { begins, ends, rowFirst, labels, sizes } = findComponents(scope, address, sizeVoxels, connectivity);
      if (sizes.length === 0) {
        output.fill(0);
        return;
      }
      let largest = 0;
      for (let i = 1; i < sizes.length; i++) if (sizes[i]! > sizes[largest]!) largest = i;
      const [sizeX, sizeY, sizeZ] = sizeVoxels;
      const painted = scope.allocate(mask.length);
      wasm.paintComponent(begins, ends, rowFirst, labels, sizeY * sizeZ, sizeX, largest + 1, painted);
      output.set(memory.uint8(painted, mask.length));
    });
    return output;
  }

  return { compareMasks, largestComponent };
}

/** First index >= from whose element is >= value, of an ascending array. */
function lowerBound(sorted: Uint32Array, value: number, from: number): number {
  let low = from;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
