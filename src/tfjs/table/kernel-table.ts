/**
 * The kernel table: the one definition of what crosses the boundary to a device (native addon or WebAssembly). A call is (op
 * code, buffers, attributes): buffers in the order of `inputs`, then `outputs`, id 0 where an optional one is absent; attributes
 * are numbers in the order given here, packed as one Float64Array. All buffers are float32, row-major; tensors are NDHWC.
 *
 * `generate.mjs` writes a C++ header and an AssemblyScript file from this table at the start of every build, and the devices check
 * calls by it: nothing about an op is written twice by hand. Element counts and conditions are expressions, see expression.ts.
 */
import {
  type AttributeRule,
  atLeastZero,
  flag,
  inPlace,
  type KernelFamily,
  type KernelRow,
  kind,
  list,
  narrow,
  number,
  optional,
  repeated,
  whole,
} from './rules.js';

/** Order gives the number that crosses the boundary: append only. */
export const unaryKinds = [
  'identity', 'neg', 'abs', 'square', 'sqrt', 'rsqrt', 'reciprocal', 'exp', 'log', 'log1p', 'expm1', 'sigmoid',
  'tanh', 'relu', 'relu6', 'leakyRelu', 'elu', 'softplus', 'sign', 'floor', 'ceil', 'round', 'clip', 'step',
] as const; // biome-ignore format: list

export const binaryKinds = [
  'add', 'sub', 'mul', 'div', 'divNoNan', 'max', 'min', 'pow', 'squaredDifference',
] as const; // biome-ignore format: list

export const reduceKinds = ['sum', 'mean', 'max', 'min', 'prod'] as const;

/** Numbers in a row of the tables of `cut_patches` and `cut_mix`, and in a table of labels; what makes a whole in a label pair. */
export const patchRowLength = 13;
export const mixRowLength = 8;
export const lookupLength = 256;
export const pairShares = 510;

/** Numbers that expressions may name. */
export const constants = { patchRowLength, mixRowLength, lookupLength, pairShares } as const;

/** Sizes of kernels, strides, lengths of lists; far beyond anything that can run. */
const largestStep = 2 ** 20;
const largestRank = 8;
const step = whole(1, largestStep);
/** Along an axis of a convolution, and its channels: kernels count them in 32 bits. */
const axis = whole(1, 2 ** 31 - 1);
/** Number of the attributes or buffers that follow. */
const length = (low: number) => whole(low, largestStep);
const rank = whole(0, largestRank);

/** Attributes that several rows begin with, and the sizes that follow from them. */
export const families = {
  /**
   * Problem of the 3-D convolution family, always described as the *forward* convolution (TF.js conventions):
   * input [n, inD, inH, inW, inC], weight [kD, kH, kW, inC, outC], output [n, outD, outH, outW, outC], strides s*, and
   * pad* = zeros before the first voxel of each axis. A transposed convolution is the grad-input of this problem: it reads
   * a tensor of the *output* shape, writes one of the *input* shape, and its bias has inC elements.
   * A stride need not be larger than what leads from the first window past the axis: kernels work through as many positions as it
   * says, and the work of a call must follow from the sizes of its buffers.
   */
  convolution: {
    attributes: {
      n: axis, inD: axis, inH: axis, inW: axis, inC: axis,
      outD: axis, outH: axis, outW: axis, outC: axis,
      kD: step, kH: step, kW: step, sD: step, sH: step, sW: step,
      padD: whole(0, largestStep), padH: whole(0, largestStep), padW: whole(0, largestStep),
    }, // biome-ignore format: one line per group
    sizes: {
      inputSize: 'n * inD * inH * inW * inC',
      weightSize: 'kD * kH * kW * inC * outC',
      outputSize: 'n * outD * outH * outW * outC',
    },
    requires: [
      'padD < kD',
      'padH < kH',
      'padW < kW',
      'sD <= inD + padD',
      'sH <= inH + padH',
      'sW <= inW + padW',
      '(outD - 1) * sD - padD < inD',
      '(outH - 1) * sH - padH < inH',
      '(outW - 1) * sW - padW < inW',
    ],
  },
  instance_norm: {
    attributes: { n: whole(1), voxels: whole(1), channels: whole(1), relu: flag },
    sizes: { all: 'n * voxels * channels', statistics: 'n * channels' },
  },
  head: {
    attributes: { n: whole(1), prompts: whole(1), voxels: whole(1), width: whole(1, 4096) },
    sizes: {
      featureSize: 'n * voxels * width',
      parameterSize: 'n * prompts * (2 * width * width + 4 * width + 2)',
      logitSize: 'n * prompts * voxels',
    },
  },
  aggregate: {
    attributes: { n: whole(1), prompts: whole(1), voxels: whole(1), real: whole(1) },
    sizes: { logitSize: 'n * prompts * voxels', aggregateSize: 'n * voxels' },
    requires: ['real <= prompts'],
  },
} as const satisfies Record<string, KernelFamily>;

