import type { NumberArray } from '../reference/plain-kernel.js';
import type { KernelName } from '../table/kernel-table.js';

/** Inputs of a convolution as int8 holds them: the source with a scale per sample, the weights with one per channel of the result. */
export function quantizedInputs<T extends NumberArray>(
  row: KernelName,
  attributes: ArrayLike<number>,
  inputs: readonly (T | null)[],
): (T | null)[] {
  const [source, weight, ...others] = inputs as [T, T, ...(T | null)[]];
  const [samples, inChannels, outChannels] = [attributes[0]!, attributes[4]!, attributes[8]!];
  const transposed = row === 'conv3d_norm_relu' && attributes[18] === 1;
  const channelOf = transposed
    ? (i: number) => Math.floor(i / outChannels) % inChannels
    : (i: number) => i % outChannels;
  const negative = source.some((value) => value < 0);
  return [
    quantize(source, (i) => Math.floor((i * samples) / source.length), negative ? 127 : 255),
    quantize(weight, channelOf, 127),
    ...others,
  ];
}

/** Multiples of (largest magnitude of the group / steps). */
function quantize<T extends NumberArray>(values: T, groupOf: (index: number) => number, steps: number): T {
  const largest: number[] = [];
  for (const [i, value] of values.entries()) largest[groupOf(i)] = Math.max(largest[groupOf(i)] ?? 0, Math.abs(value));
  return values.map((value, i) => {
    const scale = largest[groupOf(i)]! / steps;
    return scale === 0 ? value : Math.round(value / scale) * scale;
  }) as T;
}
