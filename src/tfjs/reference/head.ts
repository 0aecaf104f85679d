import { type NumberArray, type PlainKernels, required } from './plain-kernel.js';

/** Where the generated weights and biases of one (sample, prompt) start, see `dynamic_head` in kernel-table.ts. */
function headLayout(width: number) {
  const w2 = width * width;
  const w3 = 2 * w2;
  const b1 = w3 + 2 * width;
  return { w1: 0, w2, w3, b1, b2: b1 + width, b3: b1 + 2 * width, count: b1 + 2 * width + 2 };
}

const asTheyAre = (value: number) => value;

/** hidden = keep(relu(W input + b)); W [width, width], rows are outputs */
function layer(
  parameters: NumberArray,
  weight: number,
  bias: number,
  input: NumberArray,
  inputAt: number,
  hidden: Float64Array,
  keep: (value: number) => number,
): void {
  const width = hidden.length;
  for (let row = 0; row < width; row++) {
    let sum = parameters[bias + row]!;
    for (let column = 0; column < width; column++)
      sum += parameters[weight + row * width + column]! * input[inputAt + column]!;
    hidden[row] = keep(Math.max(sum, 0));
  }
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** log(1 + exp(x)) without overflow */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** Index of the first prompt with the largest logit, for one sample and voxel. */
function largestPrompt(logits: NumberArray, sample: number, prompts: number, voxels: number, real: number, v: number) {
  let best = sample * prompts * voxels + v;
  for (let k = 1; k < real; k++) {
    const at = (sample * prompts + k) * voxels + v;
    if (logits[at]! > logits[best]!) best = at;
  }
  return best;
}

export const headKernels = {
  dynamic_head(buffers, { n, prompts, voxels, width }, keep = asTheyAre) {
    const features = required(buffers, 0);
    const parameters = required(buffers, 1);
    const logits = required(buffers, 2);
    const at = headLayout(width);
    const h1 = new Float64Array(width);
    const h2 = new Float64Array(width);
    for (let group = 0; group < n * prompts; group++) {
      const base = group * at.count;
      const sample = Math.floor(group / prompts);
      for (let v = 0; v < voxels; v++) {
        layer(parameters, base + at.w1, base + at.b1, features, (sample * voxels + v) * width, h1, keep);
        layer(parameters, base + at.w2, base + at.b2, h1, 0, h2, keep);
        let logit = parameters[base + at.b3 + 1]! - parameters[base + at.b3]!;
        for (let c = 0; c < width; c++)
          logit += (parameters[base + at.w3 + width + c]! - parameters[base + at.w3 + c]!) * h2[c]!;
        logits[group * voxels + v] = logit;
      }
    }
  },

  dynamic_head_grad(buffers, { n, prompts, voxels, width }, keep = asTheyAre) {
    const gradLogits = required(buffers, 0);
    const features = required(buffers, 1);
    const parameters = required(buffers, 2);
    const gradFeatures = new Float64Array(features.length);
    const gradParameters = new Float64Array(parameters.length);
    const at = headLayout(width);
    const h1 = new Float64Array(width);
    const h2 = new Float64Array(width);
    const g1 = new Float64Array(width);
    const g2 = new Float64Array(width);
    for (let group = 0; group < n * prompts; group++) {
      const base = group * at.count;
      const sample = Math.floor(group / prompts);
      for (let v = 0; v < voxels; v++) {
        const feature = (sample * voxels + v) * width;
        layer(parameters, base + at.w1, base + at.b1, features, feature, h1, keep);
        layer(parameters, base + at.w2, base + at.b2, h1, 0, h2, keep);
        const g = gradLogits[group * voxels + v]!;
        gradParameters[base + at.b3]! -= g;
        gradParameters[base + at.b3 + 1]! += g;
        g1.fill(0);
        for (let c = 0; c < width; c++) {
          gradParameters[base + at.w3 + c]! -= g * h2[c]!;
          gradParameters[base + at.w3 + width + c]! += g * h2[c]!;
          const difference = parameters[base + at.w3 + width + c]! - parameters[base + at.w3 + c]!;
          g2[c] = h2[c]! > 0 ? keep(g * difference) : 0;
        }
        for (let row = 0; row < width; row++) {
          gradParameters[base + at.b2 + row]! += g2[row]!;
          for (let column = 0; column < width; column++) {
            gradParameters[base + at.w2 + row * width + column]! += g2[row]! * h1[column]!;
            g1[column]! += g2[row]! * parameters[base + at.w2 + row * width + column]!;
          }
        }
        for (let row = 0; row < width; row++) {
          const active = h1[row]! > 0 ? keep(g1[row]!) : 0;
          gradParameters[base + at.b1 + row]! += active;
          for (let column = 0; column < width; column++) {
            gradParameters[base + at.w1 + row * width + column]! += active * features[feature + column]!;
            gradFeatures[feature + column]! += active * parameters[base + at.w1 + row * width + column]!;
          }
        }
      }
    }
    required(buffers, 3).set(gradFeatures);
    required(buffers, 4).set(gradParameters);
  },

  overlap_sums(buffers, { rows, count }) {
    const logits = required(buffers, 0);
    const target = required(buffers, 1);
    const mask = buffers[2];
    const sums = new Float64Array(5 * rows);
    for (let i = 0; i < logits.length; i++) {
      const first = 5 * Math.floor(i / count);
      const m = mask ? mask[i]! : 1;
      const p = sigmoid(logits[i]!) * m;
      const t = target[i]! * m;
      sums[first]! += p * t;
      sums[first + 1]! += p * p;
      sums[first + 2]! += t * t;
      sums[first + 3]! += m * (softplus(logits[i]!) - target[i]! * logits[i]!);
      sums[first + 4]! += m;
    }
    required(buffers, 3).set(sums);
  },

  overlap_sums_grad(buffers, { count }) {
    const all = required(buffers, 0);
    const logits = required(buffers, 1);
    const target = required(buffers, 2);
    const mask = buffers[3];
    const gradLogits = buffers[4];
    const gradTarget = buffers[5];
    for (let i = 0; i < logits.length; i++) {
      const first = 5 * Math.floor(i / count);
      const g = [all[first]!, all[first + 1]!, all[first + 2]!, all[first + 3]!] as const;
      const m = mask ? mask[i]! : 1;
      const s = sigmoid(logits[i]!);
      const p = s * m;
      const t = target[i]! * m;
      if (gradLogits) gradLogits[i] = (g[0] * t + 2 * g[1] * p) * m * s * (1 - s) + g[3] * m * (s - target[i]!);
      if (gradTarget) gradTarget[i] = (g[0] * p + 2 * g[2] * t) * m - g[3] * m * logits[i]!;
    }
  },

  aggregate_max(buffers, { n, prompts, voxels, real }) {
    const logits = required(buffers, 0);
    const aggregate = required(buffers, 1);
    for (let sample = 0; sample < n; sample++)
      for (let v = 0; v < voxels; v++)
        aggregate[sample * voxels + v] = sigmoid(logits[largestPrompt(logits, sample, prompts, voxels, real, v)]!);
  },

  aggregate_max_grad(buffers, { n, prompts, voxels, real }) {
    const gradAggregate = required(buffers, 0);
    const logits = required(buffers, 1);
    const gradLogits = required(buffers, 2);
    gradLogits.fill(0);
    for (let sample = 0; sample < n; sample++)
      for (let v = 0; v < voxels; v++) {
        const best = largestPrompt(logits, sample, prompts, voxels, real, v);
        const s = sigmoid(logits[best]!);
        gradLogits[best] = gradAggregate[sample * voxels + v]! * s * (1 - s);
      }
  },
} satisfies PlainKernels;
