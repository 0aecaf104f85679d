import * as tf from '#tfjs';
import type { SegmentationNetwork } from '../model/network.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host, type Rows } from '../wasm/host.js';
import { type AxisWindows, axisWindows, beginsOf, type WindowProtocol, windowWeights } from './windows.js';

export interface SegmentOptions extends WindowProtocol {
  /** Prompts: indices of tasks, the synthetic task included. */
  readonly tasks: readonly number[];
  readonly patchSizeVoxels: Triple;
  /** Test-time augmentation: average over all combinations of mirrored x, y and z axes (8 times the work). */
  readonly mirror: boolean;
}

/** Emitted after each window. */
export interface SegmentProgress {
  readonly window: number;
  readonly windows: number;
  /** Slices from the bottom that are final. */
  readonly slices: number;
}

/** A preprocessed image that is read slice by slice. */
export interface SliceReader {
  readonly sizeVoxels: Triple;
  /** Slices begin <= z < end, rows rows[0] <= y < rows[1], into [z, y, x]. Slices are asked for in ascending order. */
  read(into: Float32Array, begin: number, end: number, rows: Rows): void;
}

/** Slice z is final; slices come in order. */
export interface FinishedSlice {
  readonly z: number;
  /** Foreground probabilities [tasks, rows, x] in steps of 1/256. */
  readonly probabilities: Uint8Array;
}

type Mirror = readonly [boolean, boolean, boolean];

/** What is computed together: the windows that reach some rows of a volume. */
export interface Strip {
  readonly rows: Rows;
  /** Which of the windows along y: first, and one behind the last. */
  readonly windowsY: Rows;
  /** Rows of the image that these windows see. */
  readonly imageRows: Rows;
}

/** Windows along x, y, z; half of what a small volume lacks lies before it. */
function windowsOf(
  sizeVoxels: Triple,
  { patchSizeVoxels: patch, ...protocol }: WindowProtocol & { readonly patchSizeVoxels: Triple },
): [AxisWindows, AxisWindows, AxisWindows] {
  return axisWindows(sizeVoxels, patch, protocol).map((windows, axis) =>
    sizeVoxels[axis]! < patch[axis]!
      ? { count: 1, begin: () => -Math.floor((patch[axis]! - sizeVoxels[axis]!) / 2) }
      : windows,
  ) as [AxisWindows, AxisWindows, AxisWindows];
}

/** The first window that begins behind `row`, by bisection. */
function firstBehind({ count, begin }: AxisWindows, row: number): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (begin(middle) > row) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The windows that some rows of a volume need. Takes no longer for a large volume than for a small one. */
export function stripOf(
  sizeVoxels: Triple,
  rows: Rows,
  options: WindowProtocol & { readonly patchSizeVoxels: Triple },
): Strip & { readonly windows: number } {
  const [alongX, alongY, alongZ] = windowsOf(sizeVoxels, options);
  const patchY = options.patchSizeVoxels[1];
  const [first, end] = [firstBehind(alongY, rows[0] - patchY), firstBehind(alongY, rows[1] - 1)];
  const imageRows = [
    Math.max(0, alongY.begin(first)),
    Math.min(sizeVoxels[1], alongY.begin(end - 1) + patchY),
  ] as const;
  return { rows, windowsY: [first, end], imageRows, windows: alongX.count * (end - first) * alongZ.count };
}

/**
 * Sliding-window inference of all asked tasks in one pass of the trunk per window. Probabilities are averaged in a ring
 * of slices as deep as a window (METHOD: inference), and of the image as many slices are held; what is finished is handed
 * on, one at a time, before the next window is computed. A volume smaller than the patch is zero-padded symmetrically. The probability of a voxel is the same, bit for bit,
 * whichever rows are computed together. Of windows that hold one value alone, such as clipped air, the network sees one.
 * @param rows default: all
 * @returns probabilities are in steps of 1/256: above 127 exactly where the probability is above one half, which for two
 *   classes is the argmax of the average softmax
 * @throws VERSEMI_DEVICE_OUT_OF_MEMORY
 */