export const kernelTable = {
  // --- convolution -------------------------------------------------------------------------------------------------
  /** output = conv(input, weight) + bias */
  conv3d_forward: {
    code: 1,
    family: 'convolution',
    inputs: { input: narrow('inputSize'), weight: 'weightSize', bias: optional('outC') },
    outputs: { output: narrow('outputSize') },
  },
  /** gradInput = conv^T(gradOutput, weight) + bias (the bias serves the transposed convolution; [inC]) */
  conv3d_grad_input: {
    code: 2,
    family: 'convolution',
    inputs: { gradOutput: narrow('outputSize'), weight: 'weightSize', bias: optional('inC') },
    outputs: { gradInput: narrow('inputSize') },
  },
  /** gradWeight [kD, kH, kW, inC, outC]; gradBias [outC] = sum of gradOutput */
  conv3d_grad_weight: {
    code: 3,
    family: 'convolution',
    inputs: { input: narrow('inputSize'), gradOutput: narrow('outputSize') },
    outputs: { gradWeight: 'weightSize', gradBias: optional('outC') },
  },
  /**
   * Convolution (transposed = 1: transposed convolution) + instance normalisation without affine + ReLU (relu = 1)
   * + addition of `skip` after the ReLU, statistics per (sample, channel) over all voxels, biased variance:
   *   raw = conv(input); mean, rstd = stats(raw); output = relu((raw - mean) * rstd) + skip
   * The bias of the convolution cancels in the normalisation and is not passed. raw (shape of output), mean and
   * rstd ([n, channels]) are written when given (training) and scratch otherwise (inference).
   */
  conv3d_norm_relu: {
    code: 4,
    family: 'convolution',
    attributes: { transposed: flag, relu: flag, epsilon: atLeastZero },
    sizes: {
      sourceSize: 'transposed ? outputSize : inputSize',
      resultSize: 'transposed ? inputSize : outputSize',
      statistics: 'n * (transposed ? inC : outC)',
    },
    inputs: { input: narrow('sourceSize'), weight: 'weightSize', skip: narrow(optional('resultSize')) },
    outputs: {
      output: narrow('resultSize'),
      raw: narrow(optional('resultSize')),
      mean: optional('statistics'),
      rstd: optional('statistics'),
    },
  },
  // --- normalisation -----------------------------------------------------------------------------------------------
  /** output = relu((input - mean) * rstd), input and output [n, voxels, channels]; mean?, rstd? [n, channels] */
  instance_norm_relu: {
    code: 5,
    family: 'instance_norm',
    attributes: { epsilon: atLeastZero },
    inputs: { input: narrow('all') },
    outputs: { output: narrow('all'), mean: optional('statistics'), rstd: optional('statistics') },
  },
  /**
   * Gradient of instance_norm_relu with respect to `raw` (its input). With xhat = (raw - mean) * rstd and
   * g = gradOutput where (xhat > 0 or relu = 0), else 0: gradRaw = rstd * (g - avg(g) - xhat * avg(g * xhat)).
   */
  instance_norm_relu_grad: {
    code: 6,
    family: 'instance_norm',
    inputs: { gradOutput: narrow('all'), raw: narrow('all'), mean: 'statistics', rstd: 'statistics' },
    outputs: { gradRaw: narrow('all') },
  },
  /**
   * Batch normalisation with affine over rows = samples * voxels, + ReLU (relu = 1). training = 1: mean and variance
   * (biased) are computed and written to mean [channels] and variance [channels] (both outputs then required, `output` may be absent);
   * training = 0: `movingMean` and `movingVariance` are used and mean/variance may be absent.
   */
  batch_norm_relu: {
    code: 7,
    attributes: { rows: whole(1), channels: whole(1), training: flag, relu: flag, epsilon: atLeastZero },
    sizes: { all: 'rows * channels' },
    inputs: {
      input: narrow('all'),
      gamma: 'channels',
      beta: 'channels',
      movingMean: optional('channels', 'training'),
      movingVariance: optional('channels', 'training'),
    },
    outputs: {
      output: optional(narrow('all'), 'training'),
      mean: optional('channels', '1 - training'),
      variance: optional('channels', '1 - training'),
    },
  },
  /**
   * Gradient of batch_norm_relu in training mode (statistics depend on the input). With xhat = (input - mean) / sqrt(variance + epsilon)
   * and g = gradOutput where xhat * gamma + beta > 0 or relu = 0, else 0:
   * gradInput = gamma / sqrt(variance + epsilon) * (g - avg(g) - xhat * avg(g * xhat)), gradGamma = sum(g * xhat), gradBeta = sum(g).
   * averages = 0: both averages are over the rows; where `gradInput` is absent, the sums alone are computed.
   * averages = 1: the rows are part of a batch, whose averages are given: averageGradient = avg(g), averageProduct = avg(g * xhat).
   */
  batch_norm_relu_grad: {
    code: 8,
    attributes: { rows: whole(1), channels: whole(1), relu: flag, epsilon: atLeastZero, averages: flag },
    sizes: { all: 'rows * channels' },
    inputs: {
      gradOutput: narrow('all'),
      input: narrow('all'),
      gamma: 'channels',
      beta: 'channels',
      mean: 'channels',
      variance: 'channels',
      averageGradient: optional('channels', '1 - averages'),
      averageProduct: optional('channels', '1 - averages'),
    },
    outputs: {
      gradInput: optional(narrow('all'), '1 - averages'),
      gradGamma: optional('channels', 'averages'),
      gradBeta: optional('channels', 'averages'),
    },
  },
  // --- dynamic head ------------------------------------------------------------------------------------------------
  /**
   * Three 1x1x1 layers whose weights are generated per (sample, prompt), all prompts in one pass over the features:
   * features [n, voxels, width], parameters [n, prompts, 2*width*width + 2*width + 2*width + 2], logits [n, prompts, voxels].
   * Parameters hold W1 [width, width], W2 [width, width], W3 [2, width] (rows = outputs), then b1, b2 [width], b3 [2].
   * h1 = relu(W1 f + b1), h2 = relu(W2 h1 + b2), o = W3 h2 + b3; logit = o[1] - o[0], so that sigmoid(logit) is the
   * softmax of channel 1 (foreground). (162 parameters at width 8.)
   */
  dynamic_head: {
    code: 9,
    family: 'head',
    inputs: { features: narrow('featureSize'), parameters: 'parameterSize' },
    outputs: { logits: 'logitSize' },
  },
  /** Gradients of dynamic_head; hidden layers are recomputed. The two rows of W3/b3 get opposite gradients. */
  dynamic_head_grad: {
    code: 10,
    family: 'head',
    inputs: { gradLogits: 'logitSize', features: narrow('featureSize'), parameters: 'parameterSize' },
    outputs: { gradFeatures: narrow('featureSize'), gradParameters: 'parameterSize' },
  },
  // --- losses ------------------------------------------------------------------------------------------------------
  /**
   * Sums that Dice and cross-entropy need, without storing probabilities, for each row of [rows, count] by itself. With mask
   * m (1 where absent), p = sigmoid(logit) * m, t = target * m:
   * sums = [sum p*t, sum p*p, sum t*t, sum m*(softplus(logit) - target*logit), sum m]; accumulated in double.
   */
  overlap_sums: {
    code: 11,
    attributes: { rows: whole(), count: whole() },
    sizes: { all: 'rows * count' },
    inputs: { logits: 'all', target: 'all', mask: optional('all') },
    outputs: { sums: 'rows * 5' },
  },
  /** Gradients of overlap_sums for gradSums [rows, 5] (the fifth is ignored): gradLogits, and gradTarget where it is wanted. */
  overlap_sums_grad: {
    code: 12,
    attributes: { rows: whole(), count: whole() },
    sizes: { all: 'rows * count' },
    inputs: { gradSums: 'rows * 5', logits: 'all', target: 'all', mask: optional('all') },
    outputs: { gradLogits: optional('all'), gradTarget: optional('all') },
  },
  /** aggregate [n, voxels] = sigmoid(max over the first `real` prompts of logits [n, prompts, voxels]) */
  aggregate_max: {
    code: 13,
    family: 'aggregate',
    inputs: { logits: 'logitSize' },
    outputs: { aggregate: 'aggregateSize' },
  },
  /** Gradient to the first prompt that attains the maximum; zero elsewhere and for prompts >= real. */
  aggregate_max_grad: {
    code: 14,
    family: 'aggregate',
    inputs: { gradAggregate: 'aggregateSize', logits: 'logitSize' },
    outputs: { gradLogits: 'logitSize' },
  },
  // --- optimiser ---------------------------------------------------------------------------------------------------
  /** Copies n gradients (0 = zeros) one after the other into `arena`; squaredNorm [1] = sum of squares (double inside). */
  pack_gradients: {
    code: 15,
    attributes: { n: length(0), size: list('n') },
    inputs: { gradient: repeated('n', optional('size')) },
    outputs: { arena: inPlace('sum(size)'), squaredNorm: '1' },
  },
  /**
   * Adam (Kingma & Ba, 2015) over all parameters, in place; g = arena * gradientScale (+ weightDecay * w, decoupled:
   * w -= learningRate * weightDecay * w); step counts from 1: m, v bias-corrected, w -= lr * mhat / (sqrt(vhat) + epsilon).
   */
  adam_step: {
    code: 16,
    attributes: {
      n: length(0),
      learningRate: number,
      beta1: number,
      beta2: number,
      epsilon: number,
      weightDecay: number,
      step: whole(1),
      gradientScale: number,
      size: list('n'),
    },
    inputs: { arena: 'sum(size)' },
    outputs: {
      firstMoment: inPlace('sum(size)'),
      secondMoment: inPlace('sum(size)'),
      parameter: repeated('n', inPlace('size')),
    },
  },
  /**
   * Gradient descent with momentum (Sutskever et al., ICML 2013, as PyTorch's SGD writes it) over all parameters, in place; g =
   * arena * gradientScale + weightDecay * w: velocity = momentum * velocity + g, w -= learningRate * velocity.
   */
  sgd_step: {
    code: 18,
    attributes: {
      n: length(0),
      learningRate: number,
      momentum: number,
      weightDecay: number,
      gradientScale: number,
      size: list('n'),
    },
    inputs: { arena: 'sum(size)' },
    outputs: { velocity: inPlace('sum(size)'), parameter: repeated('n', inPlace('size')) },
  },
  /** average = decay * average + (1 - decay) * parameters, over an arena of all parameters. */
  ema_step: {
    code: 17,
    attributes: { n: length(0), decay: number, size: list('n') },
    inputs: { parameter: repeated('n', 'size') },
    outputs: { average: inPlace('sum(size)') },
  },
  // --- general tensor ops ------------------------------------------------------------------------------------------
  /** output[i] = f(input[i]), f by unaryKinds; parameter: leaky slope, clip bounds, or 0 */
  unary: {
    code: 20,
    attributes: { kind: kind(unaryKinds), count: whole(), parameterA: number, parameterB: number },
    inputs: { input: narrow('count') },
    outputs: { output: narrow('count') },
  },
  /** output = f(a, b), f by binaryKinds; strides in elements, 0 along broadcast axes; output is contiguous */
  binary: {
    code: 21,
    attributes: { kind: kind(binaryKinds), rank, shape: list('rank'), aStride: list('rank'), bStride: list('rank') },
    inputs: { a: narrow('extent(shape, aStride)'), b: narrow('extent(shape, bStride)') },
    outputs: { output: narrow('product(shape)') },
  },
  /** input [outer, reduced, inner] -> output [outer, inner], by reduceKinds; sums accumulate in double */
  reduce: {
    code: 22,
    attributes: { kind: kind(reduceKinds), outer: whole(), reduced: whole(), inner: whole() },
    inputs: { input: narrow('outer * reduced * inner') },
    outputs: { output: 'outer * inner' },
  },
  /** output [batch, m, n] = op(a) op(b); op transposes the last two axes where asked; aStep, bStep: elements per batch (0 = shared) */
  matmul: {
    code: 23,
    attributes: {
      batch: whole(),
      m: whole(),
      k: whole(),
      n: whole(),
      transposeA: flag,
      transposeB: flag,
      aStep: whole(),
      bStep: whole(),
    },
    inputs: { a: 'strided(batch, aStep, m * k)', b: 'strided(batch, bStep, k * n)' },
    outputs: { output: 'batch * m * n' },
  },
  /** output axis i = input axis permutation[i] */
  transpose: {
    code: 24,
    attributes: { rank, shape: list('rank'), permutation: list('rank') },
    requires: ['isPermutation(permutation)'],
    inputs: { input: narrow('product(shape)') },
    outputs: { output: narrow('product(shape)') },
  },
  slice: {
    code: 25,
    attributes: { rank, shape: list('rank'), begin: list('rank'), size: list('rank') },
    requires: ['isWithin(begin, size, shape)'],
    inputs: { input: narrow('product(shape)') },
    outputs: { output: narrow('product(size)') },
  },
  pad: {
    code: 26,
    attributes: { rank, shape: list('rank'), before: list('rank'), after: list('rank'), value: number },
    inputs: { input: narrow('product(shape)') },
    outputs: { output: narrow('productOfSums(shape, before, after)') },
  },
  /** n inputs, each [outer, inner_i] -> output [outer, sum of inner_i] */
  concat: {
    code: 27,
    attributes: { n: length(1), outer: whole(), inner: list('n') },
    inputs: { input: repeated('n', narrow('outer * inner')) },
    outputs: { output: narrow('outer * sum(inner)') },
  },
  tile: {
    code: 28,
    attributes: { rank, shape: list('rank'), repetitions: list('rank') },
    inputs: { input: narrow('product(shape)') },
    outputs: { output: narrow('product(shape) * product(repetitions)') },
  },
  fill: {
    code: 29,
    attributes: { count: whole(), value: number },
    inputs: {},
    outputs: { output: 'count' },
  },
  // --- patches -----------------------------------------------------------------------------------------------------
  /**
   * patches [n, d, h, w] out of `volumes`, [total] with volumes [sizeZ, sizeY, sizeX] anywhere in it; 0 outside of the volume.
   * Row i of `table` [n, 13]: offsetHigh, offsetLow (the volume begins at offsetHigh * 2^20 + offsetLow: float32 holds such
   * numbers exactly), sizeX, sizeY, sizeZ, beginX, beginY, beginZ, swapped, flipX, flipY, flipZ, lookup. Voxel (x, y, z) of
   * the patch is read at begin + (x, y, z), each mirrored within the patch where its flip is not 0; with swapped = 1 the
   * x axis of the patch runs along y of the volume and the other way round. With lookup >= 0 the value goes through table
   * `lookup` of `lookups` tables of 256: a label, or a pair of labels first + 256 second + 65536 share < 2^24, which becomes
   * (1 - share / 510) of the entry of the first and share / 510 of that of the second; what is neither becomes 0. -1: as it is. Coordinates are data, so that a recorded call serves every
   * step. A row that is not a volume within `volumes` gives 0.
   */
  cut_patches: {
    code: 30,
    attributes: { n: whole(), d: whole(), h: whole(), w: whole(), total: whole(), lookups: whole() },
    inputs: {
      volumes: 'total',
      table: 'n * patchRowLength',
      lookup: optional('lookups * lookupLength', 'lookups == 0'),
    },
    outputs: { patches: 'n * d * h * w' },
  },
  /**
   * CutMix: mixes [n, d, h, w] out of `patches` [sources, d, h, w]. Row i of `table` [n, 8]: outside, inside, beginX, beginY,
   * beginZ, sizeX, sizeY, sizeZ: patch `inside` in the box, patch `outside` elsewhere; -1 is a patch of 0, -2 one of 1.
   */
  cut_mix: {
    code: 31,
    attributes: { n: whole(), d: whole(), h: whole(), w: whole(), sources: whole() },
    inputs: { patches: 'sources * d * h * w', table: 'n * mixRowLength' },
    outputs: { mixes: 'n * d * h * w' },
  },
} as const satisfies Record<string, KernelRow>;

