import * as tf from '#tfjs';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import type { Overlap } from './overlap.js';
import { meanSquares } from './squares.js';

/** How a prediction is compared with that of the moving average; see `losses.consistency` of a plan. */
export type ConsistencyForm = 'dice-cross-entropy' | 'dice' | 'squares';

export function consistency(sums: Overlap, form: ConsistencyForm): tf.Scalar {
  if (form === 'squares') return meanSquares(sums);
  return form === 'dice' ? dice(sums) : tf.add(dice(sums), crossEntropy(sums));
}
