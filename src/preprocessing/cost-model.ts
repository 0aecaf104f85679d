import type { Plan } from '../config/plan.js';

type FullResolution = 'fullResolutionSkip' | 'fullResolutionBlock';

/** What decides the size of the network. */
export type NetworkShape = Omit<Plan['network'], FullResolution> & Partial<Pick<Plan['network'], FullResolution>>;

/**
 * Feature maps of the V-Net per voxel of the patch: level l has baseWidth * 2^l channels at 1/8^l of the voxels. Outputs
 * of convolutions: on the way down `convolutions[l]` and (below the first level) the one that halves; on the way up the
 * one that doubles, and below the first level, or with `fullResolutionBlock` at every level, `convolutions[l]` more.
 */
function levelsOf({ baseWidth, levels, convolutions, fullResolutionBlock = false }: NetworkShape) {
  return Array.from({ length: levels }, (_, level) => {
    const bottom = level === levels - 1;
    const once = bottom || (level === 0 && !fullResolutionBlock);
    const convolution = once ? convolutions[level]! : 2 * convolutions[level]!;
    return {
      channels: baseWidth * 2 ** level,
      share: 8 ** -level,
      convolutions: convolution,
      outputs: convolution + (level > 0 ? 1 : 0) + (bottom ? 0 : 1),
      top: level === 0,
      bottom,
    };
  });
}

/** Multiply-adds of one forward pass, per voxel of the patch (33 thousand at the paper's setting). */
export function multiplyAddsPerVoxel(network: NetworkShape): number {
  return levelsOf(network).reduce((sum, { channels, share, convolutions, top, bottom }) => {
    // The very first convolution has one input channel.
    const inner = top ? 27 * channels + 27 * (convolutions - 1) * channels ** 2 : 27 * convolutions * channels ** 2;
    const down = top ? 0 : 8 * (channels / 2) * channels;
    const up = bottom ? 0 : 2 * channels * channels;
    return sum + share * (inner + down + up);
  }, 0);
}

/**
 * Bytes that one training pass holds at its peak, per voxel of a patch and per image in the batch, in float32: each
 * convolution keeps its output before and after normalisation; gradients need three maps of the full resolution; the
 * head keeps normalised maps, features, and a logit and its gradient per prompt.
 */
export function trainingBytesPerVoxel(network: NetworkShape, prompts: number): number {
  const kept = levelsOf(network).reduce((sum, { channels, share, outputs }) => sum + 2 * channels * share * outputs, 0);
  return 4 * (kept + 3 * network.baseWidth + network.baseWidth + 2 * network.headWidth + 2 * prompts + 4);
}

/** Seconds of so many forward passes, at 2 operations per multiply-add. */
export function passSeconds(network: NetworkShape, voxels: number, passes: number, gflopsPerSecond: number): number {
  return (2 * multiplyAddsPerVoxel(network) * voxels * passes) / (gflopsPerSecond * 1e9);
}
