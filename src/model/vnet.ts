import type { Tensor5D } from '#tfjs';
import { conv3dNormRelu, recomputed } from '../tfjs/ops/index.js';
import type { NetworkConfig } from './shapes.js';

/** Gives a weight by name, see `parameterSpecs`. */
export interface WeightSource {
  tensor(name: string): Tensor5D;
}

/**
 * Every convolution of the trunk has a bias among the parameters, as in the paper's network. The instance normalisation
 * behind the convolution subtracts that bias again: the bias has no effect and a gradient of zero, so no kernel gets it.
 */
const noBias = null;

/** What the trunk of versemi's network gives. */
export interface TrunkOutput {
  /** [n, depth, height, width, baseWidth] */
  readonly features: Tensor5D;
  /** Output of the deepest level, [n, depth / 2^(levels-1), ..., baseWidth * 2^(levels-1)] */
  readonly bottleneck: Tensor5D;
}

type Tensors = Record<string, Tensor5D>;

/** Convolutions of one level, each 3^3 with instance normalisation and ReLU. */
function block(x: Tensor5D, name: string, convolutions: number, weights: WeightSource): Tensor5D {
  let y = x;
  for (let i = 0; i < convolutions; i++) {
    const next = conv3dNormRelu(y, weights.tensor(`${name}.${i}.weight`), noBias);
    if (y !== x) y.dispose();
    y = next;
  }
  return y;
}

function blockWeights(name: string, convolutions: number): string[] {
  return Array.from({ length: convolutions }, (_, i) => `${name}.${i}.weight`);
}

/**
 * Encoder and decoder: the V-Net of Milletari et al. (3DV 2016) without residual blocks, with instance normalisation, as
 * VerSemi uses it (arXiv 2311.11686). Skip connections are added; full resolution has a skip or a decoder block only where the
 * settings say so.
 * No prompt enters here: one pass per image serves all tasks. Activations are disposed of as soon as the next layer has read
 * them (TF.js's tape keeps those that a gradient needs).
 * @param images [n, depth, height, width, 1], each axis divisible by 2^(levels-1)
 * @param recomputedLevels levels, counted from full resolution, of which a gradient keeps no more than what goes in and out;
 *   the rest is computed again in the backward pass
 */
export function vnet(
  images: Tensor5D,
  { levels, convolutions, fullResolutionSkip = false, fullResolutionBlock = false }: NetworkConfig,
  weights: WeightSource,
  recomputedLevels = 0,
): TrunkOutput {
  /** A part of the network in which nothing but its inputs need be kept, computed by `f` from tensors and weights. */
  const part = (
    level: number,
    inputs: Tensors,
    names: readonly string[],
    f: (inputs: Tensors, weights: WeightSource) => Tensor5D,
  ): Tensor5D => {
    if (level >= recomputedLevels) return f(inputs, weights);
    const own: Tensors = Object.fromEntries(names.map((name) => [name, weights.tensor(name)]));
    return recomputed({ ...inputs, ...own }, (given) => f(given, { tensor: (name) => given[name]! }));
  };
  const downWeight = (level: number) => `down.${level - 1}.weight`;
  const halve = (x: Tensor5D, level: number, from: WeightSource) =>
    conv3dNormRelu(x, from.tensor(downWeight(level)), noBias, { stride: 2 });

  const topWeights = blockWeights('encoder.0', convolutions[0]!);
  const topBlock = (x: Tensor5D, from: WeightSource) => block(x, 'encoder.0', convolutions[0]!, from);
  const skips: Tensor5D[] = [];
  let down: Tensor5D;
  if (fullResolutionSkip) {
    skips[0] = part(0, { x: images }, topWeights, ({ x }, from) => topBlock(x!, from));
    down = halve(skips[0], 1, weights);
  } else {
    // Nothing but the next level reads the result of full resolution: it is recomputed with the step down.
    down = part(0, { x: images }, [...topWeights, downWeight(1)], ({ x }, from) => {
      const top = topBlock(x!, from);
      const result = halve(top, 1, from);
      top.dispose();
      return result;
    });
  }
  for (let level = 1; ; level++) {
    const name = `encoder.${level}`;
    const count = convolutions[level]!;
    const x = part(level, { x: down }, blockWeights(name, count), (given, from) => block(given.x!, name, count, from));
    down.dispose();
    skips[level] = x;
    if (level === levels - 1) break;
    down = halve(x, level + 1, weights);
  }
  const bottleneck = skips[levels - 1]!;
  let x = bottleneck;
  for (let level = levels - 2; level >= 0; level--) {
    const skip = skips[level];
    const name = `decoder.${level}`;
    const count = level === 0 && !fullResolutionBlock ? 0 : convolutions[level]!;
    const upWeight = `up.${level}.weight`;
    const inputs = { x, ...(skip && { skip }) };
    const y = part(level, inputs, [upWeight, ...blockWeights(name, count)], (given, from) => {
      const options = { stride: 2, transposed: true, skip: given.skip };
      const up = conv3dNormRelu(given.x!, from.tensor(upWeight), noBias, options);
      const result = block(up, name, count, from);
      if (result !== up) up.dispose();
      return result;
    });
    skip?.dispose();
    if (x !== bottleneck) x.dispose();
    x = y;
  }
  return { features: x, bottleneck };
}
