import { add, clone, mul, reshape, rsqrt, step, sub, sum, type Tensor, type Tensor1D, zerosLike } from '#tfjs';
import { VersemiError } from '../../errors.js';
import { checkShape } from '../backend/kernel-host.js';
import { type BatchParts, batchParts } from './batch-parts.js';
import { differentiable } from './differentiable.js';
import { averageGradients, statisticsOfParts } from './parts-statistics.js';
import { runCustom } from './run.js';

/**
 * relu((x - mean) / sqrt(variance + epsilon)), statistics per sample and channel over all voxels, no affine.
 * @param x [n, ..., channels]
 */
export function instanceNormRelu<T extends Tensor>(
  x: T,
  { relu = true, epsilon = 1e-5 }: { relu?: boolean; epsilon?: number } = {},
): T {
  return differentiable({
    inputs: { x },
    forward: (keep) => {
      const [output, mean, rstd] = runCustom<Tensor[]>('VersemiInstanceNormRelu', { input: x }, { relu, epsilon });
      keep([x, mean!, rstd!]);
      return output as T;
    },
    backward: (gradOutput, { saved: [raw, mean, rstd] }) => ({
      x: () => runCustom<Tensor>('VersemiInstanceNormReluGrad', { gradOutput, raw, mean, rstd }, { relu }),
    }),
  });
}

/** Where the statistics of the normalisation come from. */
export interface BatchNormReluOptions {
  /** True: statistics of this batch, which are returned. False: `movingMean` and `movingVariance`. */
  readonly training: boolean;
  /** [channels] */
  readonly movingMean?: Tensor1D;
  /** [channels] */
  readonly movingVariance?: Tensor1D;
  /** Default true. */
  readonly relu?: boolean;
  /** Default 1e-5. */
  readonly epsilon?: number;
}

/** The output, and in training the statistics of the batch. */
export interface BatchNormReluResult<T extends Tensor> {
  readonly output: T;
  /** [channels], in training only; not differentiable. */
  readonly mean?: Tensor1D;
  /** [channels], biased, in training only; not differentiable. */
  readonly variance?: Tensor1D;
  /** Values per channel that the statistics are over, in training only. */
  readonly count?: number;
}

/**
 * relu(gamma * (x - mean) / sqrt(variance + epsilon) + beta), statistics per channel over all samples and voxels
 * (Ioffe & Szegedy, 2015, arXiv 1502.03167). In a batch of several parts they are over all parts, in the gradient too.
 * @param x [..., channels]
 * @param gamma [channels]
 * @param beta [channels]
 * @throws VERSEMI_KERNEL_FAILED where shapes disagree, or moving statistics are missing
 */
export function batchNormRelu<T extends Tensor>(
  x: T,
  gamma: Tensor1D,
  beta: Tensor1D,
  options: BatchNormReluOptions,
): BatchNormReluResult<T> {
  const { training, movingMean, movingVariance, relu = true, epsilon = 1e-5 } = options;
  const channels = [x.shape.at(-1)!];
  checkShape('batchNormRelu', 'gamma', channels, gamma.shape);
  checkShape('batchNormRelu', 'beta', channels, beta.shape);
  if (!training) {
    if (movingMean === undefined || movingVariance === undefined)
      throw new VersemiError('KERNEL_FAILED', {
        field: 'batchNormRelu',
        expected: 'movingMean and movingVariance where training is false',
        found: 'none',
      });
    checkShape('batchNormRelu', 'movingMean', channels, movingMean.shape);
    checkShape('batchNormRelu', 'movingVariance', channels, movingVariance.shape);
    return { output: withMovingStatistics(x, gamma, beta, movingMean, movingVariance, relu, epsilon) };
  }
  const parts = batchParts();
  if (parts !== undefined) return withStatisticsOfParts(x, gamma, beta, parts, relu, epsilon);
  const [output, mean, variance] = differentiable<Tensor[]>({
    inputs: { x, gamma, beta },
    forward: (keep) => {
      const results = runCustom<Tensor[]>(
        'VersemiBatchNormRelu',
        { input: x, gamma, beta },
        { training, relu, epsilon },
      );
      keep([x, gamma, beta, results[1]!, results[2]!]);
      return results;
    },
    backward: (gradOutput, { saved, once }) => {
      const [input, scale, shift, batchMean, batchVariance] = saved;
      const gradients = once(() =>
        runCustom<Tensor[]>(
          'VersemiBatchNormReluGrad',
          { gradOutput, input, gamma: scale, beta: shift, mean: batchMean, variance: batchVariance },
          { relu, epsilon },
        ),
      );
      return {
        x: () => clone(gradients()[0]!),
        gamma: () => clone(gradients()[1]!),
        beta: () => clone(gradients()[2]!),
      };
    },
  });
  const count = x.size / channels[0]!;
  return { output: output as T, mean: mean as Tensor1D, variance: variance as Tensor1D, count };
}

