import type * as tf from '#tfjs';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import { overlap, type RowGroups } from './overlap.js';

/**
 * Supervised loss of labelled images, each prompted with its own task t, or with all tasks of its dataset one by one (VerSemi, arXiv 2311.11686):
 *
 *     L_sup = Dice(F_t(x), y) + CE(F_t(x), y)
 *
 * @param logits F_t(x), [n, depth, height, width]
 * @param target y, same shape
 * @param known same shape: 1 where the label is known, the only voxels that count; absent where it is everywhere
 * @param groups tasks of the rows, where Dice is taken per task
 */
export function supervisedLoss(
  logits: tf.Tensor,
  target: tf.Tensor,
  known?: tf.Tensor,
  groups?: RowGroups,
): { dice: tf.Scalar; crossEntropy: tf.Scalar } {
  const sums = overlap(logits, target, known, groups);
  return { dice: dice(sums), crossEntropy: crossEntropy(sums) };
}
