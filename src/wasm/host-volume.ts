import { VersemiError } from '../errors.js';
import type { Triple, VoxelArray } from '../volume/volume.js';
import {
  bytesOf,
  checkLength,
  checkSameLength,
  chunkElements,
  type HostCore,
  sameType,
  uint32View,
} from './host-core.js';

/** Statistics over the finite voxels; the standard deviation is that of the population (divided by count). */
export interface Statistics {
  /** NaN when no voxel counts, as are max, mean and standardDeviation. */
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly standardDeviation: number;
  readonly count: number;
  /** Voxels that are NaN or infinite. */
  readonly nonFinite: number;
}

/** Voxels begin <= index < end along x, y, z. */
export interface Box {
  readonly begin: Triple;
  readonly end: Triple;
}

/** Order gives the number that assembly/volume/intensity.ts takes. */
const kinds = [Uint8Array, Int8Array, Uint16Array, Int16Array, Uint32Array, Int32Array, Float32Array, Float64Array];

export function volumeOperations({ wasm, memory, run }: HostCore) {
  /** Calls `body` for each chunk [from, to) of `length` elements. */
  function chunks(length: number, body: (from: number, to: number) => void): void {
    for (let from = 0; from < length; from += chunkElements) body(from, Math.min(from + chunkElements, length));
  }

  /** Streams data (and mask) through linear memory: body gets addresses and the number of elements. */
  function stream(
    data: Float32Array | Uint8Array,
    mask: Uint8Array | undefined,
    scratchBytes: number,
    body: (data: number, mask: number, count: number, scratch: number, from: number) => void,
    end: (scratch: number) => void,
  ): void {
    if (mask !== undefined) checkSameLength(data, mask, 'mask');
    run((scope) => {
      const [voxels, masks] = [scope.steady<VoxelArray>(data), mask && scope.steady(mask)];
      const bytes = data.BYTES_PER_ELEMENT;
      const block = scope.allocate(chunkElements * bytes);
      const maskBlock = mask === undefined ? 0 : scope.allocate(chunkElements);
      const scratch = scope.zeros(scratchBytes);
      chunks(data.length, (from, to) => {
        memory.uint8(block, (to - from) * bytes).set(bytesOf(voxels()).subarray(from * bytes, to * bytes));
        if (masks !== undefined) memory.uint8(maskBlock, to - from).set(masks().subarray(from, to));
        body(block, maskBlock, to - from, scratch, from);
      });
      end(scratch);
    });
  }

  /** @param mask where given, only voxels with mask != 0 count */
  function statistics(data: Float32Array, mask?: Uint8Array): Statistics {
    let result: Statistics | undefined;
    run((scope) => {
      const state = scope.allocate(48);
      memory.float64(state, 6).set([0, 0, 0, Infinity, -Infinity, 0]);
      stream(
        data,
        mask,
        0,
        (voxels, masks, count) => wasm.addStatistics(voxels, masks, count, state),
        () => {
          const [count, mean, squares, min, max, nonFinite] = memory.float64(state, 6) as unknown as number[];
          const spread = { min: min!, max: max!, mean: mean!, standardDeviation: Math.sqrt(squares! / count!) };
          const none = { min: NaN, max: NaN, mean: NaN, standardDeviation: NaN };
          result = { ...(count! > 0 ? spread : none), count: count!, nonFinite: nonFinite! };
        },
      );
    });
    return result!;
  }

  /**
   * Exact quantiles of the finite voxels, interpolated linearly as numpy.percentile does; NaN when there are none.
   * @param fractions in [0, 1]
   */
  function percentiles(data: Float32Array, fractions: readonly number[], mask?: Uint8Array): number[] {
    const bins = 65536;
    // First pass: upper 16 bits of each value. Second pass: the lower 16 bits within the bins that hold a wanted rank.
    let upper = new Uint32Array(0);
    stream(data, mask, bins * 4, (voxels, masks, count, histogram) => wasm.countUpper(voxels, masks, count, histogram),
      (histogram) => {
        upper = uint32View(memory, histogram, bins).slice();
      }); // biome-ignore format: one call
    const total = upper.reduce((sum, count) => sum + count, 0);
    if (total === 0) return fractions.map(() => NaN);
    const positions = fractions.map((fraction) => (total - 1) * Math.min(Math.max(fraction, 0), 1));
    const ranks = [...new Set(positions.flatMap((p) => [Math.floor(p), Math.min(Math.floor(p) + 1, total - 1)]))];
    const places = new Map(ranks.map((rank) => [rank, findBin(upper, rank)]));
    const wanted = [...new Set([...places.values()].map((place) => place.bin))];
    const values = new Map<number, number>();
    // A slot is one byte and a histogram 256 KiB: at most 64 bins (16 MiB) per pass.
    for (let first = 0; first < wanted.length; first += 64) {
      const group = wanted.slice(first, first + 64);
      run((scope) => {
        const slots = scope.zeros(bins);
        group.forEach((bin, i) => {
          memory.uint8(slots, bins)[bin] = i + 1;
        });
        stream(data, mask, group.length * bins * 4,
          (voxels, masks, count, histograms) => wasm.countLower(voxels, masks, count, slots, histograms),
          (histograms) => {
            for (const [rank, { bin, before }] of places) {
              const slot = group.indexOf(bin);
              if (slot < 0) continue;
              const lower = uint32View(memory, histograms + slot * bins * 4, bins);
              values.set(rank, orderedToNumber(bin * bins + findBin(lower, rank - before).bin));
            }
          }); // biome-ignore format: one call
      });
    }
    return positions.map((position) => {
      const low = values.get(Math.floor(position))!;
      const high = values.get(Math.min(Math.floor(position) + 1, total - 1))!;
      return interpolateLikeNumpy(low, high, position - Math.floor(position));
    });
  }

  /**
   * (clip(data, low, high) - mean) * scale; NaN becomes what `low` becomes.
   * @param into where the result goes; `data` itself is allowed; a new array when absent
   */
  function normalize(
    data: Float32Array,
    options: { low?: number; high?: number; mean?: number; scale?: number },
    into: Float32Array = new Float32Array(data.length),
  ): Float32Array {
    const { low = -Infinity, high = Infinity, mean = 0, scale = 1 } = options;
    checkSameLength(data, into, 'normalize into');
    return run((scope) => {
      const target = scope.steady(into);
      stream(
        data,
        undefined,
        0,
        (voxels, _mask, count, _scratch, from) => {
          wasm.normalize(voxels, voxels, count, low, high, mean, scale);
          target().set(memory.float32(voxels, count), from);
        },
        () => {},
      );
      return target();
    });
  }

  /** Mask (0 or 1) of the voxels with low <= value <= high. */
  function threshold(data: Float32Array, low: number, high = Infinity): Uint8Array {
    const output = new Uint8Array(data.length);
    run((scope) => {
      const block = scope.allocate(chunkElements);
      stream(
        data,
        undefined,
        0,
        (voxels, _mask, count, _scratch, from) => {
          wasm.threshold(voxels, block, count, low, high);
          output.set(memory.uint8(block, count), from);
        },
        () => {},
      );
    });
    return output;
  }

  /** float32 of data * slope + intercept (computed in double); any element type. */
  function toFloat32(data: VoxelArray, slope = 1, intercept = 0): Float32Array {
    const output = new Float32Array(data.length);
    const kind = kinds.findIndex((type) => data instanceof type);
    const bytes = data.BYTES_PER_ELEMENT;
    run((scope) => {
      const source = scope.steady(data);
      const input = scope.allocate(chunkElements * bytes);
      const converted = scope.allocate(chunkElements * 4);
      chunks(data.length, (from, to) => {
        memory.uint8(input, (to - from) * bytes).set(bytesOf(source()).subarray(from * bytes, to * bytes));
        wasm.toFloat32(kind, input, converted, to - from, slope, intercept);
        output.set(memory.float32(converted, to - from), from);
      });
    });
    return output;
  }

  /** Number of voxels of each of the 256 byte values. */
  function labelCounts(data: Uint8Array): Uint32Array {
    let counts = new Uint32Array(256);
    stream(data, undefined, 1024, (labels, _mask, count, histogram) => wasm.countLabels(labels, count, histogram),
      (histogram) => {
        counts = uint32View(memory, histogram, 256).slice();
      }); // biome-ignore format: one call
    return counts;
  }

  /** A new array with table[data[i]]. @param table 256 bytes */
  function translate(data: Uint8Array, table: Uint8Array): Uint8Array {
    const output = new Uint8Array(data.length);
    run((scope) => {
      const [tableAddress] = scope.place(table);
      stream(
        data,
        undefined,
        0,
        (labels, _mask, count, _scratch, from) => {
          wasm.translate(labels, count, tableAddress);
          output.set(memory.uint8(labels, count), from);
        },
        () => {},
      );
    });
    return output;
  }

  /**
   * Linear indices of chosen occurrences of a label value.
   * @param ranks ascending, 0 = first occurrence in raster order; those beyond the last occurrence are left out
   */
  function positionsOf(data: Uint8Array, value: number, ranks: Int32Array): Int32Array {
    return run((scope) => {
      const [rankAddress] = scope.place(ranks);
      const found = scope.allocate(Math.max(ranks.length, 1) * 4);
      let next = 0;
      let seen = 0;
      stream(
        data,
        undefined,
        1024,
        (labels, _mask, count, histogram, from) => {
          const before = uint32View(memory, histogram, 256)[value]!;
          seen = before;
          next = wasm.findRanks(labels, count, value, from, seen, rankAddress, ranks.length, next, found);
          wasm.countLabels(labels, count, histogram);
        },
        () => {},
      );
      return memory.int32(found, next).slice();
    });
  }

  /** Smallest box around the nonzero voxels of a mask [z, y, x]; null when there are none. */
  function boundingBox(mask: Uint8Array, sizeVoxels: Triple): Box | null {
    checkLength(mask, sizeVoxels, 'boundingBox mask');
    return maskCounts(mask, mask, sizeVoxels).box;
  }

  /** Counts of two masks and the box around both: everything overlap metrics need, in one pass. */
  function maskCounts(a: Uint8Array, b: Uint8Array, sizeVoxels: Triple) {
    checkLength(a, sizeVoxels, 'mask');
    checkLength(b, sizeVoxels, 'mask');
    const [sizeX, sizeY, sizeZ] = sizeVoxels;
    const plane = sizeX * sizeY;
    return run((scope) => {
      const [sourceA, sourceB] = [scope.steady(a), scope.steady(b)];
      const sliceA = scope.allocate(plane);
      const sliceB = a === b ? sliceA : scope.allocate(plane);
      const state = scope.allocate(36);
      const large = 0x7fffffff;
      memory.int32(state, 9).set([0, 0, 0, large, large, large, -1, -1, -1]);
      for (let z = 0; z < sizeZ; z++) {
        memory.uint8(sliceA, plane).set(sourceA().subarray(z * plane, (z + 1) * plane));
        if (a !== b) memory.uint8(sliceB, plane).set(sourceB().subarray(z * plane, (z + 1) * plane));
        wasm.addMaskSlice(sliceA, sliceB, sizeX, sizeY, z, state);
      }
      const [both, inA, inB, minX, minY, minZ, maxX, maxY, maxZ] = memory.int32(state, 9) as unknown as number[];
      const box: Box | null =
        maxX! < 0 ? null : { begin: [minX!, minY!, minZ!], end: [maxX! + 1, maxY! + 1, maxZ! + 1] };
      return { both: both! >>> 0, inA: inA! >>> 0, inB: inB! >>> 0, box };
    });
  }

  /**
   * Permutes and reverses axes: result axis i runs along source axis axes[i], reversed where flipped[i]
   * (StoredGeometry's convention); any element type.
   */
  function reorient<T extends VoxelArray>(
    data: T,
    sizeVoxels: Triple,
    axes: Triple,
    flipped: readonly [boolean, boolean, boolean],
  ): T {
    checkLength(data, sizeVoxels, 'reorient data');
    if (axes.slice().sort().join() !== '0,1,2')
      throw new VersemiError('INTERNAL', {
        field: 'reorient axes',
        expected: 'a permutation of 0, 1, 2',
        found: `${axes}`,
      });
    const output = sameType(data, data.length);
    const bytes = data.BYTES_PER_ELEMENT;
    const strides = [1, sizeVoxels[0], sizeVoxels[0] * sizeVoxels[1]];
    const size = axes.map((axis) => sizeVoxels[axis]!) as unknown as Triple;
    const step = axes.map((axis, i) => (flipped[i] ? -strides[axis]! : strides[axis]!)) as unknown as Triple;
    const start = (i: number) => (step[i]! < 0 ? -step[i]! * (size[i]! - 1) : 0);
    run((scope) => {
      const source = scope.steady(data);
      if (axes[2] === 2) {
        // Slices stay slices: one at a time.
        const plane = size[0] * size[1] * bytes;
        const [input, result] = [scope.allocate(plane), scope.allocate(plane)];
        for (let z = 0; z < size[2]; z++) {
          const from = flipped[2] ? size[2] - 1 - z : z;
          memory.uint8(input, plane).set(bytesOf(source()).subarray(from * plane, (from + 1) * plane));
          wasm.reorient(bytes, input + (start(0) + start(1)) * bytes, result, size[0], size[1], 1, step[0], step[1], 0);
          bytesOf(output).set(memory.uint8(result, plane), z * plane);
        }
        return;
      }
      const input = scope.allocate(data.byteLength);
      const result = scope.allocate(data.byteLength);
      memory.uint8(input, data.byteLength).set(bytesOf(source()));
      const first = input + (start(0) + start(1) + start(2)) * bytes;
      wasm.reorient(bytes, first, result, size[0], size[1], size[2], step[0], step[1], step[2]);
      bytesOf(output).set(memory.uint8(result, data.byteLength));
    });
    return output;
  }

  return {
    statistics,
    percentiles,
    normalize,
    threshold,
    toFloat32,
    labelCounts,
    translate,
    positionsOf,
    boundingBox,
    maskCounts,
    reorient,
  };
}

/** The histogram bin that holds the element of a rank, and how many elements lie before the bin. */
function findBin(histogram: Uint32Array, rank: number): { bin: number; before: number } {
  let before = 0;
  for (let bin = 0; bin < histogram.length; bin++) {
    if (rank < before + histogram[bin]!) return { bin, before };
    before += histogram[bin]!;
  }
  throw new VersemiError('INTERNAL', { field: 'percentiles', found: `rank ${rank} of ${before}` });
}

const word = new Uint32Array(1);
const real = new Float32Array(word.buffer);

/** The float32 whose bits, made comparable as unsigned integers, are `key` (assembly/volume/intensity.ts). */
function orderedToNumber(key: number): number {
  word[0] = key >= 0x80000000 ? key - 0x80000000 : ~key;
  return real[0]!;
}

/** a + (b - a) * t, from the nearer end, so that the result is monotonic: numpy's percentile, method linear. */
export function interpolateLikeNumpy(a: number, b: number, t: number): number {
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}
