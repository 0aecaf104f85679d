import * as tf from '#tfjs';
import { smoothing } from './dice.js';
import { type Overlap, overGroups } from './overlap.js';
import { stopGradient } from './stop-gradient.js';

/**
 * Squared differences over the size of both sides, which is the number that Dice with squared denominators is (`dice.ts`), but with
 * that size as a constant (stop) of the gradient:
 *
 *     SSD(p, y) = sum((p - y)^2) / (stop(sum(p^2) + sum(y^2)) + 1e-5)
 *
 * Dice counts a small task as much as a large one, and so does this. But where p cannot follow y everywhere, Dice is lowest at
 * p = E[y] / D, with D = 1 - Dice(p, y) < 1: too much foreground. (Its derivative by p is 2 (p (1 - Dice) - y) / (sum(p^2) + sum(y^2)).) A label bounds
 * that, but where y is the network's own moving average each round adds to what the one before had added. This loss, as any squared
 * error (Brier, Monthly Weather Review 1950), is lowest at p = E[y], and nothing grows.
 */
export function scaledSquares(sums: Overlap): tf.Scalar {
  const difference = tf.sub(sums.squares, tf.mul(sums.product, 2));
  return overGroups(tf.div(difference, tf.add(stopGradient(sums.squares), smoothing)), sums);
}
