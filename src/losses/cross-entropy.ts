import * as tf from '@tensorflow/tfjs-core';
import type { Overlap } from './overlap.js';

/**
 * Mean voxel cross-entropy over the two channels background and foreground:
 *
 *     CE(p, y) = mean(-y log p - (1 - y) log(1 - p))
 */
export function crossEntropy({ crossEntropy, voxels }: Overlap): tf.Scalar {
  return tf.div(crossEntropy, voxels);
}
