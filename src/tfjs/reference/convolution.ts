import type { AttributeValues } from '../table/kernel-table.js';
import { normalize, sampleStatistics } from './normalization.js';
import { type NumberArray, type PlainKernels, required } from './plain-kernel.js';

/** Sizes of a convolution: always those of the forward problem. */
type Problem = AttributeValues<'conv3d_forward'>;

type Visit = (input: number, weight: number, output: number) => void;

/**
 * Calls `visit` with the first element (channel 0) of input voxel, weight tap and output voxel, for every pair of voxels
 * that a tap connects. Every member of the family is this loop with another body, so they are adjoint by construction.
 */
function forEachTap(p: Problem, visit: Visit): void {
  for (let n = 0; n < p.n; n++)
    for (let oz = 0; oz < p.outD; oz++)
      for (let oy = 0; oy < p.outH; oy++)
        for (let ox = 0; ox < p.outW; ox++) {
          const output = (((n * p.outD + oz) * p.outH + oy) * p.outW + ox) * p.outC;
          for (let kz = 0; kz < p.kD; kz++) {
            const iz = oz * p.sD + kz - p.padD;
            if (iz < 0 || iz >= p.inD) continue;
            for (let ky = 0; ky < p.kH; ky++) {
              const iy = oy * p.sH + ky - p.padH;
              if (iy < 0 || iy >= p.inH) continue;
              for (let kx = 0; kx < p.kW; kx++) {
                const ix = ox * p.sW + kx - p.padW;
                if (ix < 0 || ix >= p.inW) continue;
                const input = (((n * p.inD + iz) * p.inH + iy) * p.inW + ix) * p.inC;
                visit(input, ((kz * p.kH + ky) * p.kW + kx) * p.inC * p.outC, output);
              }
            }
          }
        }
}

function forward(p: Problem, x: NumberArray, w: NumberArray, bias: NumberArray | null, output: NumberArray): void {
  const { inC, outC } = p;
  const sum = new Float64Array(output.length);
  if (bias !== null) for (let i = 0; i < sum.length; i++) sum[i] = bias[i % outC]!;
  forEachTap(p, (input, weight, voxel) => {
    for (let ic = 0; ic < inC; ic++) {
      const value = x[input + ic]!;
      const row = weight + ic * outC;
      for (let oc = 0; oc < outC; oc++) sum[voxel + oc]! += value * w[row + oc]!;
    }
  });
  output.set(sum);
}

function gradInput(p: Problem, dy: NumberArray, w: NumberArray, bias: NumberArray | null, output: NumberArray): void {
  const { inC, outC } = p;
  const sum = new Float64Array(output.length);
  if (bias !== null) for (let i = 0; i < sum.length; i++) sum[i] = bias[i % inC]!;
  forEachTap(p, (input, weight, voxel) => {
    for (let ic = 0; ic < inC; ic++) {
      const row = weight + ic * outC;
      let dot = 0;
      for (let oc = 0; oc < outC; oc++) dot += dy[voxel + oc]! * w[row + oc]!;
      sum[input + ic]! += dot;
    }
  });
  output.set(sum);
}

function gradWeight(p: Problem, x: NumberArray, dy: NumberArray, output: NumberArray): void {
  const { inC, outC } = p;
  const sum = new Float64Array(output.length);
  forEachTap(p, (input, weight, voxel) => {
    for (let ic = 0; ic < inC; ic++) {
      const value = x[input + ic]!;
      const row = weight + ic * outC;
      for (let oc = 0; oc < outC; oc++) sum[row + oc]! += value * dy[voxel + oc]!;
    }
  });
  output.set(sum);
}

export const convolutionKernels = {
  conv3d_forward(buffers, problem) {
    forward(problem, required(buffers, 0), required(buffers, 1), buffers[2] ?? null, required(buffers, 3));
  },

  conv3d_grad_input(buffers, problem) {
    const bias = buffers[2] ?? null;
    gradInput(problem, required(buffers, 0), required(buffers, 1), bias, required(buffers, 3));
  },

  conv3d_grad_weight(buffers, p) {
    const dy = required(buffers, 1);
    gradWeight(p, required(buffers, 0), dy, required(buffers, 2));
    const gradBias = buffers[3];
    if (!gradBias) return;
    const sum = new Float64Array(p.outC);
    for (let i = 0; i < dy.length; i++) sum[i % p.outC]! += dy[i]!;
    gradBias.set(sum);
  },

  conv3d_norm_relu(buffers, p) {
    const transposed = p.transposed === 1;
    const skip = buffers[2];
    const output = required(buffers, 3);
    const raw = buffers[4] ?? output.slice();
    (transposed ? gradInput : forward)(p, required(buffers, 0), required(buffers, 1), null, raw);
    const channels = transposed ? p.inC : p.outC;
    const statistics = sampleStatistics(raw, p.n, channels, p.epsilon);
    normalize(raw, statistics, p.n, channels, p.relu === 1, output);
    if (skip) for (let i = 0; i < output.length; i++) output[i]! += skip[i]!;
    buffers[5]?.set(statistics.mean);
    buffers[6]?.set(statistics.rstd);
  },
} satisfies PlainKernels;
