import * as tf from '#tfjs';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import type { Overlap } from './overlap.js';
import { scaledSquares } from './scaled-squares.js';
import { meanSquares } from './squares.js';

/** The comparisons by name; each is a sum of terms. */
export const consistencyForms = {
  'dice-cross-entropy': [dice, crossEntropy],
  dice: [dice],
  squares: [meanSquares],
  'scaled-squares': [scaledSquares],
  'scaled-squares-cross-entropy': [scaledSquares, crossEntropy],
} as const;

/** How a prediction is compared with that of the moving average; see `losses.consistency` of a plan. */
export type ConsistencyForm = keyof typeof consistencyForms;

export function consistency(sums: Overlap, form: ConsistencyForm): tf.Scalar {
  return consistencyForms[form].map((term) => term(sums)).reduce((sum, term) => tf.add(sum, term));
}
