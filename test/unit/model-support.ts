// What the tests of network, losses and training share.
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { registerVersemiBackends } from '../../src/tfjs/index.js';

/** Every backend that works here; TF.js's own cpu backend always does. */
export async function availableBackends(): Promise<string[]> {
  const own = await registerVersemiBackends({ precision: 'float32' });
  const names = ['cpu'];
  for (const { backend, available } of own) if (available && (await tf.setBackend(backend))) names.push(backend);
  return names;
}

/** Numbers in [-1, 1) that look random: the weights and data of test/golden/model.py */
export function wave(count: number, offset: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => {
    const value = 43758.5453 * Math.sin(12.9898 * (i + 1) + 78.233 * (offset + 1));
    return 2 * (value - Math.floor(value)) - 1;
  });
}

// PyTorch keeps convolutions as [outC, inC, k, k, k] and transposed ones as [inC, outC, k, k, k]; ours are
// [k, k, k, inC, outC] and, for the convolution that is transposed, [k, k, k, outC, inC]. Both are the same permutation.

/** Values in PyTorch's layout -> values of the shape [kD, kH, kW, second, first]. */
export function fromPyTorchConvolution(values: Float32Array, shape: readonly number[]): Float32Array {
  const [kD, kH, kW, second, first] = shape as [number, number, number, number, number];
  const kernel = kD * kH * kW;
  const result = new Float32Array(values.length);
  for (let k = 0; k < kernel; k++)
    for (let j = 0; j < second; j++)
      for (let i = 0; i < first; i++) result[(k * second + j) * first + i] = values[(i * second + j) * kernel + k]!;
  return result;
}

/** PyTorch keeps matrices as [out, in]; ours are [in, out] (`shape`). */
export function fromPyTorchMatrix(values: Float32Array, shape: readonly number[]): Float32Array {
  const [inputs, outputs] = shape as [number, number];
  const result = new Float32Array(values.length);
  for (let i = 0; i < inputs; i++) for (let o = 0; o < outputs; o++) result[i * outputs + o] = values[o * inputs + i]!;
  return result;
}
