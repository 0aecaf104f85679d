import * as tf from '@tensorflow/tfjs-core';
import { overlapSums } from '../tfjs/ops/index.js';

/**
 * What Dice and cross-entropy are made of, over a whole batch, each a scalar. With mask m (1 where none is given),
 * p = sigmoid(logit) * m and t = target * m.
 */
export interface Overlap {
  /** sum of p * t */
  readonly product: tf.Scalar;
  /** sum of p^2 + sum of t^2 */
  readonly squares: tf.Scalar;
  /** sum of m * (-target * log(sigmoid(logit)) - (1 - target) * log(1 - sigmoid(logit))) */
  readonly crossEntropy: tf.Scalar;
  /** sum of m, the number of voxels that count; a little above 0 where none does */
  readonly voxels: tf.Scalar;
}

/** Lost in the rounding of float32 beside any number of voxels that a mask lets count. */
const fewestVoxels = 1e-6;

/**
 * @param logits [n, depth, height, width]
 * @param target same shape, in [0, 1]
 * @param mask same shape, in [0, 1]: how much a voxel counts; absent where all count
 */
export function overlap(logits: tf.Tensor, target: tf.Tensor, mask?: tf.Tensor): Overlap {
  const sums = overlapSums(logits, target, mask);
  const sum = (index: number) => tf.reshape(tf.slice(sums, [index], [1]), []) as tf.Scalar;
  // With a mask that is 0 everywhere nothing counts: a mean over no voxel is 0.
  const voxels = mask === undefined ? sum(4) : (tf.add(sum(4), fewestVoxels) as tf.Scalar);
  return { product: sum(0), squares: tf.add(sum(1), sum(2)), crossEntropy: sum(3), voxels };
}

/**
 * The logits of one prompt, or of some that follow each other.
 * @param logits [n, prompts, depth, height, width]
 * @returns [n * count, depth, height, width]
 */
export function ofPrompt(logits: tf.Tensor5D, first: number, count = 1): tf.Tensor4D {
  const [n, prompts, ...volume] = logits.shape;
  const some = prompts === count ? logits : tf.slice(logits, [0, first, 0, 0, 0], [n, count, ...volume]);
  return tf.reshape(some, [n * count, ...volume]);
}
