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
  /** sum of m: the number of voxels */
  readonly voxels: tf.Scalar;
}

/**
 * @param logits [n, depth, height, width]
 * @param target same shape, in [0, 1]
 * @param mask same shape: 1 where voxels count
 */
export function overlap(logits: tf.Tensor, target: tf.Tensor, mask?: tf.Tensor): Overlap {
  const sums = overlapSums(logits, target, mask);
  const sum = (index: number) => tf.reshape(tf.slice(sums, [index], [1]), []) as tf.Scalar;
  return { product: sum(0), squares: tf.add(sum(1), sum(2)), crossEntropy: sum(3), voxels: sum(4) };
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
