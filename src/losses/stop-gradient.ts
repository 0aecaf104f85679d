import * as tf from '#tfjs';

/** The same values, through which no gradient flows. */
export const stopGradient = tf.customGrad((x) => ({
  value: tf.clone(x as tf.Tensor),
  gradFunc: (gradient: tf.Tensor | tf.Tensor[]) => tf.zerosLike(gradient as tf.Tensor),
}));
