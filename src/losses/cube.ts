import type * as tf from '#tfjs';
import { dice } from './dice.js';
import { overlap } from './overlap.js';

/**
 * Loss where a labelled image lies in the mix with an unlabelled one, where the label is known (VerSemi, arXiv
 * 2311.11686, released code; that code compares samples with other samples' cubes through a broadcast, ours does not):
 *
 *     L_cube = Dice(F_{K+1}(x_u) (1 - m), y_l (1 - m))
 *
 * @param logits F_{K+1}(x_u), [n, depth, height, width]
 * @param cubeLabel any foreground of the labelled image, same shape
 * @param inside 1 - m, same shape: 1 where the labelled image lies and its label is known
 */
export function cubeLoss(logits: tf.Tensor, cubeLabel: tf.Tensor, inside: tf.Tensor): tf.Scalar {
  return dice(overlap(logits, cubeLabel, inside));
}
