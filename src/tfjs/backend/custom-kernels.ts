import type { TensorInfo } from '#tfjs';
import type { Triple } from '../../volume/volume.js';
import { type AttributeValues, unaryKinds } from '../table/kernel-table.js';
import { convolutionProblem } from './convolution-problem.js';
import { input, sizeOf, type TableKernel } from './kernel-host.js';

/**
 * The kernels behind the ops of `ops/`: names that TF.js does not know, registered for every versemi backend and for
 * TF.js's own cpu backend. Optional inputs are left out of the map where absent.
 */
export const customKernels = {
  /** {input, weight, skip?} -> [output] or, with `save`, [output, raw, mean, rstd] */
  VersemiConv3dNormRelu(host, inputs, { stride, transposed, relu, epsilon, save }) {
    const x = input(inputs, 'input');
    const weight = input(inputs, 'weight');
    const strides = stride as unknown as Triple;
    const forwardInput = transposed ? transposedShape(x.shape, weight.shape, strides) : x.shape;
    const problem = convolutionProblem(forwardInput, weight.shape, strides, 'same');
    const outputShape = transposed ? forwardInput : problem.outputShape;
    const statistics = save ? [outputShape[0]!, outputShape[4]!] : null;
    return host.call(
      'conv3d_norm_relu',
      [x, weight, inputs.skip],
      [outputShape, save ? outputShape : null, statistics, statistics],
      { ...problem.attributes, transposed: Number(transposed), relu: Number(relu), epsilon: epsilon as number },
    );
  },

  /** {input} -> [output, mean, rstd] */
  VersemiInstanceNormRelu(host, inputs, { relu, epsilon }) {
    const x = input(inputs, 'input');
    const { n, voxels, channels } = sizesOf(x);
    const attributes = { n, voxels, channels, relu: Number(relu), epsilon: epsilon as number };
    return host.call('instance_norm_relu', [x], [x.shape, [n, channels], [n, channels]], attributes);
  },

  /** {gradOutput, raw, mean, rstd} -> gradRaw */
  VersemiInstanceNormReluGrad(host, inputs, { relu }) {
    const raw = input(inputs, 'raw');
    return host.call('instance_norm_relu_grad', [inputs.gradOutput, raw, inputs.mean, inputs.rstd], [raw.shape], {
      ...sizesOf(raw),
      relu: Number(relu),
    })[0]!;
  },

  /**
   * {input, gamma, beta, movingMean?, movingVariance?} -> [output] or, in training, [output, mean, variance]; of `statistics` alone
   * [mean, variance]
   */
  VersemiBatchNormRelu(host, inputs, { training, relu, epsilon, statistics: alone }) {
    const x = input(inputs, 'input');
    const channels = x.shape.at(-1)!;
    const statistics = training ? [channels] : null;
    return host.call(
      'batch_norm_relu',
      [x, inputs.gamma, inputs.beta, inputs.movingMean, inputs.movingVariance],
      [alone ? null : x.shape, statistics, statistics],
      {
        rows: sizeOf(x.shape) / channels,
        channels,
        training: Number(training),
        relu: Number(relu),
        epsilon: epsilon as number,
      },
    );
  },

  /**
   * {gradOutput, input, gamma, beta, mean, variance} -> [gradInput, gradGamma, gradBeta]; of `sums` alone [gradGamma, gradBeta]; where
   * averageGradient and averageProduct are given too, [gradInput]
   */
  VersemiBatchNormReluGrad(host, inputs, { relu, epsilon, sums }) {
    const x = input(inputs, 'input');
    const channels = x.shape.at(-1)!;
    const { averageGradient } = inputs;
    return host.call(
      'batch_norm_relu_grad',
      [
        ...[inputs.gradOutput, x, inputs.gamma, inputs.beta, inputs.mean, inputs.variance],
        averageGradient,
        inputs.averageProduct,
      ],
      [sums ? null : x.shape, ...(averageGradient === undefined ? [[channels], [channels]] : [null, null])],
      {
        rows: sizeOf(x.shape) / channels,
        channels,
        relu: Number(relu),
        epsilon: epsilon as number,
        averages: Number(averageGradient !== undefined),
      },
    );
  },

  /** {features, parameters} -> logits */
  VersemiDynamicHead(host, inputs) {
    const features = input(inputs, 'features');
    const parameters = input(inputs, 'parameters');
    const [n, ...rest] = features.shape;
    const prompts = parameters.shape[1]!;
    const shape = [n!, prompts, ...rest.slice(0, -1)];
    return host.call('dynamic_head', [features, parameters], [shape], headAttributes(features, prompts))[0]!;
  },

  /** {gradLogits, features, parameters} -> [gradFeatures, gradParameters] */
  VersemiDynamicHeadGrad(host, inputs) {
    const features = input(inputs, 'features');
    const parameters = input(inputs, 'parameters');
    return host.call(
      'dynamic_head_grad',
      [inputs.gradLogits, features, parameters],
      [features.shape, parameters.shape],
      headAttributes(features, parameters.shape[1]!),
    );
  },

  /** {logits, target, mask?} -> sums [5] or, of `rows` stretches of the logits, [rows, 5] */
  VersemiOverlapSums(host, inputs, { rows }) {
    const logits = input(inputs, 'logits');
    const attributes = rowsOf(logits, rows as number | undefined);
    const shape = rows === undefined ? [5] : [attributes.rows, 5];
    return host.call('overlap_sums', [logits, inputs.target, inputs.mask], [shape], attributes)[0]!;
  },

  /** {gradSums, logits, target, mask?} -> gradLogits or, with `of` = 'target', gradTarget */
  VersemiOverlapSumsGrad(host, inputs, { of, rows }) {
    const logits = input(inputs, 'logits');
    return host.call(
      'overlap_sums_grad',
      [inputs.gradSums, logits, inputs.target, inputs.mask],
      of === 'target' ? [null, logits.shape] : [logits.shape, null],
      rowsOf(logits, rows as number | undefined),
    )[0]!;
  },

  /** {logits} -> aggregate */
  VersemiAggregateMax(host, inputs, { real }) {
    const logits = input(inputs, 'logits');
    const [n, prompts, ...voxels] = logits.shape as [number, number, ...number[]];
    const attributes = { n, prompts, voxels: sizeOf(voxels), real: real as number };
    return host.call('aggregate_max', [logits], [[n, ...voxels]], attributes)[0]!;
  },

  /** {gradAggregate, logits} -> gradLogits */
  VersemiAggregateMaxGrad(host, inputs, { real }) {
    const logits = input(inputs, 'logits');
    const [n, prompts, ...voxels] = logits.shape as [number, number, ...number[]];
    const attributes = { n, prompts, voxels: sizeOf(voxels), real: real as number };
    return host.call('aggregate_max_grad', [inputs.gradAggregate, logits], [logits.shape], attributes)[0]!;
  },

  /** {arena?, gradient0?, gradient1?, ...} -> squaredNorm, and writes arena; without one: [arena, squaredNorm] */
  VersemiPackGradients(host, inputs, { sizes }) {
    const lengths = sizes as number[];
    const gradients = lengths.map((_, i) => inputs[`gradient${i}`]);
    const arena = inputs.arena ?? [lengths.reduce((sum, length) => sum + length, 0)];
    const results = host.call('pack_gradients', gradients, [arena, [1]], { size: lengths });
    return inputs.arena === undefined ? results : results[1]!;
  },

  /** {source, target} -> nothing; writes target */
  VersemiCopy(host, inputs) {
    const target = input(inputs, 'target');
    host.call('unary', [inputs.source], [target], {
      kind: unaryKinds.indexOf('identity'),
      count: sizeOf(target.shape),
      parameterA: 0,
      parameterB: 0,
    });
    return [];
  },

  /** {arena, firstMoment, secondMoment, parameter0, ...} -> nothing; writes all but the arena */
  VersemiAdamStep(host, inputs, { sizes, settings }) {
    const lengths = sizes as number[];
    const parameters = lengths.map((_, i) => input(inputs, `parameter${i}`));
    host.call(
      'adam_step',
      [inputs.arena],
      [input(inputs, 'firstMoment'), input(inputs, 'secondMoment'), ...parameters],
      { ...(settings as unknown as AdamAttributes), size: lengths },
    );
    return [];
  },

  /** {arena, velocity, parameter0, ...} -> nothing; writes all but the arena */
  VersemiSgdStep(host, inputs, { sizes, settings }) {
    const lengths = sizes as number[];
    const parameters = lengths.map((_, i) => input(inputs, `parameter${i}`));
    host.call('sgd_step', [inputs.arena], [input(inputs, 'velocity'), ...parameters], {
      ...(settings as unknown as SgdAttributes),
      size: lengths,
    });
    return [];
  },

  /** {volumes, table, lookup?} -> patches */
  VersemiCutPatches(host, inputs, { patch }) {
    const { lookup } = inputs;
    const [volumes, table] = [input(inputs, 'volumes'), input(inputs, 'table')];
    const shape = [table.shape[0]!, ...(patch as number[])];
    const lookups = lookup === undefined ? 0 : lookup.shape[0]!;
    return host.call('cut_patches', [volumes, table, lookup], [shape], {
      ...extentOf(shape),
      total: sizeOf(volumes.shape),
      lookups,
    })[0]!;
  },

  /** {patches, table} -> mixes */
  VersemiCutMix(host, inputs) {
    const [patches, table] = [input(inputs, 'patches'), input(inputs, 'table')];
    const [sources, ...patch] = patches.shape as [number, ...number[]];
    const shape = [table.shape[0]!, ...patch];
    return host.call('cut_mix', [patches, table], [shape], { ...extentOf(shape), sources })[0]!;
  },

  /** {average, parameter0, ...} -> nothing; writes average */
  VersemiEmaStep(host, inputs, { sizes, decay }) {
    const lengths = sizes as number[];
    const parameters = lengths.map((_, i) => input(inputs, `parameter${i}`));
    const attributes = { decay: decay as number, size: lengths };
    host.call('ema_step', parameters, [input(inputs, 'average')], attributes);
    return [];
  },
} satisfies Record<string, TableKernel>;

