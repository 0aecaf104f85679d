import * as tf from '#tfjs';
import { overlapSums, overlapSumsOfRows, sumOverParts } from '../tfjs/ops/index.js';

/**
 * What Dice and cross-entropy are made of: scalars over a whole batch, all its parts where other processes have some, or one number
 * per group of a batch. With mask m (1 where none is given), p = sigmoid(logit) * m and t = target * m.
 */
export interface Overlap {
  /** sum of p * t */
  readonly product: tf.Tensor;
  /** sum of p^2 + sum of t^2 */
  readonly squares: tf.Tensor;
  /** sum of m * (-target * log(sigmoid(logit)) - (1 - target) * log(1 - sigmoid(logit))) */
  readonly crossEntropy: tf.Tensor;
  /** sum of m, the number of voxels that count; a little above 0 where none does */
  readonly voxels: tf.Tensor;
  /** Of the groups in their mean, [groups]; absent for scalars. */
  readonly weights?: tf.Tensor1D;
}

/** Lost in the rounding of float32 beside any number of voxels that a mask lets count. */
const fewestVoxels = 1e-6;

/** How the rows of a batch are taken together, for example by their tasks. A row in no group does not count. */
export interface RowGroups {
  /** 1 where a row belongs to a group, else 0; [groups, rows] */
  readonly members: tf.Tensor2D;
  /** 1 / (number of groups with members) for those groups, else 0; [groups] */
  readonly weights: tf.Tensor1D;
}

/**
 * @param logits [n, depth, height, width]
 * @param target same shape, in [0, 1]
 * @param mask same shape, in [0, 1]: how much a voxel counts; absent where all count
 * @param groups of the n rows; absent: all of them together
 */
export function overlap(logits: tf.Tensor, target: tf.Tensor, mask?: tf.Tensor, groups?: RowGroups): Overlap {
  if (groups === undefined) {
    const sums = sumOverParts(overlapSums(logits, target, mask));
    const sum = (index: number) => tf.reshape(tf.slice(sums, [index], [1]), []) as tf.Scalar;
    // With a mask that is 0 everywhere nothing counts: a mean over no voxel is 0.
    const voxels = mask === undefined ? sum(4) : tf.add(sum(4), fewestVoxels);
    return { product: sum(0), squares: tf.add(sum(1), sum(2)), crossEntropy: sum(3), voxels };
  }
  const rows = tf.expandDims(overlapSumsOfRows(logits, target, mask), 0);
  // Not a matrix product: some devices round the operands of those.
  const sums = sumOverParts(tf.sum(tf.mul(tf.expandDims(groups.members, 2), rows), 1) as tf.Tensor2D);
  const count = sums.shape[0]!;
  const sum = (index: number) => tf.reshape(tf.slice(sums, [0, index], [count, 1]), [count]);
  const [squares, voxels] = [tf.add(sum(1), sum(2)), tf.add(sum(4), fewestVoxels)];
  return { product: sum(0), squares, crossEntropy: sum(3), voxels, weights: groups.weights };
}

/** The mean of one number per group over the groups that have members; a scalar as it is. */
export function overGroups(each: tf.Tensor, { weights }: Overlap): tf.Scalar {
  return weights === undefined ? (each as tf.Scalar) : tf.sum(tf.mul(each, weights));
}

/** The sum over the groups. */
export function overall(numbers: tf.Tensor, { weights }: Overlap): tf.Scalar {
  return weights === undefined ? (numbers as tf.Scalar) : tf.sum(numbers);
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
