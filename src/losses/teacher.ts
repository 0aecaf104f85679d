import * as tf from '#tfjs';
import { type ConsistencyForm, consistency } from './consistency.js';
import { overlap, type RowGroups } from './overlap.js';
import type { PseudoLabel } from './pseudo-label.js';

/**
 * Agreement with the moving average of the network on unlabelled images: of the mix, which holds another image too, the
 * network must segment what the average segments in the image alone, where that image lies (m = 1), for its own tasks:
 *
 *     L_teacher = C(F_t(x_u) m, y m),   y from F'_t(x)
 *
 * with the comparison C and the target y as the plan says: by default Dice + CE, and y = 1 where F'_t(x) > 1/2.
 * Not part of VerSemi, where both sides of the unsupervised loss see the same image. The teacher is that of Tarvainen and
 * Valpola, NeurIPS 2017; agreement of an image with its mix as in Bai et al., "Bidirectional Copy-Paste", CVPR 2023.
 *
 * @param logits F_t(x_u) of the network, [n, depth, height, width]
 * @param label y, same shape
 * @param region m, same shape; absent: everywhere
 * @param groups tasks of the rows, where Dice is taken per task
 */
export function teacherLoss(
  logits: tf.Tensor,
  label: PseudoLabel,
  region: tf.Tensor | undefined,
  form: ConsistencyForm,
  groups?: RowGroups,
): tf.Scalar {
  return consistency(overlap(logits, label.target, countedIn(region, label), groups), form);
}

/** 1 where a voxel lies in the region and counts; undefined: everywhere. */
export function countedIn(region: tf.Tensor | undefined, { counted }: PseudoLabel): tf.Tensor | undefined {
  return region === undefined || counted === undefined ? (region ?? counted) : tf.mul(region, counted);
}
