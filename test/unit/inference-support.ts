// A network that answers with its own input, so that everything round it can be checked exactly.
import * as tf from '@tensorflow/tfjs-core';
import t, { type Test } from 'tap';
import type { Plan } from '../../src/config/plan.js';
import type { VersemiNetwork } from '../../src/model/network.js';
import type { TrunkOutput } from '../../src/model/vnet.js';
import { RandomStream, streams } from '../../src/random.js';
import type { Triple } from '../../src/volume/volume.js';
import { host } from '../../src/wasm/host.js';
import { makePlan } from './sampling-support.js';

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

/** Values away from zero, of either sign. */
export function noise([x, y, z]: Triple, seed: number): Float32Array {
  const random = new RandomStream(seed, streams.test, x, y);
  return Float32Array.from(
    { length: x * y * z },
    () => (random.uniformBetween(0, 1) < 0.5 ? -1 : 1) * random.uniformBetween(0.2, 2),
  );
}

/** A test that leaves neither memory of the host nor tensors behind. */
export function test(name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await body(t);
    t.equal(host().memory().blocks, 0, 'no memory of the host is left');
    t.equal(tf.memory().numTensors, 0, 'no tensor is left');
  });
}

/** A plan whose preprocessing changes nothing but what `preprocessing` says, for a patch of 16^3. */
export const plan = (
  preprocessing: object = {},
  tasks: Readonly<Record<string, readonly number[][]>> = { a: [[1]] },
): Plan => {
  const made = makePlan(tasks, [16, 16, 16], { inference: { largestComponent: false } });
  for (const dataset of made.datasets)
    Object.assign(dataset.preprocessing, { normalization: 'none', window: null, crop: 'none', ...preprocessing });
  return made;
};
