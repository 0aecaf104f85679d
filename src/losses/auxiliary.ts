import * as tf from '#tfjs';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import { overlap, type RowGroups } from './overlap.js';

/** One of the two images of a mix: what its task's prompt predicts, and where its own foreground lies in the mix. */
export interface AuxiliaryPart {
  /** F_t(x_mix), [n, depth, height, width] */
  readonly logits: tf.Tensor;
  /** y_a * m or y_b * (1 - m); y_mix where both images have the same task */
  readonly target: tf.Tensor;
}

/**
 * Auxiliary constraint, which keeps the network from ignoring the prompt (VerSemi, arXiv 2311.11686): on a mix of images a
 * (outside the cube, m = 1) and b (inside), each task's prompt must find its own image's foreground only:
 *
 *     L_aux = 1/2 [ Dice(F_ta(x_mix), y_a m) + Dice(F_tb(x_mix), y_b (1 - m)) ]
 *
 * With `withCrossEntropy` each Dice becomes Dice + CE, as the paper's text has it. With the tasks of the rows, those of a and
 * then those of b, Dice is the mean over the tasks, each over all its rows, in place of the mean of a and b.
 *
 * @param known of the shape of the targets: 1 where the labels are known, the only voxels that count; absent where they are
 *   everywhere
 */
export function auxiliaryLoss(
  a: AuxiliaryPart,
  b: AuxiliaryPart,
  withCrossEntropy: boolean,
  known?: tf.Tensor,
  groups?: RowGroups,
): tf.Scalar {
  if (groups !== undefined) {
    const ofBoth = known && tf.concat([known, known]);
    const sums = overlap(tf.concat([a.logits, b.logits]), tf.concat([a.target, b.target]), ofBoth, groups);
    return withCrossEntropy ? tf.add(dice(sums), crossEntropy(sums)) : dice(sums);
  }
  const [ofA, ofB] = [a, b].map(({ logits, target }) => {
    const sums = overlap(logits, target, known);
    return withCrossEntropy ? tf.add(dice(sums), crossEntropy(sums)) : dice(sums);
  }) as [tf.Scalar, tf.Scalar];
  return tf.mul(tf.add(ofA, ofB), 0.5);
}
