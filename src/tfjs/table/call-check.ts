/**
 * What a call of the kernel table must look like before the device wasm runs it: whole numbers where whole numbers belong,
 * and how many elements every buffer needs. WebAssembly would write wherever a wrong size leads, so nothing runs unchecked.
 */
import {
  binaryKinds,
  type KernelName,
  lookupLength,
  mixRowLength,
  patchRowLength,
  reduceKinds,
  unaryKinds,
} from './kernel-table.js';

/** A buffer that a call needs. */
export interface BufferNeed {
  readonly name: string;
  /** float32 elements, at least. */
  readonly elements: number;
  readonly optional: boolean;
}

/** Why attributes do not describe a call. */
export class CallError extends Error {
  constructor(
    readonly field: string,
    readonly expected: string,
    readonly found: string,
  ) {
    super(`${field}: expected ${expected}, found ${found}`);
  }
}

/** Products of sizes stay exact in double, and 64-bit in WebAssembly, up to here; memory ends far below. */
const largestCount = 2 ** 46;
const largestRank = 8;
/** Kernel sizes, strides and list lengths; far beyond anything that can run. */
const largestStep = 2 ** 20;
const largestWidth = 4096;

/** Reads attributes in order and collects the buffers' needs in order. */
class CallReader {
  readonly needed: BufferNeed[] = [];
  private next = 0;

  constructor(private readonly attributes: ArrayLike<number>) {}

  number(name: string): number {
    if (this.next === this.attributes.length)
      throw new CallError(`attribute ${name}`, 'a number', `only ${this.attributes.length} attributes`);
    return this.attributes[this.next++]!;
  }

  whole(name: string, low: number, high = largestCount): number {
    const value = this.number(name);
    if (!Number.isInteger(value) || value < low || value > high)
      throw new CallError(`attribute ${name}`, `a whole number from ${low} to ${high}`, String(value));
    return value;
  }

  flag(name: string): boolean {
    return this.whole(name, 0, 1) === 1;
  }

  epsilon(): void {
    const value = this.number('epsilon');
    if (!(value >= 0)) throw new CallError('attribute epsilon', 'a number >= 0', String(value));
  }

  list(name: string, length: number, low = 0): number[] {
    return Array.from({ length }, () => this.whole(name, low));
  }

  shape(): number[] {
    return this.list('shape', this.whole('rank', 0, largestRank));
  }

  /** Length of a list that follows in the attributes. */
  count(low: number): number {
    return this.whole('n', low, largestStep);
  }

  needs(name: string, elements: number, optional = false): void {
    this.needed.push({ name, elements, optional });
  }

  takes(name: string, elements: number): void {
    this.needs(name, elements, true);
  }

  finish(): BufferNeed[] {
    if (this.next !== this.attributes.length)
      throw new CallError('attributes', `${this.next} numbers`, String(this.attributes.length));
    return this.needed;
  }
}

function product(factors: readonly number[]): number {
  return factors.reduce((result, factor) => result * factor, 1);
}

function sum(terms: readonly number[]): number {
  return terms.reduce((result, term) => result + term, 0);
}

interface ConvolutionSizes {
  readonly n: number;
  readonly inC: number;
  readonly outC: number;
  readonly input: number;
  readonly weight: number;
  readonly output: number;
}

function readConvolution(call: CallReader): ConvolutionSizes {
  const axes = ['D', 'H', 'W'];
  const n = call.whole('n', 1);
  const inSize = axes.map((axis) => call.whole(`in${axis}`, 1));
  const inC = call.whole('inC', 1);
  const outSize = axes.map((axis) => call.whole(`out${axis}`, 1));
  const outC = call.whole('outC', 1);
  const kernel = axes.map((axis) => call.whole(`k${axis}`, 1, largestStep));
  const stride = axes.map((axis) => call.whole(`s${axis}`, 1, largestStep));
  const pad = axes.map((axis, i) => call.whole(`pad${axis}`, 0, kernel[i]! - 1));
  for (let i = 0; i < 3; i++) {
    const last = (outSize[i]! - 1) * stride[i]! - pad[i]!;
    if (last >= inSize[i]!)
      throw new CallError(`attribute out${axes[i]}`, 'windows that touch the input', `one from voxel ${last}`);
  }
  return {
    n,
    inC,
    outC,
    input: product([n, ...inSize, inC]),
    weight: product([...kernel, inC, outC]),
    output: product([n, ...outSize, outC]),
  };
}

