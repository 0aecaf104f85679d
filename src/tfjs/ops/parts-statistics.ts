/** What the normalisation of a batch of several parts needs of all of them; formulas: `withStatisticsOfParts` in normalization.ts. */
import { add, concat1d, mul, rsqrt, slice1d, square, sub, type Tensor, type Tensor1D, tensor1d, tidy } from '#tfjs';
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

/** What the gradient of a normalisation follows from; tensors are [channels]. */
export interface PartGradients {
  /** By beta and gamma, of this part. */
  readonly beta: Tensor;
  readonly gamma: Tensor;
  /** gamma itself. */
  readonly scale: Tensor;
  /** Of all parts. */
  readonly variance: Tensor;
  readonly epsilon: number;
  /** Values per channel, of this part and of all. */
  readonly own: number;
  readonly count: number;
}

/**
 * What the gradient by x of a part is corrected by: slope * (x - mean) / sqrt(variance + epsilon) + offset.
 * @returns [channels] each; undefined for a part that counts nowhere, whose gradient is 0
 */
export function correctionOfParts(parts: BatchParts, of: PartGradients): [slope: Tensor, offset: Tensor] | undefined {
  return parts.sumOnDevice === undefined ? correctionOnHost(parts, of) : correctionOnDevice(parts, of);
}

function correctionOnDevice(parts: BatchParts, of: PartGradients): [Tensor, Tensor] | undefined {
  const channels = of.beta.size;
  const ofPart = concat1d([of.beta as Tensor1D, of.gamma as Tensor1D]);
  const ofBatch = parts.sumOnDevice!(ofPart);
  if (!parts.counts) return undefined;
  const away = sub(mul(ofPart, 1 / of.own), mul(ofBatch, 1 / of.count)) as Tensor1D;
  const factor = mul(of.scale, rsqrt(add(of.variance, of.epsilon)));
  return [mul(factor, slice1d(away, channels, channels)), mul(factor, slice1d(away, 0, channels))];
}

function correctionOnHost(parts: BatchParts, of: PartGradients): [Tensor, Tensor] | undefined {
  const channels = of.beta.size;
  const [ofPart, ofBatch] = [new Float32Array(2 * channels), new Float32Array(2 * channels)];
  if (parts.counts) {
    ofPart.set(of.beta.dataSync());
    ofPart.set(of.gamma.dataSync(), channels);
    ofBatch.set(ofPart);
  }
  parts.allReduceSum(ofBatch);
  if (!parts.counts) return undefined;
  const [slope, offset] = [new Float32Array(channels), new Float32Array(channels)];
  const [scales, variances] = [of.scale.dataSync(), of.variance.dataSync()];
  for (let c = 0; c < channels; c++) {
    const factor = scales[c]! / Math.sqrt(variances[c]! + of.epsilon);
    offset[c] = factor * (ofPart[c]! / of.own - ofBatch[c]! / of.count);
    slope[c] = factor * (ofPart[channels + c]! / of.own - ofBatch[channels + c]! / of.count);
  }
  return [tensor1d(slope), tensor1d(offset)];
}
