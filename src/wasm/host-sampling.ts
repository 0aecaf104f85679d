import { VersemiError } from '../errors.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { checkLength, checkSameLength, chunkElements, type HostCore, sameType } from './host-core.js';
import { cropInto } from './host-crop.js';
import { turnedStrides } from './host-volume.js';

/** Which voxels a patch takes, and how it is turned. */
export interface PatchCut {
  /** First voxel of the box in the volume, x, y, z; may be negative or reach beyond the end (then `fill`). */
  readonly begin: Triple;
  /** Size of the patch (after turning). */
  readonly sizeVoxels: Triple;
  /** Patch axis i runs along volume axis axes[i]; default [0, 1, 2]. */
  readonly axes?: Triple;
  /** Patch axis i is reversed; default none. */
  readonly flipped?: readonly [boolean, boolean, boolean];
  /** Value outside the volume; default 0. */
  readonly fill?: number;
  /**
   * 3 x 3, row by row: what the patch, after `axes` and `flipped`, is further mapped by. A voxel that lies d voxels from
   * the middle of the patch is read matrix * d voxels from the same place in the volume: float32 trilinearly, labels from the
   * nearest voxel. Default: none.
   */
  readonly matrix?: Matrix3;
}

/** A 3 x 3 matrix, row by row. */
export type Matrix3 = readonly [number, number, number, number, number, number, number, number, number];

/** Intensity augmentation of one patch: gamma(data) * scale + shift + noise. */
export interface IntensityAugmentation {
  /** Exponent on the data brought to [0, 1], after which mean and standard deviation are restored; default 1. */
  readonly gamma?: number;
  readonly scale?: number;
  readonly shift?: number;
  /** Standard deviation of additive Gaussian noise; 0 = none. */
  readonly noiseStandardDeviation?: number;
  /** The noise is what `new RandomStream(seed, stream, step, sample)` gives by normal(), from `firstBlock` on. */
  readonly seed?: number;
  readonly stream?: number;
  readonly step?: number;
  readonly sample?: number;
  /** First Philox block used (two normal numbers per block): apart from other uses of the same stream. */
  readonly firstBlock?: number;
}