function headSizes(call: CallReader): { features: number; parameters: number; logits: number } {
  const n = call.whole('n', 1);
  const prompts = call.whole('prompts', 1);
  const voxels = call.whole('voxels', 1);
  const width = call.whole('width', 1, largestWidth);
  return {
    features: n * voxels * width,
    parameters: n * prompts * (2 * width * width + 4 * width + 2),
    logits: n * prompts * voxels,
  };
}

function aggregateSizes(call: CallReader): { logits: number; aggregate: number } {
  const n = call.whole('n', 1);
  const prompts = call.whole('prompts', 1);
  const voxels = call.whole('voxels', 1);
  call.whole('real', 1, prompts);
  return { logits: n * prompts * voxels, aggregate: n * voxels };
}

/** Index of the last element of a strided view, plus 1. */
function extent(shape: readonly number[], strides: readonly number[]): number {
  return shape.includes(0) ? 0 : 1 + sum(shape.map((size, i) => (size - 1) * strides[i]!));
}

type Rule = (call: CallReader) => void;

const convolutionRules = {
  conv3d_forward(call) {
    const { input, weight, output, outC } = readConvolution(call);
    call.needs('input', input);
    call.needs('weight', weight);
    call.takes('bias', outC);
    call.needs('output', output);
  },
  conv3d_grad_input(call) {
    const { input, weight, output, inC } = readConvolution(call);
    call.needs('gradOutput', output);
    call.needs('weight', weight);
    call.takes('bias', inC);
    call.needs('gradInput', input);
  },
  conv3d_grad_weight(call) {
    const { input, weight, output, outC } = readConvolution(call);
    call.needs('input', input);
    call.needs('gradOutput', output);
    call.needs('gradWeight', weight);
    call.takes('gradBias', outC);
  },
  conv3d_norm_relu(call) {
    const { n, input, weight, output, inC, outC } = readConvolution(call);
    const transposed = call.flag('transposed');
    call.flag('relu');
    call.epsilon();
    const result = transposed ? input : output;
    const channels = n * (transposed ? inC : outC);
    call.needs('input', transposed ? output : input);
    call.needs('weight', weight);
    call.takes('skip', result);
    call.needs('output', result);
    call.takes('raw', result);
    call.takes('mean', channels);
    call.takes('rstd', channels);
  },
} satisfies Record<string, Rule>;

function batchNormSizes(call: CallReader): [all: number, channels: number] {
  const rows = call.whole('rows', 1);
  const channels = call.whole('channels', 1);
  return [rows * channels, channels];
}

function instanceNormSizes(call: CallReader): [all: number, statistics: number] {
  const n = call.whole('n', 1);
  const voxels = call.whole('voxels', 1);
  const channels = call.whole('channels', 1);
  call.flag('relu');
  return [n * voxels * channels, n * channels];
}

