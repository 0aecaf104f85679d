import type * as tf from '#tfjs';
import { type ConsistencyForm, consistency } from './consistency.js';
import { overlap } from './overlap.js';
import type { PseudoLabel } from './pseudo-label.js';
import { countedIn } from './teacher.js';

/**
 * Agreement across views on unlabelled images: in a mix the synthetic task must find what the moving average F' of the network
 * finds, with the largest of all tasks, in the images before they were mixed, where these images lie in the mix (m = 1):
 *
 *     L_agree = C(F_{K+1}(x_u) m, y m),   y from max_k F'_k(x)
 *
 * with the comparison C and the target y as the plan says. The idea is that of VerSemi's L_unsup (arXiv 2311.11686), whose two
 * sides see the same image and the same features and so agree from the first step; the average and the mix are as in
 * `teacher.ts`.
 *
 * @param logits F_{K+1}(x_u), [n, depth, height, width]
 * @param label y, same shape
 * @param region m, same shape; absent: everywhere
 */
export function agreementLoss(
  logits: tf.Tensor,
  label: PseudoLabel,
  region: tf.Tensor | undefined,
  form: ConsistencyForm,
): tf.Scalar {
  return consistency(overlap(logits, label.target, countedIn(region, label)), form);
}
