import type * as tf from '#tfjs';
import { aggregateMax } from '../tfjs/ops/index.js';
import { dice } from './dice.js';
import { overlap } from './overlap.js';
import { stopGradient } from './stop-gradient.js';

/**
 * Agreement on unlabelled images (VerSemi, arXiv 2311.11686): the aggregate of all real tasks' predictions, their voxel-wise
 * maximum, must agree with the prediction of the synthetic task, whatever organ the image shows:
 *
 *     L_unsup = Dice(F_{K+1}(x_u), max_k F_k(x_u))
 *
 * @param logits F_1 .. F_K of x_u and whatever comes behind them, [n, K or more, depth, height, width]
 * @param tasks K
 * @param synthetic F_{K+1}(x_u), [n, depth, height, width]
 * @param aggregateGradient both: the gradient flows into both sides, as in the released code; stop: the aggregate is a target
 */
export function unsupervisedLoss(
  logits: tf.Tensor5D,
  tasks: number,
  synthetic: tf.Tensor,
  aggregateGradient: 'both' | 'stop',
): tf.Scalar {
  const aggregate = aggregateMax(logits, tasks);
  return dice(overlap(synthetic, aggregateGradient === 'stop' ? stopGradient(aggregate) : aggregate));
}
