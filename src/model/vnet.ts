import type { Tensor1D, Tensor5D } from '@tensorflow/tfjs-core';
import { conv3dNormRelu } from '../tfjs/ops.js';
import type { NetworkConfig } from './layers.js';

/** Gives a parameter by name, see `parameterSpecs`. */
export interface ParameterSource {
  weight(name: string): Tensor5D;
  vector(name: string): Tensor1D;
}

export interface TrunkOutput {
  /** [n, depth, height, width, baseWidth] */
  readonly features: Tensor5D;
  /** Output of the deepest level, [n, depth / 2^(levels-1), ..., baseWidth * 2^(levels-1)] */
  readonly bottleneck: Tensor5D;
}

/** Convolutions of one level, each 3^3 with instance normalisation and ReLU. */
function block(x: Tensor5D, name: string, convolutions: number, parameters: ParameterSource): Tensor5D {
  let y = x;
  for (let i = 0; i < convolutions; i++)
    y = conv3dNormRelu(y, parameters.weight(`${name}.${i}.weight`), parameters.vector(`${name}.${i}.bias`));
  return y;
}

/**
 * Encoder and decoder: the V-Net of Milletari et al. (3DV 2016) without residual blocks, with instance normalisation, as
 * VerSemi uses it (arXiv 2311.11686). Skip connections are added; full resolution has neither skip nor decoder block.
 * No prompt enters here: one pass per image serves all tasks.
 * @param images [n, depth, height, width, 1], each axis divisible by 2^(levels-1)
 */
export function vnet(
  images: Tensor5D,
  { levels, convolutions }: NetworkConfig,
  parameters: ParameterSource,
): TrunkOutput {
  const skips: Tensor5D[] = [];
  let x = block(images, 'encoder.0', convolutions[0]!, parameters);
  for (let level = 1; level < levels; level++) {
    skips.push(x);
    const down = `down.${level - 1}`;
    x = conv3dNormRelu(x, parameters.weight(`${down}.weight`), parameters.vector(`${down}.bias`), { stride: 2 });
    x = block(x, `encoder.${level}`, convolutions[level]!, parameters);
  }
  const bottleneck = x;
  for (let level = levels - 2; level >= 0; level--) {
    const skip = level > 0 ? skips[level] : undefined;
    const up = `up.${level}`;
    const options = { stride: 2, transposed: true, skip };
    x = conv3dNormRelu(x, parameters.weight(`${up}.weight`), parameters.vector(`${up}.bias`), options);
    if (level > 0) x = block(x, `decoder.${level}`, convolutions[level]!, parameters);
  }
  return { features: x, bottleneck };
}
