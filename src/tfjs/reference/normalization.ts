import { type NumberArray, type PlainKernels, required } from './plain-kernel.js';

interface Statistics {
  readonly mean: Float64Array;
  /** 1 / sqrt(variance + epsilon), biased variance. */
  readonly rstd: Float64Array;
}

/** Statistics per (sample, channel) of x [n, voxels, channels]; two passes, in double. */
export function sampleStatistics(x: NumberArray, n: number, channels: number, epsilon: number): Statistics {
  const perSample = x.length / n;
  const voxels = perSample / channels;
  const mean = new Float64Array(n * channels);
  const rstd = new Float64Array(n * channels);
  for (let i = 0; i < x.length; i++) mean[Math.floor(i / perSample) * channels + (i % channels)]! += x[i]! / voxels;
  for (let i = 0; i < x.length; i++) {
    const group = Math.floor(i / perSample) * channels + (i % channels);
    rstd[group]! += (x[i]! - mean[group]!) ** 2 / voxels;
  }
  for (let group = 0; group < rstd.length; group++) rstd[group] = 1 / Math.sqrt(rstd[group]! + epsilon);
  return { mean, rstd };
}

/** output = relu((x - mean) * rstd) */
export function normalize(
  x: NumberArray,
  { mean, rstd }: Statistics,
  n: number,
  channels: number,
  relu: boolean,
  output: NumberArray,
): void {
  const perSample = x.length / n;
  for (let i = 0; i < x.length; i++) {
    const group = Math.floor(i / perSample) * channels + (i % channels);
    const value = (x[i]! - mean[group]!) * rstd[group]!;
    output[i] = relu && value < 0 ? 0 : value;
  }
}

export const normalizationKernels = {
  instance_norm_relu(buffers, { n, channels, relu, epsilon }) {
    const x = required(buffers, 0);
    const statistics = sampleStatistics(x, n, channels, epsilon);
    normalize(x, statistics, n, channels, relu === 1, required(buffers, 1));
    buffers[2]?.set(statistics.mean);
    buffers[3]?.set(statistics.rstd);
  },

  instance_norm_relu_grad(buffers, { n, voxels, channels, relu }) {
    const [dy, raw, mean, rstd, gradRaw] = [0, 1, 2, 3, 4].map((i) => required(buffers, i)) as NumberArray5;
    const averageGradient = new Float64Array(n * channels);
    const averageProduct = new Float64Array(n * channels);
    const each = (visit: (i: number, group: number, g: number, xhat: number) => void): void => {
      for (let i = 0; i < raw.length; i++) {
        const group = Math.floor(i / (voxels * channels)) * channels + (i % channels);
        const xhat = (raw[i]! - mean[group]!) * rstd[group]!;
        visit(i, group, relu === 1 && xhat <= 0 ? 0 : dy[i]!, xhat);
      }
    };
    each((_, group, g, xhat) => {
      averageGradient[group]! += g / voxels;
      averageProduct[group]! += (g * xhat) / voxels;
    });
    each((i, group, g, xhat) => {
      gradRaw[i] = rstd[group]! * (g - averageGradient[group]! - xhat * averageProduct[group]!);
    });
  },

  batch_norm_relu(buffers, { rows, channels, training, relu, epsilon }) {
    const x = required(buffers, 0);
    const gamma = required(buffers, 1);
    const beta = required(buffers, 2);
    const output = buffers[5];
    const mean = new Float64Array(channels);
    const variance = new Float64Array(channels);
    if (training === 1) {
      for (let i = 0; i < x.length; i++) mean[i % channels]! += x[i]! / rows;
      for (let i = 0; i < x.length; i++) variance[i % channels]! += (x[i]! - mean[i % channels]!) ** 2 / rows;
      required(buffers, 6).set(mean);
      required(buffers, 7).set(variance);
    } else {
      mean.set(required(buffers, 3));
      variance.set(required(buffers, 4));
    }
    if (output == null) return;
    for (let i = 0; i < x.length; i++) {
      const c = i % channels;
      const value = ((x[i]! - mean[c]!) / Math.sqrt(variance[c]! + epsilon)) * gamma[c]! + beta[c]!;
      output[i] = relu === 1 && value < 0 ? 0 : value;
    }
  },

  batch_norm_relu_grad(buffers, { rows, channels, relu, epsilon, averages }) {
    const [dy, x, gamma, beta, mean] = [0, 1, 2, 3, 4].map((i) => required(buffers, i)) as NumberArray5;
    const variance = required(buffers, 5);
    const gradX = buffers[8];
    const gradGamma = new Float64Array(channels);
    const gradBeta = new Float64Array(channels);
    const each = (visit: (i: number, c: number, g: number, xhat: number, rstd: number) => void): void => {
      for (let i = 0; i < x.length; i++) {
        const c = i % channels;
        const rstd = 1 / Math.sqrt(variance[c]! + epsilon);
        const xhat = (x[i]! - mean[c]!) * rstd;
        visit(i, c, relu === 1 && xhat * gamma[c]! + beta[c]! <= 0 ? 0 : dy[i]!, xhat, rstd);
      }
    };
    each((_, c, g, xhat) => {
      gradBeta[c]! += g;
      gradGamma[c]! += g * xhat;
    });
    const average = (sums: Float64Array, at: number) =>
      averages === 1 ? required(buffers, at) : sums.map((sum) => sum / rows);
    const [averageGradient, averageProduct] = [average(gradBeta, 6), average(gradGamma, 7)];
    if (gradX != null)
      each((i, c, g, xhat, rstd) => {
        gradX[i] = gamma[c]! * rstd * (g - averageGradient[c]! - xhat * averageProduct[c]!);
      });
    buffers[9]?.set(gradGamma);
    buffers[10]?.set(gradBeta);
  },
} satisfies PlainKernels;

type NumberArray5 = [NumberArray, NumberArray, NumberArray, NumberArray, NumberArray];