const normalizationRules = {
  instance_norm_relu(call) {
    const [all, statistics] = instanceNormSizes(call);
    call.epsilon();
    for (const name of ['input', 'output']) call.needs(name, all);
    for (const name of ['mean', 'rstd']) call.takes(name, statistics);
  },
  instance_norm_relu_grad(call) {
    const [all, statistics] = instanceNormSizes(call);
    for (const name of ['gradOutput', 'raw']) call.needs(name, all);
    for (const name of ['mean', 'rstd']) call.needs(name, statistics);
    call.needs('gradRaw', all);
  },
  batch_norm_relu(call) {
    const [all, channels] = batchNormSizes(call);
    const training = call.flag('training');
    call.flag('relu');
    call.epsilon();
    call.needs('input', all);
    for (const name of ['gamma', 'beta']) call.needs(name, channels);
    for (const name of ['movingMean', 'movingVariance']) call.needs(name, channels, training);
    call.needs('output', all);
    for (const name of ['mean', 'variance']) call.needs(name, channels, !training);
  },
  batch_norm_relu_grad(call) {
    const [all, channels] = batchNormSizes(call);
    call.flag('relu');
    call.epsilon();
    for (const name of ['gradOutput', 'input']) call.needs(name, all);
    for (const name of ['gamma', 'beta', 'mean', 'variance']) call.needs(name, channels);
    call.needs('gradInput', all);
    for (const name of ['gradGamma', 'gradBeta']) call.needs(name, channels);
  },
} satisfies Record<string, Rule>;

const networkRules = {
  dynamic_head(call) {
    const { features, parameters, logits } = headSizes(call);
    call.needs('features', features);
    call.needs('parameters', parameters);
    call.needs('logits', logits);
  },
  dynamic_head_grad(call) {
    const { features, parameters, logits } = headSizes(call);
    call.needs('gradLogits', logits);
    for (const name of ['features', 'gradFeatures'] as const) {
      call.needs(name, features);
      call.needs(name === 'features' ? 'parameters' : 'gradParameters', parameters);
    }
  },
  overlap_sums(call) {
    const count = call.whole('count', 0);
    for (const name of ['logits', 'target']) call.needs(name, count);
    call.takes('mask', count);
    call.needs('sums', 5);
  },
  overlap_sums_grad(call) {
    const count = call.whole('count', 0);
    call.needs('gradSums', 5);
    for (const name of ['logits', 'target']) call.needs(name, count);
    for (const name of ['mask', 'gradLogits', 'gradTarget']) call.takes(name, count);
  },
  aggregate_max(call) {
    const { logits, aggregate } = aggregateSizes(call);
    call.needs('logits', logits);
    call.needs('aggregate', aggregate);
  },
  aggregate_max_grad(call) {
    const { logits, aggregate } = aggregateSizes(call);
    call.needs('gradAggregate', aggregate);
    for (const name of ['logits', 'gradLogits']) call.needs(name, logits);
  },
  pack_gradients(call) {
    const sizes = call.list('size', call.count(0));
    for (const size of sizes) call.takes('gradient', size);
    call.needs('arena', sum(sizes));
    call.needs('squaredNorm', 1);
  },
  adam_step(call) {
    const n = call.count(0);
    for (const name of ['learningRate', 'beta1', 'beta2', 'epsilon', 'weightDecay']) call.number(name);
    call.whole('step', 1);
    call.number('gradientScale');
    const sizes = call.list('size', n);
    for (const name of ['arena', 'firstMoment', 'secondMoment']) call.needs(name, sum(sizes));
    for (const size of sizes) call.needs('parameter', size);
  },
  ema_step(call) {
    const n = call.count(0);
    call.number('decay');
    const sizes = call.list('size', n);
    for (const size of sizes) call.needs('parameter', size);
    call.needs('average', sum(sizes));
  },
} satisfies Record<string, Rule>;

