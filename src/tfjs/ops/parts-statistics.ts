/** What the normalisation of a batch of several parts needs of all of them; formulas: `withStatisticsOfParts` in normalization.ts. */
import { add, concat1d, mul, slice1d, square, sub, type Tensor, type Tensor1D, tensor1d, tidy } from '#tfjs';
import type { BatchParts } from './batch-parts.js';

/** Of a batch: values per channel, their means and biased variances, [channels]. */
export interface BatchStatistics {
  readonly count: number;
  readonly mean: Tensor1D;
  readonly variance: Tensor1D;
}

/** The statistics of all parts from those of this one. */
export function statisticsOfParts(parts: BatchParts, own: BatchStatistics): BatchStatistics {
  return parts.sumOnDevice === undefined ? onHost(parts, own) : onDevice(parts, own);
}

/** In float32. Only the number of values is asked of the others by the host, which knows it without waiting for the device. */
function onDevice(parts: BatchParts, own: BatchStatistics): BatchStatistics {
  const count = parts.allGather(Float64Array.of(parts.counts ? own.count : 0)).reduce((sum, one) => sum + one, 0);
  const [mean, variance] = tidy(() => {
    const share = own.count / count;
    const center = parts.sumOnDevice!(mul(own.mean, share));
    const spread = add(own.variance, square(sub(own.mean, center)));
    return [center, parts.sumOnDevice!(mul(spread, share))] as Tensor1D[];
  });
  return { count, mean: mean!, variance: variance! };
}

/** In double precision, rounded once. */
function onHost(parts: BatchParts, own: BatchStatistics): BatchStatistics {
  const channels = own.mean.size;
  const statistics = new Float64Array(1 + 2 * channels);
  if (parts.counts) {
    statistics[0] = own.count;
    statistics.set(own.mean.dataSync(), 1);
    statistics.set(own.variance.dataSync(), 1 + channels);
  }
  const whole = combined(parts.allGather(statistics), channels);
  return { count: whole.count, mean: tensor1d(whole.mean), variance: tensor1d(whole.variance) };
}

/** @param parts of each part: number of values per channel, their means, their biased variances */
function combined(parts: Float64Array, channels: number) {
  const length = 1 + 2 * channels;
  const each = Array.from({ length: parts.length / length }, (_, i) => parts.subarray(i * length, (i + 1) * length));
  const count = each.reduce((sum, part) => sum + part[0]!, 0);
  const [mean, variance] = [new Float32Array(channels), new Float32Array(channels)];
  for (let c = 0; c < channels; c++) {
    const center = each.reduce((sum, part) => sum + part[0]! * part[1 + c]!, 0) / count;
    const spread = (part: Float64Array) => part[0]! * (part[1 + channels + c]! + (part[1 + c]! - center) ** 2);
    mean[c] = center;
    variance[c] = each.reduce((sum, part) => sum + spread(part), 0) / count;
  }
  return { count, mean, variance };
}

/** Gradients of a normalisation by beta and gamma, of this part, [channels] each. */
export interface PartGradients {
  readonly beta: Tensor1D;
  readonly gamma: Tensor1D;
  /** Values per channel, of all parts. */
  readonly count: number;
}

/**
 * The gradients of all parts by beta and gamma, each per value of a channel.
 * @returns [channels] each; undefined for a part that counts nowhere, whose gradient is 0
 */
export function averageGradients(parts: BatchParts, of: PartGradients): [beta: Tensor, gamma: Tensor] | undefined {
  return parts.sumOnDevice === undefined ? averagesOnHost(parts, of) : averagesOnDevice(parts, of);
}

function averagesOnDevice(parts: BatchParts, { beta, gamma, count }: PartGradients): [Tensor, Tensor] | undefined {
  const channels = beta.size;
  const sums = parts.sumOnDevice!(concat1d([beta, gamma]));
  if (!parts.counts) return undefined;
  const averages = mul(sums, 1 / count) as Tensor1D;
  return [slice1d(averages, 0, channels), slice1d(averages, channels, channels)];
}

function averagesOnHost(parts: BatchParts, { beta, gamma, count }: PartGradients): [Tensor, Tensor] | undefined {
  const channels = beta.size;
  const sums = new Float32Array(2 * channels);
  if (parts.counts) {
    sums.set(beta.dataSync());
    sums.set(gamma.dataSync(), channels);
  }
  parts.allReduceSum(sums);
  if (!parts.counts) return undefined;
  const averages = sums.map((sum) => sum / count);
  return [tensor1d(averages.subarray(0, channels)), tensor1d(averages.subarray(channels))];
}
