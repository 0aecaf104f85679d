import * as tf from '@tensorflow/tfjs-core';
import { crossEntropy } from './cross-entropy.js';
import { dice } from './dice.js';
import { overlap } from './overlap.js';

/**
 * Agreement with the moving average of the network on unlabelled images: of the mix, whose cube holds another image, the
 * network must segment what the average segments in the image alone, outside the cube (m = 1), for the image's own tasks:
 *
 *     L_teacher = Dice(F_t(x_u) m, y m) + CE(F_t(x_u), y) over m,   y = 1 where F'_t(x) > 1/2
 *
 * Not part of VerSemi, where both sides of the unsupervised loss see the same image. The teacher is that of Tarvainen and
 * Valpola, NeurIPS 2017; agreement of an image with its mix as in Bai et al., "Bidirectional Copy-Paste", CVPR 2023.
 *
 * @param logits F_t(x_u) of the network, [n, depth, height, width]
 * @param target y, same shape, a constant; see `teacherTarget`
 * @param outside m: 1 outside the cube, same shape
 */
export function teacherLoss(logits: tf.Tensor, target: tf.Tensor, outside: tf.Tensor): tf.Scalar {
  const sums = overlap(logits, target, outside);
  return tf.add(dice(sums), crossEntropy(sums));
}

/** @param logits F'_t(x) of the average, any shape; 1 where it finds foreground, 0 elsewhere */
export function teacherTarget(logits: tf.Tensor): tf.Tensor {
  return tf.step(logits);
}
