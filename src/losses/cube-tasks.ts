import * as tf from '#tfjs';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import { overlap, type RowGroups } from './overlap.js';

/**
 * Loss of a labelled image's own tasks t where the image lies in the mix with an unlabelled one (m = 1), as in Bai et al.,
 * "Bidirectional Copy-Paste", CVPR 2023; the released VerSemi trains only the synthetic task there (`cube.ts`):
 *
 *     L_cubeTasks = Dice(F_t(x_u) m, y_t m) + CE(F_t(x_u), y_t) over m
 *
 * @param logits F_t(x_u), [n, depth, height, width]
 * @param target y_t of the whole labelled image, same shape
 * @param region m, same shape
 * @param groups tasks of the rows, where Dice is taken per task
 */
export function cubeTasksLoss(logits: tf.Tensor, target: tf.Tensor, region: tf.Tensor, groups?: RowGroups): tf.Scalar {
  const sums = overlap(logits, target, region, groups);
  return tf.add(dice(sums), crossEntropy(sums));
}
