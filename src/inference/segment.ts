import * as tf from '@tensorflow/tfjs-core';
import type { VersemiNetwork } from '../model/network.js';
import { type Triple, voxelCount } from '../volume/volume.js';
import { host } from '../wasm/host.js';
import { planWindows, type WindowProtocol, windowWeights } from './windows.js';

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

type Mirror = readonly [boolean, boolean, boolean];

/**
 * Sliding-window inference of all asked tasks in one pass of the trunk per window. Probabilities are averaged in a ring
 * of slices as deep as a window (METHOD: inference); of a finished slice only one byte per voxel and task is kept. A volume smaller than the patch is zero-padded
 * symmetrically.
 * @param image [z, y, x], preprocessed
 * @returns per task the foreground probability [z, y, x] in steps of 1/256; above 127 exactly where it is above one half,
 *   which for two classes is the argmax of the average softmax
 * @throws VERSEMI_DEVICE_OUT_OF_MEMORY
 */
export async function* segmentVolume(
  network: VersemiNetwork,
  image: Float32Array,
  sizeVoxels: Triple,
  options: SegmentOptions,
): AsyncGenerator<SegmentProgress, Uint8Array[]> {
  const { tasks, patchSizeVoxels: patch, mirror } = options;
  const [sizeX, sizeY, sizeZ] = sizeVoxels;
  const [beginsX, beginsY, beginsZ] = planWindows(sizeVoxels, patch, options).map((begins, axis) =>
    // Half of what a small volume lacks goes before it.
    sizeVoxels[axis]! < patch[axis]! ? [-Math.floor((patch[axis]! - sizeVoxels[axis]!) / 2)] : begins,
  ) as [number[], number[], number[]];
  const weights = windowWeights(patch, options);
  const mirrors = mirror ? everyMirror() : [[false, false, false] as const];
  const probabilities = tasks.map(() => new Uint8Array(voxelCount(sizeVoxels)));
  const slab = host().slabAccumulator(tasks.length, sizeVoxels, patch);
  const plane = sizeX * sizeY;
  const windows = beginsX.length * beginsY.length * beginsZ.length;
  let window = 0;
  let slices = 0;
  try {
    for (const [i, z] of beginsZ.entries()) {
      for (const y of beginsY) {
        for (const x of beginsX) {
          const cut = host().crop(image, sizeVoxels, [x, y, z], patch);
          for (const flipped of mirrors) {
            const seen = flipped.includes(true) ? host().reorient(cut, patch, [0, 1, 2], flipped) : cut;
            slab.add(await windowLogits(network, seen, patch, tasks), weights, [x, y, z], flipped);
          }
          window++;
          if (window < windows) yield { window, windows, slices };
        }
      }
      // Slices before the next row of windows will not change any more.
      const final = beginsZ[i + 1] ?? sizeZ;
      for (; slices < final; slices++) {
        const finished = slab.takeQuantized(slices);
        probabilities.forEach((probability, task) => {
          probability.set(finished.subarray(task * plane, (task + 1) * plane), slices * plane);
        });
      }
    }
    yield { window, windows, slices };
    return probabilities;
  } finally {
    slab.dispose();
  }
}

/** Logits [tasks, z, y, x] of one window. */
async function windowLogits(
  network: VersemiNetwork,
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

function everyMirror(): Mirror[] {
  return Array.from({ length: 8 }, (_, bits) => [(bits & 1) !== 0, (bits & 2) !== 0, (bits & 4) !== 0] as const);
}
