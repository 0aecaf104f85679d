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
import { percentilesOf, type Statistics, statisticsOf } from './statistics.js';

/** Voxels begin <= index < end along x, y, z. */
export interface Box {
  readonly begin: Triple;
  readonly end: Triple;
}

/** A volume whose slices do not stay slices when it is turned goes through linear memory in slabs of so many bytes. */
const slabBytes = 16 * 2 ** 20;

/** How a turned box is read, in elements: from voxel to voxel along each axis of the result, and where its first voxel lies. */
export function turnedStrides(
  box: Triple,
  axes: Triple,
  flipped: readonly [boolean, boolean, boolean],
): readonly [step: Triple, first: number] {
  const strides = [1, box[0], box[0] * box[1]];
  const step = axes.map((axis, i) => (flipped[i] ? -strides[axis]! : strides[axis]!)) as unknown as Triple;
  const first = axes.reduce((sum, axis, i) => sum + (flipped[i] ? strides[axis]! * (box[axis]! - 1) : 0), 0);
  return [step, first];
}

export function volumeOperations(core: HostCore) {
  const { wasm, memory, run } = core;

  /** Streams data through linear memory: `body` gets the address of each chunk, its number of elements and its first index. */
  function stream(data: VoxelArray, body: (chunk: number, count: number, from: number) => void): void {
    const bytes = data.BYTES_PER_ELEMENT;
    run((scope) => {
      const chunk = scope.allocate(chunkElements * bytes);
      for (let from = 0; from < data.length; from += chunkElements) {
        const count = Math.min(chunkElements, data.length - from);
        memory.uint8(chunk, count * bytes).set(bytesOf(data).subarray(from * bytes, (from + count) * bytes));
        body(chunk, count, from);
      }
    });
  }

  function statistics(data: Float32Array): Statistics {
    return statisticsOf(core, (body) => stream(data, body));
  }

  /** As {@link percentilesOf} of the whole array. @param fractions in [0, 1] */
  function percentiles(data: Float32Array, fractions: readonly number[]): number[] {
    return percentilesOf(core, fractions, (body) => stream(data, body));
  }

  /** Mask (0 or 1) of the voxels with low <= value <= high. */
  function threshold(data: Float32Array, low: number, high = Infinity): Uint8Array {
    const output = new Uint8Array(data.length);
    run((scope) => {
      const block = scope.allocate(chunkElements);
      stream(data, (voxels, count, from) => {
        wasm.threshold(voxels, block, count, low, high);
        output.set(memory.uint8(block, count), from);
      });
    });
    return output;
  }

  /** float32 of data * slope + intercept (computed in double); any element type. */
  function toFloat32(data: VoxelArray, slope = 1, intercept = 0): Float32Array {
    const output = new Float32Array(data.length);
    const kind = voxelKind(data);
    run((scope) => {
      const converted = scope.allocate(chunkElements * 4);
      stream(data, (voxels, count, from) => {
        wasm.toFloat32(kind, voxels, converted, count, slope, intercept);
        output.set(memory.float32(converted, count), from);
      });
    });
    return output;
  }

  /** Number of voxels of each of the 256 byte values. */
  function labelCounts(data: Uint8Array): Uint32Array {
    return run((scope) => {
      const histogram = scope.zeros(1024);
      stream(data, (labels, count) => wasm.countLabels(labels, count, histogram));
      return uint32View(memory, histogram, 256).slice();
    });
  }

  /** A new array with table[data[i]]. @param table 256 bytes */
  function translate(data: Uint8Array, table: Uint8Array, into?: Uint8Array): Uint8Array {
    const output = into ?? new Uint8Array(data.length);
    checkSameLength(data, output, 'translate output');
    run((scope) => {
      const [tableAddress] = scope.place(table);
      stream(data, (labels, count, from) => {
        wasm.translate(labels, count, tableAddress);
        output.set(memory.uint8(labels, count), from);
      });
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
      const histogram = scope.zeros(1024);
      let next = 0;
      stream(data, (labels, count, from) => {
        const seen = uint32View(memory, histogram, 256)[value]!;
        next = wasm.findRanks(labels, count, value, from, seen, rankAddress, ranks.length, next, found);
        wasm.countLabels(labels, count, histogram);
      });
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
      const sliceA = scope.allocate(plane);
      const sliceB = a === b ? sliceA : scope.allocate(plane);
      const state = scope.allocate(36);
      const large = 0x7fffffff;
      memory.int32(state, 9).set([0, 0, 0, large, large, large, -1, -1, -1]);
      for (let z = 0; z < sizeZ; z++) {
        memory.uint8(sliceA, plane).set(a.subarray(z * plane, (z + 1) * plane));
        if (a !== b) memory.uint8(sliceB, plane).set(b.subarray(z * plane, (z + 1) * plane));
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
    run((scope) => {
      if (axes[2] === 2) {
        // Slices stay slices: one at a time.
        const plane = size[0] * size[1] * bytes;
        const [input, result] = [scope.allocate(plane), scope.allocate(plane)];
        const [step, first] = turnedStrides([sizeVoxels[0], sizeVoxels[1], 1], axes, flipped);
        for (let z = 0; z < size[2]; z++) {
          const from = flipped[2] ? size[2] - 1 - z : z;
          memory.uint8(input, plane).set(bytesOf(data).subarray(from * plane, (from + 1) * plane));
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
        const slab = count === size[2] ? data : crop(data, sizeVoxels, begin as unknown as Triple, box);
        memory.uint8(input, slab.byteLength).set(bytesOf(slab));
        const [step, first] = turnedStrides(box, axes, flipped);
        wasm.reorient(bytes, input + first * bytes, result, size[0], size[1], count, step[0], step[1], step[2]);
        bytesOf(output).set(memory.uint8(result, slab.byteLength), z * plane * bytes);
      }
    });
    return output;
  }

  return {
    statistics,
    percentiles,
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
