import {
  Conv3D,
  Conv3DBackpropFilterV2,
  Conv3DBackpropInputV2,
  clone,
  engine,
  type Tensor,
  type Tensor1D,
  type Tensor5D,
  zerosLike,
} from '#tfjs';
import type { Triple } from '../../volume/volume.js';
import { convolutionProblem } from '../backend/convolution-problem.js';
import { transposedShape } from '../backend/custom-kernels.js';
import { checkShape } from '../backend/kernel-host.js';
import { differentiable, isRecording } from './differentiable.js';
import { runCustom } from './run.js';

/** Stride, transposition and skip connection of the fused convolution. */
export interface Conv3dNormReluOptions {
  /** Along depth, height, width; one number for all. */
  readonly stride?: number | Triple;
  /** Added after the ReLU; shape of the output. */
  readonly skip?: Tensor5D | undefined;
  /** Transposed convolution: the output is `stride` times as long as the input. */
  readonly transposed?: boolean;
  /** Default true. */
  readonly relu?: boolean;
  /** Of the normalisation; default 1e-5. */
  readonly epsilon?: number;
}

/**
 * output = relu(instanceNorm(conv3d(x, weight) + bias)) + skip, zero padding 'same', normalisation per sample and
 * channel without affine and without running statistics (Ulyanov et al., 2016, arXiv 1607.08022).
 *
 * The bias is part of the model and is accepted here, but it cancels in the normalisation: the output does not depend on
 * it and its gradient is exactly zero.
 *
 * @param x [n, depth, height, width, inC]
 * @param weight [kD, kH, kW, inC, outC]; transposed: [kD, kH, kW, outC, inC], as in tf.conv3dTranspose
 * @param bias [outC] or null
 * @returns [n, ceil(depth / stride), ..., outC]; transposed: [n, depth * stride, ..., outC]
 * @throws VERSEMI_KERNEL_FAILED where shapes do not fit
 */
export function conv3dNormRelu(
  x: Tensor5D,
  weight: Tensor5D,
  bias: Tensor1D | null,
  options: Conv3dNormReluOptions = {},
): Tensor5D {
  const { stride = 1, skip, transposed = false, relu = true, epsilon = 1e-5 } = options;
  const strides: Triple = typeof stride === 'number' ? [stride, stride, stride] : stride;
  const channels = transposed ? weight.shape[3] : weight.shape[4];
  const problemInput = transposed ? transposedShape(x.shape, weight.shape, strides) : x.shape;
  checkShape(
    'conv3dNormRelu',
    'weight',
    [...weight.shape.slice(0, 3), ...(transposed ? [channels, x.shape[4]] : [x.shape[4], channels])],
    weight.shape,
  );
  if (bias !== null) checkShape('conv3dNormRelu', 'bias', [channels], bias.shape);
  if (skip !== undefined) {
    const output = transposed ? problemInput : convolutionProblem(x.shape, weight.shape, strides, 'same').outputShape;
    checkShape('conv3dNormRelu', 'skip', output, skip.shape);
  }

  const save = isRecording();
  return differentiable({
    inputs: { x, ...(skip && { skip }), ...(bias && { bias }), weight },
    forward: (keep) => {
      const [output, raw, mean, rstd] = runCustom<Tensor5D[]>(
        'VersemiConv3dNormRelu',
        { input: x, weight, skip },
        { stride: strides as unknown as number[], transposed, relu, epsilon, save },
      );
      if (save) keep([x, weight, raw!, mean!, rstd!]);
      return output!;
    },
    backward: (gradOutput, { saved, once }) => {
      const [input, kernel, raw, mean, rstd] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const gradRaw = once(() => [
        runCustom<Tensor>('VersemiInstanceNormReluGrad', { gradOutput, raw, mean, rstd }, { relu }),
      ]);
      const common = { strides: strides as unknown as number[], pad: 'same' };
      return {
        x: () => {
          const dy = gradRaw()[0]!;
          if (transposed)
            return engine().runKernel(Conv3D, { x: dy, filter: kernel } as never, {
              ...common,
              dataFormat: 'NDHWC',
              dilations: [1, 1, 1],
            }) as Tensor;
          return engine().runKernel(Conv3DBackpropInputV2, { dy, filter: kernel } as never, {
            ...common,
            inputShape: input.shape,
          }) as Tensor;
        },
        skip: () => clone(gradOutput),
        bias: () => zerosLike(bias!),
        weight: () => {
          const dy = gradRaw()[0]!;
          const operands = transposed ? { x: dy, dy: input } : { x: input, dy };
          return engine().runKernel(Conv3DBackpropFilterV2, operands as never, {
            ...common,
            filterShape: kernel.shape,
          }) as Tensor;
        },
      };
    },
  });
}
