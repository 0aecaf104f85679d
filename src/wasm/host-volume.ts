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
  voxelKind,
} from './host-core.js';
import { crop } from './host-crop.js';
import { type EachChunk, percentilesOf, type Statistics, statisticsOf } from './statistics.js';

/** Voxels begin <= index < end along x, y, z. */
export interface Box {
  readonly begin: Triple;
  readonly end: Triple;
}

/** Of a volume whose slices do not stay slices when it is turned, so much is in linear memory, twice. */
const slabBytes = 16 * 2 ** 20;

export function volumeOperations(core: HostCore) {
  const { wasm, memory, run } = core;

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

  function eachChunk(data: Float32Array, mask: Uint8Array | undefined): EachChunk {
    return (body) => stream(data, mask, 0, body, () => {});
  }

  /** @param mask where given, only voxels with mask != 0 count */
  function statistics(data: Float32Array, mask?: Uint8Array): Statistics {
    return statisticsOf(core, eachChunk(data, mask));
  }

  /**
   * Exact quantiles of the finite voxels, interpolated linearly as numpy.percentile does; NaN when there are none.
   * @param fractions in [0, 1]
   */
  function percentiles(data: Float32Array, fractions: readonly number[], mask?: Uint8Array): number[] {
    return percentilesOf(core, fractions, eachChunk(data, mask));
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
    const kind = voxelKind(data);
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
  function translate(data: Uint8Array, table: Uint8Array, into?: Uint8Array): Uint8Array {
    const output = into ?? new Uint8Array(data.length);
    checkSameLength(data, output, 'translate output');
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
    const size = axes.map((axis) => sizeVoxels[axis]!) as unknown as Triple;
    /** Elements from voxel to voxel of the result within a box of the source, and the first one's place in it. */
    const strided = (box: Triple): readonly [step: Triple, first: number] => {
      const strides = [1, box[0], box[0] * box[1]];
      const step = axes.map((axis, i) => (flipped[i] ? -strides[axis]! : strides[axis]!)) as unknown as Triple;
      return [step, axes.reduce((sum, axis, i) => sum + (flipped[i] ? -step[i]! * (box[axis]! - 1) : 0), 0)];
    };
    run((scope) => {
      const source = scope.steady(data);
      if (axes[2] === 2) {
        // Slices stay slices: one at a time.
        const plane = size[0] * size[1] * bytes;
        const [input, result] = [scope.allocate(plane), scope.allocate(plane)];
        const [step, first] = strided([sizeVoxels[0], sizeVoxels[1], 1]);
        for (let z = 0; z < size[2]; z++) {
          const from = flipped[2] ? size[2] - 1 - z : z;
          memory.uint8(input, plane).set(bytesOf(source()).subarray(from * plane, (from + 1) * plane));
          wasm.reorient(bytes, input + first * bytes, result, size[0], size[1], 1, step[0], step[1], 0);
          bytesOf(output).set(memory.uint8(result, plane), z * plane);
        }
        return;
      }
      // Slabs of the result: each is a box of the source.
      const along = axes[2];
      const plane = size[0] * size[1];
      const depth = Math.max(1, Math.min(size[2], Math.floor(slabBytes / (plane * bytes))));
      const [input, result] = [scope.allocate(depth * plane * bytes), scope.allocate(depth * plane * bytes)];
      for (let z = 0; z < size[2]; z += depth) {
        const count = Math.min(depth, size[2] - z);
        const begin = [0, 0, 0];
        begin[along] = flipped[2] ? size[2] - z - count : z;
        const box = sizeVoxels.map((length, axis) => (axis === along ? count : length)) as unknown as Triple;
        const slab = count === size[2] ? source() : crop(source(), sizeVoxels, begin as unknown as Triple, box);
        memory.uint8(input, slab.byteLength).set(bytesOf(slab));
        const [step, first] = strided(box);
        wasm.reorient(bytes, input + first * bytes, result, size[0], size[1], count, step[0], step[1], step[2]);
        bytesOf(output).set(memory.uint8(result, slab.byteLength), z * plane * bytes);
      }
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