/** Patch operations. Arrays are [z, y, x] and are copied in and out; `into` is where a result goes: a new array when absent. */
export function samplingOperations({ wasm, run, memory }: HostCore) {
  function cutPatch<T extends Float32Array | Uint8Array>(data: T, sizeVoxels: Triple, cut: PatchCut, into?: T): T {
    const { begin, sizeVoxels: patch, axes = [0, 1, 2], flipped = [false, false, false], fill = 0 } = cut;
    const output = into ?? sameType(data, voxelCount(patch));
    checkLength(output, patch, 'cutPatch into');
    if (cut.matrix !== undefined)
      return warpPatch(data, sizeVoxels, { ...cut, axes, flipped, fill, matrix: cut.matrix }, output);
    const turned = axes.some((axis, i) => axis !== i) || flipped.some((flip) => flip);
    if (!turned) return cropInto(output, data, sizeVoxels, begin, patch, fill);
    const box: [number, number, number] = [0, 0, 0];
    axes.forEach((axis, i) => {
      box[axis] = patch[i]!;
    });
    const [step, first] = turnedStrides(box, axes, flipped);
    const bytes = data.BYTES_PER_ELEMENT;
    return run((scope) => {
      const straight = scope.allocate(voxelCount(patch) * bytes);
      const result = scope.allocate(voxelCount(patch) * bytes);
      cropInto(scope.view(data, straight, voxelCount(patch)), data, sizeVoxels, begin, box, fill);
      wasm.reorient(bytes, straight + first * bytes, result, patch[0], patch[1], patch[2], step[0], step[1], step[2]);
      return scope.take(output, result);
    });
  }

  /**
   * As cutPatch, through a matrix: see {@link PatchCut}.
   * @param lookup for label pairs, which cannot be interpolated: their fractions are, see `pairTarget`
   */
  function warpPatch<T extends Float32Array | Uint8Array>(
    data: T,
    sizeVoxels: Triple,
    { begin, sizeVoxels: patch, axes, flipped, fill, matrix }: Required<PatchCut>,
    output: T,
    lookup?: Uint8Array,
  ): T {
    const outside = lookup === undefined ? fill : Number(lookup[fill] !== 0);
    checkLength(data, sizeVoxels, 'cutPatch data');
    // Column i of the whole map: where one step along patch axis i leads. Turning is a signed permutation of columns.
    const turned = [0, 1, 2].map((row) => [0, 1, 2].map((i) => matrix[row * 3 + axes[i]!]! * (flipped[i] ? -1 : 1)));
    const middle = [0, 1, 2].map((axis) => begin[axis]! + (patch[axes.indexOf(axis)]! - 1) / 2);
    const reach = turned.map((row) => row.reduce((sum, m, i) => sum + (Math.abs(m) * (patch[i]! - 1)) / 2, 0));
    // The part of the volume that is read, one voxel of `fill` around it: beyond that voxel everything is `fill`.
    const low = middle.map((m, axis) => Math.max(-1, Math.floor(m - reach[axis]!) - 1));
    const high = middle.map((m, axis) => Math.min(sizeVoxels[axis]!, Math.floor(m + reach[axis]!) + 2));
    if (low.some((l, axis) => l > high[axis]!)) return output.fill(outside) as T;
    const box = low.map((l, axis) => high[axis]! - l + 1) as unknown as Triple;
    const map = turned.flatMap((row, axis) => [
      ...row,
      middle[axis]! - low[axis]! - row.reduce((sum, m, i) => sum + (m * (patch[i]! - 1)) / 2, 0),
    ]);
    return run((scope) => {
      const result = scope.allocate(output.byteLength);
      const straight = scope.allocate(voxelCount(box) * data.BYTES_PER_ELEMENT);
      const [mapAt] = scope.place(Float64Array.from(map));
      cropInto(scope.view(data, straight, voxelCount(box)), data, sizeVoxels, low as unknown as Triple, box, fill);
      if (lookup !== undefined) wasm.pairTarget(straight, straight, voxelCount(box), scope.place(lookup)[0]);
      const warp = data instanceof Float32Array ? wasm.warpLinear : wasm.warpNearest;
      warp(straight, ...box, result, ...patch, mapAt!, outside);
      return scope.take(output, result);
    });
  }

  /** 1 where the label's entry of the 256-byte table is not 0, else 0: a task's foreground. */
  function binaryTarget(
    labels: Uint8Array,
    lookup: Uint8Array,
    into: Float32Array = new Float32Array(labels.length),
  ): Float32Array {
    checkLookup(lookup, 'binaryTarget lookup');
    checkSameLength(labels, into, 'binaryTarget into');
    const small = lookup.subarray(16).every((entry) => entry === 0) ? 1 : 0;
    return run((scope) => {
      const [from, table] = scope.place(labels, lookup);
      const result = scope.allocate(into.byteLength);
      wasm.binaryTarget(from, result, labels.length, table, small);
      return scope.take(into, result);
    });
  }

  /**
   * What share of each label pair (see `resamplePairs`) has an entry of the table that is not 0: a task's fraction of a voxel.
   * @param lookup 256 bytes
   */
  function pairTarget(
    pairs: Float32Array,
    lookup: Uint8Array,
    into: Float32Array = new Float32Array(pairs.length),
  ): Float32Array {
    checkLookup(lookup, 'pairTarget lookup');
    checkSameLength(pairs, into, 'pairTarget into');
    return run((scope) => {
      const [at, table] = scope.place(pairs, lookup);
      wasm.pairTarget(at, at, pairs.length, table);
      return scope.take(into, at);
    });
  }

  /**
   * The patch of a target of label pairs, cut through a matrix: fractions are interpolated trilinearly. Beyond the end of the
   * volume everything has label 0.
   */
  function warpPairTarget(
    pairs: Float32Array,
    sizeVoxels: Triple,
    cut: Omit<PatchCut, 'fill'> & { readonly matrix: Matrix3 },
    lookup: Uint8Array,
    into: Float32Array,
  ): Float32Array {
    checkLookup(lookup, 'warpPairTarget lookup');
    checkLength(into, cut.sizeVoxels, 'warpPairTarget into');
    const { axes = [0, 1, 2], flipped = [false, false, false] } = cut;
    return warpPatch(pairs, sizeVoxels, { ...cut, axes, flipped, fill: 0 }, into, lookup);
  }

  /** The first or the second label of each label pair. */
  function pairLabels(pairs: Float32Array, which: 'first' | 'second'): Uint8Array {
    const output = new Uint8Array(pairs.length);
    run((scope) => {
      const labels = scope.allocate(chunkElements);
      const chunk = scope.allocate(chunkElements * 4);
      for (let from = 0; from < pairs.length; from += chunkElements) {
        const count = Math.min(chunkElements, pairs.length - from);
        memory.float32(chunk, count).set(pairs.subarray(from, from + count));
        wasm.pairLabels(chunk, labels, count, which === 'first' ? 0 : 8);
        output.set(memory.uint8(labels, count), from);
      }
    });
    return output;
  }

  /** In place; returns `data`. */
  function augmentIntensity(data: Float32Array, options: IntensityAugmentation): Float32Array {
    const { gamma = 1, scale = 1, shift = 0, noiseStandardDeviation = 0 } = options;
    const { seed = 0, stream = 0, step = 0, sample = 0, firstBlock = 0 } = options;
    return run((scope) => {
      const [target] = scope.place(data);
      if (gamma !== 1) wasm.adjustGamma(target, data.length, gamma);
      if (scale !== 1 || shift !== 0) wasm.scaleShift(target, data.length, scale, shift);
      if (noiseStandardDeviation !== 0) {
        const [key0, key1] = [seed >>> 0, Math.floor(seed / 0x100000000) >>> 0];
        wasm.addNoise(
          target, data.length, noiseStandardDeviation, key0, key1, firstBlock, stream, step, sample, scope.allocate(64),
        ); // biome-ignore format: one line of numbers
      }
      return scope.take(data, target);
    });
  }

  return { cutPatch, binaryTarget, pairTarget, warpPairTarget, pairLabels, augmentIntensity };
}

function checkLookup({ length }: Uint8Array, field: string): void {
  if (length !== 256) throw new VersemiError('INTERNAL', { field, expected: '256 entries', found: `${length}` });
}
