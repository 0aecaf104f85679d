/**
 * Layout of PyTorch's weights, for comparing with it and for importing from it. PyTorch keeps convolutions as
 * [outC, inC, k, k, k] and transposed ones as [inC, outC, k, k, k]; ours are [k, k, k, inC, outC] and, for the
 * convolution that is transposed, [k, k, k, outC, inC]. Both are the same permutation, [2, 3, 4, 1, 0].
 */

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
