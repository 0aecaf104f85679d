import { sampleStatistics } from '../reference/normalization.js';
import { binary, explicit, normal, type OpCase, positive, type Source, uniform } from './op-case.js';

const epsilon = 1e-5;

function instanceNorm(n: number, voxels: number, channels: number, relu: boolean, offset = 0): OpCase[] {
  const size = n * voxels * channels;
  const name = `[${n}, ${voxels}, ${channels}]${relu ? ', relu' : ''}${offset ? `, mean ${offset}` : ''}`;
  const raw = normal(size, 1, offset);
  const statistic = (which: 'mean' | 'rstd'): Source => ({
    size: n * channels,
    from: (inputs) => sampleStatistics(inputs[1]!, n, channels, epsilon)[which],
  });
  // Rounding the mean to float32 moves the result by offset * 2^-24.
  const common = { terms: voxels, conditioning: 1 + offset };
  return [
    {
      row: 'instance_norm_relu',
      name,
      attributes: { n, voxels, channels, relu: Number(relu), epsilon },
      inputs: [raw],
      outputs: [size, relu ? n * channels : null, relu ? n * channels : null],
      ...common,
    },
    {
      row: 'instance_norm_relu_grad',
      name,
      attributes: { n, voxels, channels, relu: Number(relu) },
      inputs: [normal(size), raw, statistic('mean'), statistic('rstd')],
      outputs: [size],
      ...common,
    },
  ];
}

function batchNorm(rows: number, channels: number, relu: boolean): OpCase[] {
  const size = rows * channels;
  const name = `[${rows}, ${channels}]${relu ? ', relu' : ''}`;
  const moments = (inputs: readonly Float64Array[], at: number) => {
    const x = inputs[at]!;
    const { mean } = sampleStatistics(x, 1, channels, 0);
    const variance = new Float64Array(channels);
    x.forEach((value, i) => {
      variance[i % channels]! += (value - mean[i % channels]!) ** 2 / rows;
    });
    return { mean, variance };
  };
  const common = { rows, channels, relu: Number(relu), epsilon };
  const forward = { row: 'batch_norm_relu', attributes: { ...common, training: 1 }, terms: rows } as const;
  const ofForward: OpCase['inputs'] = [normal(size, 2, 0.5), normal(channels), normal(channels), null, null];
  const gradient = { row: 'batch_norm_relu_grad', attributes: { ...common, averages: 0 }, terms: rows } as const;
  const ofGradient: OpCase['inputs'] = [
    normal(size),
    normal(size, 2, 0.5),
    normal(channels),
    normal(channels),
    { size: channels, from: (inputs) => moments(inputs, 1).mean },
    { size: channels, from: (inputs) => moments(inputs, 1).variance },
  ];
  return [
    { ...forward, name: `${name}, training`, inputs: ofForward, outputs: [size, channels, channels] },
    { ...forward, name: `${name}, statistics`, inputs: ofForward, outputs: [null, channels, channels] },
    {
      ...{ ...forward, name: `${name}, inference`, attributes: { ...common, training: 0 } },
      inputs: [...ofForward.slice(0, 3), normal(channels), positive(channels)],
      outputs: [size, null, null],
      terms: 1,
    },
    { ...gradient, name, inputs: [...ofGradient, null, null], outputs: [size, channels, channels] },
    { ...gradient, name: `${name}, sums`, inputs: [...ofGradient, null, null], outputs: [null, channels, channels] },
    {
      ...{ ...gradient, name: `${name}, part of a batch`, attributes: { ...common, averages: 1 } },
      inputs: [...ofGradient, normal(channels), normal(channels)],
      outputs: [size, null, null],
      terms: 1,
    },
  ];
}

function dynamicHead(n: number, prompts: number, voxels: number, width: number): OpCase[] {
  const count = 2 * width * width + 4 * width + 2;
  const name = `${n} samples, ${prompts} prompts, ${voxels} voxels, width ${width}`;
  const attributes = { n, prompts, voxels, width };
  const parameters = normal(n * prompts * count, 1 / Math.sqrt(width));
  const features = normal(n * voxels * width);
  return [
    {
      row: 'dynamic_head',
      name,
      attributes,
      inputs: [features, parameters],
      outputs: [n * prompts * voxels],
      terms: 3 * width,
    },
    {
      row: 'dynamic_head_grad',
      name,
      attributes,
      inputs: [normal(n * prompts * voxels), features, parameters],
      outputs: [n * voxels * width, n * prompts * count],
      terms: 3 * width + voxels,
    },
  ];
}

