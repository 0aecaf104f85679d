import * as tf from '#tfjs';
import { type Overlap, overGroups } from './overlap.js';

/** Keeps the quotient defined where both prediction and target are empty. */
export const smoothing = 1e-5;

/**
 * Soft Dice loss of the foreground with squared denominators (Milletari et al., V-Net, 3DV 2016), sums over the whole batch,
 * or over each group of it, and then the mean over the groups that have members:
 *
 *     Dice(p, y) = 1 - (2 sum(p y) + 1e-5) / (sum(p^2) + sum(y^2) + 1e-5)
 */
export function dice(sums: Overlap): tf.Scalar {
  const { product, squares } = sums;
  return overGroups(tf.sub(1, tf.div(tf.add(tf.mul(product, 2), smoothing), tf.add(squares, smoothing))), sums);
}
