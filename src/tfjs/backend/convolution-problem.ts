import type { Triple } from '../../volume/volume.js';
import type { AttributeValues } from '../table/kernel-table.js';

/**
 * The convolution attributes of kernel-table.ts for the forward problem input [n, d, h, w, inC] * weight
 * [kD, kH, kW, inC, outC], and the shape of its output.
 */
export interface ConvolutionProblem {
  readonly attributes: AttributeValues<'conv3d_forward'>;
  readonly outputShape: number[];
}

/**
 * Zeros before an axis, the length of the output, by the rules of TensorFlow for 'same' and 'valid' padding, and the stride. One
 * that leads from the first window past the axis is as good as any other that does: the kernel table allows the smallest.
 */
function axis(input: number, kernel: number, stride: number, pad: 'same' | 'valid' | number): [number, number, number] {
  const place = (zeros: number, output: number): [number, number, number] => [
    zeros,
    output,
    output === 1 ? Math.min(stride, input + zeros) : stride,
  ];
  if (pad === 'same') {
    const output = Math.ceil(input / stride);
    return place(Math.floor(Math.max((output - 1) * stride + kernel - input, 0) / 2), output);
  }
  const zeros = pad === 'valid' ? 0 : pad;
  return place(zeros, Math.floor((input + 2 * zeros - kernel) / stride) + 1);
}

/**
 * @param inputShape [n, d, h, w, inC]
 * @param weightShape [kD, kH, kW, inC, outC]
 * @param strides along d, h, w
 * @param pad 'same', 'valid', or zeros on both sides of every axis
 */
export function convolutionProblem(
  inputShape: readonly number[],
  weightShape: readonly number[],
  strides: Triple,
  pad: 'same' | 'valid' | number,
): ConvolutionProblem {
  const [n, inD, inH, inW, inC] = inputShape as [number, number, number, number, number];
  const [kD, kH, kW, , outC] = weightShape as [number, number, number, number, number];
  const [padD, outD, sD] = axis(inD, kD, strides[0], pad);
  const [padH, outH, sH] = axis(inH, kH, strides[1], pad);
  const [padW, outW, sW] = axis(inW, kW, strides[2], pad);
  return {
    attributes: { n, inD, inH, inW, inC, outD, outH, outW, outC, kD, kH, kW, sD, sH, sW, padD, padH, padW },
    outputShape: [n, outD, outH, outW, outC],
  };
}
