import * as tf from '#tfjs';

/** Keeps the logarithm defined. */
const smoothing = 1e-6;

/**
 * Where another network is certain: the entropy of its mean probability q over several noisy passes is below a share s of its
 * largest value (Yu et al., UA-MT, MICCAI 2019):
 *
 *     H(q) = -q log q - (1 - q) log(1 - q) < s ln 2
 *
 * @param probability q, any shape
 * @param share s, in (0, 1]
 * @returns 1 where it is certain, else 0
 */
export function certain(probability: tf.Tensor, share: tf.Scalar): tf.Tensor {
  const part = (q: tf.Tensor) => tf.mul(q, tf.log(tf.add(q, smoothing)));
  const negativeEntropy = tf.add(part(probability), part(tf.sub(1, probability)));
  return tf.step(tf.add(negativeEntropy, tf.mul(share, Math.LN2)));
}
