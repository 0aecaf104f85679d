import type { Tensor5D } from '@tensorflow/tfjs-core';
import { conv3dNormRelu } from '../tfjs/ops.js';
import type { NetworkConfig } from './layers.js';

/** Gives a weight by name, see `parameterSpecs`. */
export interface WeightSource {
  weight(name: string): Tensor5D;
}

/**
 * Every convolution of the trunk has a bias among the parameters, as in the paper's network. The instance normalisation
 * behind it subtracts it again, so that it has no effect and its gradient is zero: it is not even passed.
 */
const noBias = null;

export interface TrunkOutput {
  /** [n, depth, height, width, baseWidth] */
  readonly features: Tensor5D;
  /** Output of the deepest level, [n, depth / 2^(levels-1), ..., baseWidth * 2^(levels-1)] */
  readonly bottleneck: Tensor5D;
}

/** Convolutions of one level, each 3^3 with instance normalisation and ReLU. */
function block(x: Tensor5D, name: string, convolutions: number, weights: WeightSource): Tensor5D {
  let y = x;
  for (let i = 0; i < convolutions; i++) {
    const next = conv3dNormRelu(y, weights.weight(`${name}.${i}.weight`), noBias);
    if (y !== x) y.dispose();
    y = next;
  }
  return y;
}

/**
 * Encoder and decoder: the V-Net of Milletari et al. (3DV 2016) without residual blocks, with instance normalisation, as
 * VerSemi uses it (arXiv 2311.11686). Skip connections are added; full resolution has neither skip nor decoder block.
 * No prompt enters here: one pass per image serves all tasks. Activations are let go as soon as the next layer has read
 * them (a gradient keeps its own hold on what it needs).
 * @param images [n, depth, height, width, 1], each axis divisible by 2^(levels-1)
 */
export function vnet(images: Tensor5D, { levels, convolutions }: NetworkConfig, weights: WeightSource): TrunkOutput {
  const skips: (Tensor5D | undefined)[] = [];
  let x = block(images, 'encoder.0', convolutions[0]!, weights);
  for (let level = 1; level < levels; level++) {
    const down = conv3dNormRelu(x, weights.weight(`down.${level - 1}.weight`), noBias, { stride: 2 });
    if (level === 1) x.dispose();
    else skips[level - 1] = x;
    x = block(down, `encoder.${level}`, convolutions[level]!, weights);
    down.dispose();
  }
  const bottleneck = x;
  for (let level = levels - 2; level >= 0; level--) {
    const skip = skips[level];
    const options = { stride: 2, transposed: true, skip };
    const up = conv3dNormRelu(x, weights.weight(`up.${level}.weight`), noBias, options);
    skip?.dispose();
    if (x !== bottleneck) x.dispose();
    x = up;
    if (level > 0) {
      x = block(up, `decoder.${level}`, convolutions[level]!, weights);
      up.dispose();
    }
  }
  return { features: x, bottleneck };
}