/**
 * The statistics of all parts from those of each (Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
 * sample variances", 1979):
 *
 *     n = sum n_r,   mean = sum n_r mean_r / n,   variance = sum n_r (variance_r + (mean_r - mean)^2) / n
 *
 * The gradient by x takes the averages of the whole batch: of the gradients by beta and gamma of the parts, b_r and g_r, sum b_r / n and
 * sum g_r / n.
 */
function withStatisticsOfParts<T extends Tensor>(
  x: T,
  gamma: Tensor1D,
  beta: Tensor1D,
  parts: BatchParts,
  relu: boolean,
  epsilon: number,
): BatchNormReluResult<T> {
  const channels = gamma.size;
  const own = x.size / channels;
  let count = 0;
  const [output, mean, variance] = differentiable<Tensor[]>({
    inputs: { x, gamma, beta },
    forward: (keep) => {
      const [partMean, partVariance] = runCustom<[Tensor1D, Tensor1D]>(
        'VersemiBatchNormRelu',
        { input: x, gamma, beta },
        { training: true, relu, epsilon, statistics: true },
      );
      const whole = statisticsOfParts(parts, { count: own, mean: partMean, variance: partVariance });
      partMean.dispose();
      partVariance.dispose();
      count = whole.count;
      const { mean: movingMean, variance: movingVariance } = whole;
      const [normalized] = runCustom<Tensor[]>(
        'VersemiBatchNormRelu',
        { input: x, gamma, beta, movingMean, movingVariance },
        { training: false, relu, epsilon },
      );
      keep([x, gamma, beta, movingMean, movingVariance]);
      return [normalized!, movingMean, movingVariance];
    },
    backward: (gradOutput, { saved, once }) => {
      const [input, scale, shift, batchMean, batchVariance] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const gradients = once(() => {
        const inputs = { gradOutput, input, gamma: scale, beta: shift, mean: batchMean, variance: batchVariance };
        const [gradGamma, gradBeta] = runCustom<[Tensor1D, Tensor1D]>('VersemiBatchNormReluGrad', inputs, {
          ...{ relu, epsilon, sums: true },
        });
        const averages = averageGradients(parts, { beta: gradBeta, gamma: gradGamma, count });
        // The gradient of an output that counts nowhere is 0, and so is that of what it was made from.
        if (averages === undefined) return [zerosLike(input), gradGamma, gradBeta];
        const [averageGradient, averageProduct] = averages;
        const [gradInput] = runCustom<Tensor[]>(
          'VersemiBatchNormReluGrad',
          { ...inputs, averageGradient, averageProduct },
          { relu, epsilon },
        );
        return [gradInput!, gradGamma, gradBeta];
      });
      return {
        x: () => clone(gradients()[0]!),
        gamma: () => clone(gradients()[1]!),
        beta: () => clone(gradients()[2]!),
      };
    },
  });
  return { output: output as T, mean: mean as Tensor1D, variance: variance as Tensor1D, count };
}

/** With constant statistics the gradient is a few products; it needs no kernel of its own. */
function withMovingStatistics<T extends Tensor>(
  x: T,
  gamma: Tensor1D,
  beta: Tensor1D,
  movingMean: Tensor1D,
  movingVariance: Tensor1D,
  relu: boolean,
  epsilon: number,
): T {
  return differentiable({
    inputs: { x, gamma, beta },
    forward: (keep) => {
      const [output] = runCustom<T[]>(
        'VersemiBatchNormRelu',
        { input: x, gamma, beta, movingMean, movingVariance },
        { training: false, relu, epsilon },
      );
      keep([x, gamma, output!, movingMean, movingVariance]);
      return output!;
    },
    backward: (gradOutput, { saved, once }) => {
      const [input, scale, output, mean, variance] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
      const rows = (tensor: Tensor) => reshape(tensor, [-1, scale.shape[0]!]);
      const rstd = () => rsqrt(add(variance, epsilon));
      const active = once(() => [relu ? mul(gradOutput, step(output)) : clone(gradOutput)]);
      return {
        x: () => mul(active()[0]!, mul(scale, rstd())),
        gamma: () => mul(sum(mul(rows(active()[0]!), sub(rows(input), mean)), 0), rstd()),
        beta: () => sum(rows(active()[0]!), 0),
      };
    },
  });
}
