import type { Tensor, Tensor1D, Tensor2D } from '#tfjs';
import { checkShape } from '../backend/kernel-host.js';
import { differentiable } from './differentiable.js';
import { runCustom } from './run.js';

/**
 * The sums that Dice and cross-entropy are made of, without storing probabilities. With m = mask (1 where none is given),
 * p = sigmoid(logits) * m and t = target * m:
 *
 *     [sum p*t, sum p*p, sum t*t, sum m*(softplus(logits) - target*logits), sum m]
 *
 * Differentiable in the logits and in the target (when that is a prediction too), not in the mask.
 * @param logits any shape
 * @param target shape of the logits, values in [0, 1]
 * @param mask shape of the logits, values in [0, 1]
 * @returns [5]
 */
export function overlapSums(logits: Tensor, target: Tensor, mask?: Tensor): Tensor1D {
  return sums(logits, target, mask, undefined) as Tensor1D;
}

/**
 * The same for each of the stretches along the first axis by itself.
 * @param logits [rows, ...]
 * @returns [rows, 5]
 */
export function overlapSumsOfRows(logits: Tensor, target: Tensor, mask?: Tensor): Tensor2D {
  return sums(logits, target, mask, logits.shape[0]!) as Tensor2D;
}

function sums(logits: Tensor, target: Tensor, mask: Tensor | undefined, rows: number | undefined): Tensor {
  checkShape('overlapSums', 'target', logits.shape, target.shape);
  if (mask !== undefined) checkShape('overlapSums', 'mask', logits.shape, mask.shape);
  const attributes = rows === undefined ? {} : { rows };
  return differentiable({
    inputs: { target, logits },
    forward: (keep) => {
      keep(mask === undefined ? [logits, target] : [logits, target, mask]);
      return runCustom<Tensor>('VersemiOverlapSums', { logits, target, mask }, attributes);
    },
    backward: (gradSums, { saved }) => {
      const inputs = { gradSums, logits: saved[0], target: saved[1], mask: saved[2] };
      return {
        target: () => runCustom<Tensor>('VersemiOverlapSumsGrad', inputs, { of: 'target', ...attributes }),
        logits: () => runCustom<Tensor>('VersemiOverlapSumsGrad', inputs, { of: 'logits', ...attributes }),
      };
    },
  });
}
