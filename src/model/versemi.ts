import * as tf from '#tfjs';
import { batchNormRelu, dynamicHead, recomputed } from '../tfjs/ops/index.js';
import type { Architecture, NetworkTensors, Normalization } from './architecture.js';
import { type NetworkConfig, versemiBuffers, versemiParameters } from './shapes.js';
import { type TrunkOutput, vnet } from './vnet.js';

/**
 * The network of VerSemi: one trunk for all tasks, a controller that turns (image, prompt) into the weights of a small dynamic
 * head, and a head per prompt (arXiv 2311.11686).
 */
export const versemi: Architecture<TrunkOutput> = {
  name: 'versemi',
  acrossRanks: true,
  parameters: versemiParameters,
  buffers: versemiBuffers,
  numbersPerVoxel: versemiNumbersPerVoxel,
  trunk: (images, tensors, recomputedLevels) => vnet(images, tensors.config, tensors, recomputedLevels),
  logits(trunk, prompts, tensors, normalization, recomputedLevels) {
    const vector = (name: string) => tensors.tensor<tf.Tensor1D>(name);
    const gap = { x: trunk.bottleneck, gamma: vector('gap.gamma'), beta: vector('gap.beta') };
    const pooled = tf.mean(batchNorm(tensors, 'gap', gap, normalization), [1, 2, 3]) as tf.Tensor2D;
    const parts = {
      x: trunk.features,
      gamma: vector('prehead.gamma'),
      beta: vector('prehead.beta'),
      weight: tensors.tensor<tf.Tensor5D>('prehead.weight'),
      bias: vector('prehead.bias'),
    };
    const features = (given: typeof parts, again: boolean) => {
      const normalized = batchNorm(
        tensors,
        'prehead',
        given,
        again && normalization === 'follow' ? 'batch' : normalization,
      );
      const shared = tf.conv3d(normalized, given.weight, 1, 'valid');
      normalized.dispose();
      return tf.add(shared, given.bias) as tf.Tensor5D;
    };
    return dynamicHead(
      recomputedLevels > 0 ? recomputed(parts, features) : features(parts, false),
      headParameters(tensors, pooled, prompts),
    );
  },
};

/**
 * The controller: a 1x1x1 convolution on concat(pooled, one-hot prompt), as the sum of its two parts.
 * @param pooled [n, channels of the bottleneck]
 * @param prompts [n, p, tasks + 1]
 * @returns [n, p, numbers that the dynamic head needs]
 */
function headParameters(tensors: NetworkTensors, pooled: tf.Tensor2D, prompts: tf.Tensor3D): tf.Tensor3D {
  const [images, count, codes] = prompts.shape;
  const oneHot = tf.reshape(prompts, [images * count, codes]) as tf.Tensor2D;
  const ofImage = tf.matMul(pooled, tensors.tensor<tf.Tensor2D>('controller.weight'));
  const ofPrompt = tf.matMul(oneHot, tensors.tensor<tf.Tensor2D>('controller.prompt'));
  return tf.add(
    tf.add(tf.expandDims(ofImage, 1), tf.reshape(ofPrompt, [images, count, -1])),
    tensors.tensor('controller.bias'),
  ) as tf.Tensor3D;
}

function batchNorm(
  tensors: NetworkTensors,
  name: string,
  { x, gamma, beta }: { readonly x: tf.Tensor5D; readonly gamma: tf.Tensor1D; readonly beta: tf.Tensor1D },
  normalization: Normalization,
): tf.Tensor5D {
  const { output, mean, variance, count } = batchNormRelu(x, gamma, beta, {
    training: normalization !== 'moving',
    movingMean: tensors.tensor<tf.Tensor1D>(`${name}.movingMean`),
    movingVariance: tensors.tensor<tf.Tensor1D>(`${name}.movingVariance`),
  });
  if (normalization === 'follow' && mean !== undefined && variance !== undefined && count !== undefined) {
    // As PyTorch: biased variance for this batch, unbiased variance for the moving one.
    tensors.follow(`${name}.movingMean`, mean);
    tensors.follow(`${name}.movingVariance`, variance, count / Math.max(1, count - 1));
  }
  return output;
}

/** Measured: `device.memory()` of both devices at widths 8 and 16. */
export function versemiNumbersPerVoxel({ baseWidth, fullResolutionSkip }: NetworkConfig, prompts: number): number {
  // The map that a skip connection at full resolution reads is held while everything below it is computed.
  const maps = fullResolutionSkip ? 3 : 2;
  return maps * baseWidth + 17 + prompts;
}