const tensorRules = {
  unary(call) {
    call.whole('kind', 0, unaryKinds.length - 1);
    const count = call.whole('count', 0);
    for (const name of ['parameterA', 'parameterB']) call.number(name);
    for (const name of ['input', 'output']) call.needs(name, count);
  },
  binary(call) {
    call.whole('kind', 0, binaryKinds.length - 1);
    const shape = call.shape();
    for (const name of ['a', 'b']) call.needs(name, extent(shape, call.list(`${name}Stride`, shape.length)));
    call.needs('output', product(shape));
  },
  reduce(call) {
    call.whole('kind', 0, reduceKinds.length - 1);
    const [outer, reduced, inner] = ['outer', 'reduced', 'inner'].map((name) => call.whole(name, 0)) as number[];
    call.needs('input', outer! * reduced! * inner!);
    call.needs('output', outer! * inner!);
  },
  matmul(call) {
    const [batch, m, k, n] = ['batch', 'm', 'k', 'n'].map((name) => call.whole(name, 0)) as number[];
    for (const name of ['transposeA', 'transposeB']) call.flag(name);
    for (const [name, size] of [
      ['a', m! * k!],
      ['b', k! * n!],
    ] as const) {
      const step = call.whole(`${name}Step`, 0);
      call.needs(name, batch === 0 || size === 0 ? 0 : (batch! - 1) * step + size);
    }
    call.needs('output', batch! * m! * n!);
  },
  transpose(call) {
    const shape = call.shape();
    const permutation = call.list('permutation', shape.length);
    if (!shape.every((_, axis) => permutation.includes(axis)))
      throw new CallError('attribute permutation', 'every axis once', permutation.join(', '));
    for (const name of ['input', 'output']) call.needs(name, product(shape));
  },
  slice(call) {
    const shape = call.shape();
    const begin = call.list('begin', shape.length);
    const size = call.list('size', shape.length);
    for (let i = 0; i < shape.length; i++) {
      if (begin[i]! + size[i]! > shape[i]!)
        throw new CallError('attribute size', `at most ${shape[i]! - begin[i]!} on axis ${i}`, String(size[i]));
    }
    call.needs('input', product(shape));
    call.needs('output', product(size));
  },
  pad(call) {
    const shape = call.shape();
    const before = call.list('before', shape.length);
    const after = call.list('after', shape.length);
    call.number('value');
    call.needs('input', product(shape));
    call.needs('output', product(shape.map((size, i) => size + before[i]! + after[i]!)));
  },
  concat(call) {
    const n = call.count(1);
    const outer = call.whole('outer', 0);
    const inner = call.list('inner', n);
    for (const size of inner) call.needs('input', outer * size);
    call.needs('output', outer * sum(inner));
  },
  tile(call) {
    const shape = call.shape();
    const repetitions = call.list('repetitions', shape.length);
    call.needs('input', product(shape));
    call.needs('output', product(shape) * product(repetitions));
  },
  fill(call) {
    const count = call.whole('count', 0);
    call.number('value');
    call.needs('output', count);
  },
  cut_patches(call) {
    const [n, d, h, w, total, lookups] = ['n', 'd', 'h', 'w', 'total', 'lookups'].map((name) => call.whole(name, 0));
    call.needs('volumes', total!);
    call.needs('table', n! * patchRowLength);
    if (lookups! > 0) call.needs('lookup', lookups! * lookupLength);
    else call.takes('lookup', 0);
    call.needs('patches', n! * d! * h! * w!);
  },
  cut_mix(call) {
    const [n, d, h, w, sources] = ['n', 'd', 'h', 'w', 'sources'].map((name) => call.whole(name, 0));
    call.needs('patches', sources! * d! * h! * w!);
    call.needs('table', n! * mixRowLength);
    call.needs('mixes', n! * d! * h! * w!);
  },
} satisfies Record<string, Rule>;

const rules: Record<KernelName, Rule> = { ...convolutionRules, ...normalizationRules, ...networkRules, ...tensorRules };

/**
 * The buffers of a call, inputs then outputs.
 * @throws CallError where the attributes do not describe a call
 */
export function bufferNeeds(kernel: KernelName, attributes: ArrayLike<number>): BufferNeed[] {
  const rule = rules[kernel];
  if (rule === undefined) throw new CallError('kernel', 'a row of the kernel table', String(kernel));
  const call = new CallReader(attributes);
  rule(call);
  return call.finish();
}
