import type * as tf from '#tfjs';
import { dice } from './dice.js';
import { overlap } from './overlap.js';

/**
 * Loss of the synthetic task "any foreground", prompt K+1, on a CutMix of two labelled images (VerSemi, arXiv 2311.11686):
 *
 *     L_syn = Dice(F_{K+1}(x_mix), y_mix)
 *
 * @param logits F_{K+1}(x_mix), [n, depth, height, width]
 * @param anyForeground y_mix, same shape
 * @param known same shape: 1 where the label is known, the only voxels that count; absent where it is everywhere
 */
export function syntheticLoss(logits: tf.Tensor, anyForeground: tf.Tensor, known?: tf.Tensor): tf.Scalar {
  return dice(overlap(logits, anyForeground, known));
}
