import * as tf from '#tfjs';

/** What another network found, as a target. Constants: no gradient flows into them. */
export interface PseudoLabel {
  readonly target: tf.Tensor;
  /** 1 where a voxel counts, else 0; absent: everywhere. */
  readonly counted?: tf.Tensor;
}

/**
 * The prediction of another network as a target: y = 1 where its probability q > 1/2 (hard), or y = q (soft). Voxels count
 * where max(q, 1 - q) >= c (Sohn et al., FixMatch, NeurIPS 2020); up to c = 1/2 all do.
 * @param logits of q, any shape
 * @param confidence c, in [0, 1)
 */
export function pseudoLabel(logits: tf.Tensor, kind: 'hard' | 'soft', confidence: number): PseudoLabel {
  const target = kind === 'hard' ? tf.step(logits) : tf.sigmoid(logits);
  if (confidence <= 0.5) return { target };
  // max(q, 1 - q) is the sigmoid of |logit|.
  const least = Math.log(confidence / (1 - confidence));
  return { target, counted: tf.step(tf.sub(tf.abs(logits), least)) };
}