export async function* segmentSlices(
  network: SegmentationNetwork,
  image: SliceReader,
  options: SegmentOptions,
  rows: Rows = [0, image.sizeVoxels[1]],
): AsyncGenerator<SegmentProgress | FinishedSlice, void> {
  const { sizeVoxels } = image;
  const { tasks, patchSizeVoxels: patch, mirror } = options;
  const [sizeX, , sizeZ] = sizeVoxels;
  const [alongX, alongY, alongZ] = windowsOf(sizeVoxels, options);
  const { windowsY, imageRows, windows } = stripOf(sizeVoxels, rows, options);
  const [beginsX, beginsY, beginsZ] = [beginsOf(alongX), beginsOf(alongY, ...windowsY), beginsOf(alongZ)];
  const weights = windowWeights(patch, options);
  const mirrors = mirror ? everyMirror() : [[false, false, false] as const];
  const depth = Math.min(patch[2], sizeZ);
  const slabSize: Triple = [sizeX, imageRows[1] - imageRows[0], depth];
  const slabPlane = slabSize[0] * slabSize[1];
  const slab = new Float32Array(voxelCount(slabSize));
  const cut = new Float32Array(voxelCount(patch));
  let air: { readonly value: number; readonly logits: Float32Array } | undefined;
  const ring = host().slabAccumulator(tasks.length, [sizeX, rows[1] - rows[0], sizeZ], patch);
  let [window, slices, slabBegin, slabEnd] = [0, 0, 0, 0];
  try {
    for (const [i, z] of beginsZ.entries()) {
      // The slices that the last windows saw too stay.
      const begin = Math.max(0, z);
      slab.copyWithin(0, (begin - slabBegin) * slabPlane, (slabEnd - slabBegin) * slabPlane);
      image.read(slab.subarray((slabEnd - begin) * slabPlane), slabEnd, begin + depth, imageRows);
      [slabBegin, slabEnd] = [begin, begin + depth];
      for (const y of beginsY) {
        for (const x of beginsX) {
          host().cropInto(cut, slab, slabSize, [x, y - imageRows[0], z - slabBegin], patch);
          const even = isEven(cut);
          for (const flipped of mirrors) {
            // A mirrored window of one value is the same window.
            const known = even && air?.value === cut[0] ? air?.logits : undefined;
            const seen = !even && flipped.includes(true) ? host().reorient(cut, patch, [0, 1, 2], flipped) : cut;
            const logits = known ?? (await windowLogits(network, seen, patch, tasks));
            if (even) air = { value: cut[0]!, logits };
            ring.add(logits, weights, [x, y - rows[0], z], flipped);
          }
          window++;
          if (window < windows) yield { window, windows, slices };
        }
      }
      // Slices before the next row of windows will not change any more.
      const final = beginsZ[i + 1] ?? sizeZ;
      for (; slices < final; slices++) yield { z: slices, probabilities: ring.takeQuantized(slices) };
    }
    yield { window, windows, slices };
  } finally {
    ring.dispose();
  }
}

/**
 * {@link segmentSlices} of an image in memory.
 * @param image [z, y, x], preprocessed
 * @returns per task the foreground probability [z, y, x] in steps of 1/256
 */
export async function* segmentVolume(
  network: SegmentationNetwork,
  image: Float32Array,
  sizeVoxels: Triple,
  options: SegmentOptions,
): AsyncGenerator<SegmentProgress, Uint8Array[]> {
  const [sizeX, sizeY] = sizeVoxels;
  const plane = sizeX * sizeY;
  const reader: SliceReader = {
    sizeVoxels,
    read: (into, begin, end) => into.set(image.subarray(begin * plane, end * plane)),
  };
  const probabilities = options.tasks.map(() => new Uint8Array(voxelCount(sizeVoxels)));
  for await (const step of segmentSlices(network, reader, options)) {
    if (!('z' in step)) yield step;
    else
      for (const [task, probability] of probabilities.entries())
        probability.set(step.probabilities.subarray(task * plane, (task + 1) * plane), step.z * plane);
  }
  return probabilities;
}

/** Logits [tasks, z, y, x] of one window. */
async function windowLogits(
  network: SegmentationNetwork,
  image: Float32Array,
  [sizeX, sizeY, sizeZ]: Triple,
  tasks: readonly number[],
): Promise<Float32Array> {
  const logits = tf.tidy(() =>
    network.logits(network.trunk(tf.tensor5d(image, [1, sizeZ, sizeY, sizeX, 1])), [tasks], 'moving'),
  );
  try {
    return (await logits.data()) as Float32Array;
  } finally {
    logits.dispose();
  }
}

/** Whether all voxels have one value; false where one is NaN. */
function isEven(voxels: Float32Array): boolean {
  const first = voxels[0]!;
  return voxels.every((value) => value === first);
}

function everyMirror(): Mirror[] {
  return Array.from({ length: 8 }, (_, bits) => [(bits & 1) !== 0, (bits & 2) !== 0, (bits & 4) !== 0] as const);
}