type Table = typeof kernelTable;
export type KernelName = keyof Table;

type OwnAttributes<Row> = Row extends { attributes: infer Attributes } ? Attributes : unknown;
type FamilyAttributes<Row> = Row extends { family: infer Name extends keyof typeof families }
  ? (typeof families)[Name]['attributes']
  : unknown;
type Rules<Name extends KernelName> = FamilyAttributes<Table[Name]> & OwnAttributes<Table[Name]>;

/** Attributes that say how long lists are: they follow from the lists. */
type Lengths<Name extends KernelName> = {
  [Key in keyof Rules<Name>]: Rules<Name>[Key] extends { readonly is: 'list'; readonly length: infer Length }
    ? Length
    : never;
}[keyof Rules<Name>];

/** The attributes of a row by name: numbers, and lists where the row has lists. Lengths of lists are left out. */
export type AttributeValues<Name extends KernelName> = {
  readonly [Key in Exclude<keyof Rules<Name>, Lengths<Name>>]: Rules<Name>[Key] extends { readonly is: 'list' }
    ? readonly number[]
    : number;
};

/** Rules of all attributes of a row, in the order in which attributes cross the boundary. */
export function attributeRules(name: KernelName): Readonly<Record<string, AttributeRule>> {
  const row: KernelRow = kernelTable[name];
  return { ...(row.family === undefined ? {} : familyOf(row.family).attributes), ...row.attributes };
}

export function familyOf(name: string): KernelFamily {
  return families[name as keyof typeof families];
}
