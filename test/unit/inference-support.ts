// A network that answers with its own input, so that everything round it can be checked exactly.
import * as tf from '@tensorflow/tfjs-core';
import type { VersemiNetwork } from '../../src/model/network.js';
import type { TrunkOutput } from '../../src/model/vnet.js';

/** What a logit is of a voxel, its prompt, and the number of the pass (from 0). */
export type Answer = (image: tf.Tensor4D, task: number, pass: number) => tf.Tensor4D;

export interface SpyNetwork {
  readonly network: VersemiNetwork;
  /** Every image that the trunk has seen, [z, y, x]. */
  readonly seen: Float32Array[];
}

/** Even tasks answer with ten times the image, odd ones with its negative. */
const identity: Answer = (image, task) => tf.mul(image, task % 2 === 0 ? 10 : -10);

/** A stand-in for `VersemiNetwork` whose trunk passes images on and whose logits are `answer`. */
export function spyNetwork(answer: Answer = identity): SpyNetwork {
  const seen: Float32Array[] = [];
  const network = {
    trunk(images: tf.Tensor5D): TrunkOutput {
      seen.push(Float32Array.from(images.dataSync()));
      return { features: images, bottleneck: images };
    },
    logits({ features }: TrunkOutput, prompts: readonly (readonly number[])[]): tf.Tensor5D {
      const image = tf.squeeze<tf.Tensor4D>(features, [4]);
      return tf.stack(
        prompts[0]!.map((task) => answer(image, task, seen.length - 1)),
        1,
      ) as tf.Tensor5D;
    },
  };
  return { network: network as unknown as VersemiNetwork, seen };
}
