import * as tf from '#tfjs';
import { type Overlap, overall } from './overlap.js';

/**
 * Mean voxel cross-entropy over the two channels background and foreground, over all voxels of all groups:
 *
 *     CE(p, y) = mean(-y log p - (1 - y) log(1 - p))
 */
export function crossEntropy(sums: Overlap): tf.Scalar {
  return tf.div(overall(sums.crossEntropy, sums), overall(sums.voxels, sums));
}
