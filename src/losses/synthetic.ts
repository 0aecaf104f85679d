import type * as tf from '@tensorflow/tfjs-core';
import { dice } from './dice.js';
import { overlap } from './overlap.js';

/**
 * Loss of the synthetic task "any foreground", prompt K+1, on a CutMix of two labelled images (VerSemi, arXiv 2311.11686):
 *
 *     L_syn = Dice(F_{K+1}(x_mix), y_mix)
 *
 * @param logits F_{K+1}(x_mix), [n, depth, height, width]
 * @param anyForeground y_mix, same shape
 */
export function syntheticLoss(logits: tf.Tensor, anyForeground: tf.Tensor): tf.Scalar {
  return dice(overlap(logits, anyForeground));
}