function overlap(count: number, target: Source, mask: Source | null, name: string, rows = 1): OpCase[] {
  const all = rows * count;
  const logits = normal(all, 3);
  const grad = (which: 'logits' | 'target' | 'both'): OpCase => ({
    row: 'overlap_sums_grad',
    name: `${name}, gradient of ${which}`,
    attributes: { rows, count },
    inputs: [rows === 1 ? explicit(0.7, -0.3, 0.2, 0.05, 11) : normal(5 * rows), logits, target, mask],
    outputs: [which === 'target' ? null : all, which === 'logits' ? null : all],
    terms: 4,
  });
  return [
    {
      row: 'overlap_sums',
      name,
      attributes: { rows, count },
      inputs: [logits, target, mask],
      outputs: [5 * rows],
      terms: count,
    },
    grad('logits'),
    grad('target'),
    grad('both'),
  ];
}

function aggregate(n: number, prompts: number, voxels: number, real: number, logits: Source, name: string): OpCase[] {
  const attributes = { n, prompts, voxels, real };
  return [
    { row: 'aggregate_max', name, attributes, inputs: [logits], outputs: [n * voxels], terms: 1 },
    {
      row: 'aggregate_max_grad',
      name,
      attributes,
      inputs: [normal(n * voxels), logits],
      outputs: [n * prompts * voxels],
      terms: 1,
    },
  ];
}

function optimizer(sizes: readonly number[], step: number): OpCase[] {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const name = `${sizes.length} parameters, ${total} elements, step ${step}`;
  const parameters = sizes.map((size) => normal(size));
  return [
    {
      row: 'pack_gradients',
      name,
      attributes: { size: sizes },
      // The second gradient is absent: zeros.
      inputs: sizes.map((size, i) => (i === 1 ? null : normal(size))),
      outputs: [total, 1],
      terms: total,
    },
    {
      row: 'adam_step',
      name,
      attributes: {
        learningRate: 1e-2,
        beta1: 0.5,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay: 1e-2,
        step,
        gradientScale: 0.25,
        size: sizes,
      },
      inputs: [normal(total)],
      outputs: [normal(total, 0.1), positive(total), ...parameters],
      terms: 4,
    },
    {
      row: 'sgd_step',
      name,
      attributes: { learningRate: 1e-2, momentum: 0.9, weightDecay: 1e-1, gradientScale: 0.25, size: sizes },
      inputs: [normal(total)],
      outputs: [normal(total), ...parameters],
      terms: 4,
    },
    {
      row: 'ema_step',
      name,
      attributes: { decay: 0.9, size: sizes },
      inputs: parameters,
      outputs: [normal(total)],
      terms: 2,
    },
  ];
}

/** The fused ops of the network, its losses and its optimiser. */
export const networkCases: readonly OpCase[] = [
  ...instanceNorm(2, 125, 3, true),
  ...instanceNorm(1, 343, 16, true),
  ...instanceNorm(3, 27, 32, false),
  ...instanceNorm(2, 8, 256, true),
  ...instanceNorm(1, 1, 5, true),
  ...instanceNorm(1, 20000, 17, true),
  ...instanceNorm(2, 1000, 8, true, 100),
  ...batchNorm(37, 16, true),
  ...batchNorm(4, 256, true),
  ...batchNorm(513, 5, false),
  ...batchNorm(20001, 17, true),
  ...dynamicHead(1, 1, 5, 8),
  ...dynamicHead(2, 5, 343, 8),
  ...dynamicHead(2, 3, 61, 4),
  ...dynamicHead(1, 2, 33, 16),
  ...dynamicHead(1, 5, 9001, 8),
  ...overlap(1, binary(1), null, 'one voxel'),
  ...overlap(343, binary(343), null, 'hard target'),
  ...overlap(2 * 729 + 5, uniform(2 * 729 + 5), binary(2 * 729 + 5), 'soft target, mask'),
  ...overlap(343, binary(3 * 343), null, 'three rows', 3),
  ...overlap(9000, uniform(18_000), binary(18_000), 'two rows of several pieces, soft target, mask', 2),
  ...overlap(200_003, binary(200_003), uniform(200_003), 'large, soft mask'),
  ...aggregate(2, 5, 343, 4, normal(2 * 5 * 343), '4 of 5 prompts'),
  ...aggregate(1, 1, 17, 1, normal(17), 'one prompt'),
  ...aggregate(1, 3, 4, 3, explicit(1, 2, 0, -1, 1, 2, 5, -1, 1, 0, 5, -1), 'ties'),
  ...aggregate(3, 3, 9001, 2, normal(3 * 3 * 9001), 'large'),
  ...optimizer([5, 7, 1], 1),
  ...optimizer([448, 16, 27 * 16 * 16, 3, 100_001], 10),
];
