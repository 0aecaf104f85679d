import type { NamedAttrMap } from '#tfjs';
import type { Triple } from '../../../volume/volume.js';
import { type ConvolutionProblem, convolutionProblem } from '../convolution-problem.js';
import { checkShape, input, Refused, type TableKernel } from '../kernel-host.js';

function problem(
  inputShape: readonly number[],
  weightShape: readonly number[],
  attributes: NamedAttrMap,
): ConvolutionProblem {
  const { strides, pad, dilations = 1, dataFormat = 'NDHWC' } = attributes;
  if (dataFormat !== 'NDHWC') throw new Refused(`data format ${dataFormat}`);
  if ([dilations].flat().some((dilation) => dilation !== 1)) throw new Refused(`dilations ${dilations}`);
  const triple = (typeof strides === 'number' ? [strides, strides, strides] : strides) as unknown as Triple;
  if (pad === 'same' && triple.some((stride, axis) => leavesOut(inputShape[axis + 1]!, weightShape[axis]!, stride)))
    throw new Refused(`strides ${triple.join(', ')}, with which TF.js's padding "same" moves the first window inwards`);
  return convolutionProblem(inputShape, weightShape, triple, pad as 'same' | 'valid' | number);
}

/**
 * Whether the windows together are shorter than an axis. TF.js's conv3d then centres them, where TensorFlow (and the rows of the
 * kernel table) lets the first one begin at the first voxel.
 */
function leavesOut(input: number, kernel: number, stride: number): boolean {
  return (Math.ceil(input / stride) - 1) * stride + kernel < input;
}

/** TF.js's 3-D convolution family. */
export const convolutionKernels = {
  Conv3D(host, inputs, attributes) {
    const x = input(inputs, 'x');
    const filter = input(inputs, 'filter');
    const { attributes: sizes, outputShape } = problem(x.shape, filter.shape, attributes);
    return host.call('conv3d_forward', [x, filter, null], [outputShape], sizes)[0]!;
  },

  Conv3DBackpropInputV2(host, inputs, attributes) {
    const dy = input(inputs, 'dy');
    const filter = input(inputs, 'filter');
    const inputShape = attributes.inputShape as number[];
    const { attributes: sizes, outputShape } = problem(inputShape, filter.shape, attributes);
    checkShape('conv3dTranspose', 'dy', outputShape, dy.shape);
    return host.call('conv3d_grad_input', [dy, filter, null], [inputShape], sizes)[0]!;
  },

  Conv3DBackpropFilterV2(host, inputs, attributes) {
    const x = input(inputs, 'x');
    const dy = input(inputs, 'dy');
    const filterShape = attributes.filterShape as number[];
    const { attributes: sizes, outputShape } = problem(x.shape, filterShape, attributes);
    checkShape('gradient of conv3d', 'dy', outputShape, dy.shape);
    return host.call('conv3d_grad_weight', [x, dy], [filterShape, null], sizes)[0]!;
  },
} satisfies Record<string, TableKernel>;
