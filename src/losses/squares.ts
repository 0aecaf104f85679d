import * as tf from '#tfjs';
import { type Overlap, overall } from './overlap.js';

/**
 * Mean square of the difference of two probabilities over all voxels that count (m = 1), the consistency of the mean teacher
 * (Tarvainen and Valpola, NeurIPS 2017), from sum(p^2) + sum(y^2) - 2 sum(p y):
 *
 *     MSE(p, y) = sum(m (p - y)^2) / sum(m)
 */
export function meanSquares(sums: Overlap): tf.Scalar {
  const squares = tf.sub(overall(sums.squares, sums), tf.mul(2, overall(sums.product, sums)));
  return tf.div(squares, overall(sums.voxels, sums));
}