export type CustomKernelName = keyof typeof customKernels;

/** Shape that a transposed convolution writes: the input of the convolution whose grad-input it is. */
export function transposedShape(input: readonly number[], weight: readonly number[], stride: Triple): number[] {
  return [input[0]!, input[1]! * stride[0], input[2]! * stride[1], input[3]! * stride[2], weight[3]!];
}

/** Sizes of a channels-last tensor. */
function sizesOf({ shape }: TensorInfo): { n: number; voxels: number; channels: number } {
  const n = shape[0]!;
  const channels = shape.at(-1)!;
  return { n, voxels: sizeOf(shape) / (n * channels), channels };
}

function headAttributes(features: TensorInfo, prompts: number): AttributeValues<'dynamic_head'> {
  const { n, voxels, channels } = sizesOf(features);
  return { n, prompts, voxels, width: channels };
}

/** Of patches [n, d, h, w]. */
function extentOf(shape: readonly number[]): { n: number; d: number; h: number; w: number } {
  const [n, d, h, w] = shape as [number, number, number, number];
  return { n, d, h, w };
}

/** Of logits in `rows` stretches; undefined: in one. */
function rowsOf({ shape }: TensorInfo, rows: number | undefined): AttributeValues<'overlap_sums'> {
  return { rows: rows ?? 1, count: sizeOf(shape) / Math.max(1, rows ?? 1) };
}

type AdamAttributes = Omit<AttributeValues<'adam_step'>, 'size'>;
type SgdAttributes = Omit<AttributeValues<'sgd_step'>, 'size'>;
