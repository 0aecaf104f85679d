/**
 * The kernel table: the one definition of what crosses the boundary to a device (native addon or WebAssembly).
 * A call is (op code, buffers, attributes): buffers in the order `inputs` then `outputs`, id 0 where an optional one
 * (name ends with `?`) is absent; attributes are numbers in the order given, packed as one Float64Array. All buffers are
 * float32, row-major; tensors are NDHWC. `native/include/versemi/kernel_table.h` states the same codes (a test compares).
 * Names in brackets repeat: `size[n]` is n numbers.
 */

/**
 * Problem of the 3-D convolution family, always described as the *forward* convolution (TF.js conventions):
 * input [n, inD, inH, inW, inC], weight [kD, kH, kW, inC, outC], output [n, outD, outH, outW, outC], strides s*, and
 * pad* = zeros before the first voxel of each axis. A transposed convolution is the grad-input of this problem: it reads
 * a tensor of the *output* shape, writes one of the *input* shape, and its bias has inC elements.
 */
const convolution = [
  'n', 'inD', 'inH', 'inW', 'inC', 'outD', 'outH', 'outW', 'outC',
  'kD', 'kH', 'kW', 'sD', 'sH', 'sW', 'padD', 'padH', 'padW',
] as const; // biome-ignore format: one line per group

export interface KernelRow {
  readonly code: number;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: readonly string[];
}

export const kernelTable = {
  // --- convolution -------------------------------------------------------------------------------------------------
  /** output = conv(input, weight) + bias */
  conv3d_forward: { code: 1, inputs: ['input', 'weight', 'bias?'], outputs: ['output'], attributes: convolution },
  /** gradInput = conv^T(gradOutput, weight) + bias (the bias serves the transposed convolution; [inC]) */
  conv3d_grad_input: {
    code: 2,
    inputs: ['gradOutput', 'weight', 'bias?'],
    outputs: ['gradInput'],
    attributes: convolution,
  },
  /** gradWeight [kD, kH, kW, inC, outC]; gradBias [outC] = sum of gradOutput */
  conv3d_grad_weight: {
    code: 3,
    inputs: ['input', 'gradOutput'],
    outputs: ['gradWeight', 'gradBias?'],
    attributes: convolution,
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
    inputs: ['input', 'weight', 'skip?'],
    outputs: ['output', 'raw?', 'mean?', 'rstd?'],
    attributes: [...convolution, 'transposed', 'relu', 'epsilon'],
  },
  // --- normalisation -----------------------------------------------------------------------------------------------
  /** output = relu((input - mean) * rstd), input and output [n, voxels, channels]; mean?, rstd? [n, channels] */
  instance_norm_relu: {
    code: 5,
    inputs: ['input'],
    outputs: ['output', 'mean?', 'rstd?'],
    attributes: ['n', 'voxels', 'channels', 'relu', 'epsilon'],
  },
  /**
   * Gradient of instance_norm_relu with respect to `raw` (its input). With xhat = (raw - mean) * rstd and
   * g = gradOutput where (xhat > 0 or relu = 0), else 0: gradRaw = rstd * (g - avg(g) - xhat * avg(g * xhat)).
   */
  instance_norm_relu_grad: {
    code: 6,
    inputs: ['gradOutput', 'raw', 'mean', 'rstd'],
    outputs: ['gradRaw'],
    attributes: ['n', 'voxels', 'channels', 'relu'],
  },
  /**
   * Batch normalisation with affine over rows = samples * voxels, + ReLU (relu = 1). training = 1: mean and variance
   * (biased) are computed and written to mean [channels] and variance [channels] (both outputs then required);
   * training = 0: `movingMean` and `movingVariance` are used and mean/variance may be absent.
   */
  batch_norm_relu: {
    code: 7,
    inputs: ['input', 'gamma', 'beta', 'movingMean?', 'movingVariance?'],
    outputs: ['output', 'mean?', 'variance?'],
    attributes: ['rows', 'channels', 'training', 'relu', 'epsilon'],
  },
  /** Gradient of batch_norm_relu in training mode (statistics depend on the input). */
  batch_norm_relu_grad: {
    code: 8,
    inputs: ['gradOutput', 'input', 'gamma', 'beta', 'mean', 'variance'],
    outputs: ['gradInput', 'gradGamma', 'gradBeta'],
    attributes: ['rows', 'channels', 'relu', 'epsilon'],
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
    inputs: ['features', 'parameters'],
    outputs: ['logits'],
    attributes: ['n', 'prompts', 'voxels', 'width'],
  },
  /** Gradients of dynamic_head; hidden layers are recomputed. The two rows of W3/b3 get opposite gradients. */
  dynamic_head_grad: {
    code: 10,
    inputs: ['gradLogits', 'features', 'parameters'],
    outputs: ['gradFeatures', 'gradParameters'],
    attributes: ['n', 'prompts', 'voxels', 'width'],
  },
  // --- losses ------------------------------------------------------------------------------------------------------
  /**
   * Sums over all `count` elements that Dice and cross-entropy need, without storing probabilities. With mask m (1 where
   * absent), p = sigmoid(logit) * m, t = target * m:
   * sums = [sum p*t, sum p*p, sum t*t, sum m*(softplus(logit) - target*logit), sum m]; accumulated in double.
   */
  overlap_sums: { code: 11, inputs: ['logits', 'target', 'mask?'], outputs: ['sums'], attributes: ['count'] },
  /** Gradients of overlap_sums for gradSums [5] (the fifth is ignored): gradLogits, and gradTarget where it is wanted. */
  overlap_sums_grad: {
    code: 12,
    inputs: ['gradSums', 'logits', 'target', 'mask?'],
    outputs: ['gradLogits?', 'gradTarget?'],
    attributes: ['count'],
  },
  /** aggregate [n, voxels] = sigmoid(max over the first `real` prompts of logits [n, prompts, voxels]) */
  aggregate_max: {
    code: 13,
    inputs: ['logits'],
    outputs: ['aggregate'],
    attributes: ['n', 'prompts', 'voxels', 'real'],
  },
  /** Gradient to the first prompt that attains the maximum; zero elsewhere and for prompts >= real. */
  aggregate_max_grad: {
    code: 14,
    inputs: ['gradAggregate', 'logits'],
    outputs: ['gradLogits'],
    attributes: ['n', 'prompts', 'voxels', 'real'],
  },
  // --- optimiser ---------------------------------------------------------------------------------------------------
  /** Copies n gradients (0 = zeros) one after the other into `arena`; squaredNorm [1] = sum of squares (double inside). */
  pack_gradients: {
    code: 15,
    inputs: ['gradient?[n]'],
    outputs: ['arena', 'squaredNorm'],
    attributes: ['n', 'size[n]'],
  },
  /**
   * Adam (Kingma & Ba, 2015) over all parameters, in place; g = arena * gradientScale (+ weightDecay * w, decoupled:
   * w -= learningRate * weightDecay * w); step counts from 1: m, v bias-corrected, w -= lr * mhat / (sqrt(vhat) + epsilon).
   */
  adam_step: {
    code: 16,
    inputs: ['arena'],
    outputs: ['firstMoment', 'secondMoment', 'parameter[n]'],
    attributes: ['n', 'learningRate', 'beta1', 'beta2', 'epsilon', 'weightDecay', 'step', 'gradientScale', 'size[n]'],
  },
  /** average = decay * average + (1 - decay) * parameters, over an arena of all parameters. */
  ema_step: { code: 17, inputs: ['parameter[n]'], outputs: ['average'], attributes: ['n', 'decay', 'size[n]'] },
  // --- general tensor ops ------------------------------------------------------------------------------------------
  /** output[i] = f(input[i]), f by unaryKinds; parameter: leaky slope, clip bounds, or 0 */
  unary: {
    code: 20,
    inputs: ['input'],
    outputs: ['output'],
    attributes: ['kind', 'count', 'parameterA', 'parameterB'],
  },
  /** output = f(a, b), f by binaryKinds; strides in elements, 0 along broadcast axes; output is contiguous */
  binary: {
    code: 21,
    inputs: ['a', 'b'],
    outputs: ['output'],
    attributes: ['kind', 'rank', 'shape[rank]', 'aStride[rank]', 'bStride[rank]'],
  },
  /** input [outer, reduced, inner] -> output [outer, inner], by reduceKinds; sums accumulate in double */
  reduce: { code: 22, inputs: ['input'], outputs: ['output'], attributes: ['kind', 'outer', 'reduced', 'inner'] },
  /** output [batch, m, n] = op(a) op(b); op transposes the last two axes where asked; aStep, bStep: elements per batch (0 = shared) */
  matmul: {
    code: 23,
    inputs: ['a', 'b'],
    outputs: ['output'],
    attributes: ['batch', 'm', 'k', 'n', 'transposeA', 'transposeB', 'aStep', 'bStep'],
  },
  /** output axis i = input axis permutation[i] */
  transpose: {
    code: 24,
    inputs: ['input'],
    outputs: ['output'],
    attributes: ['rank', 'shape[rank]', 'permutation[rank]'],
  },
  slice: {
    code: 25,
    inputs: ['input'],
    outputs: ['output'],
    attributes: ['rank', 'shape[rank]', 'begin[rank]', 'size[rank]'],
  },
  pad: {
    code: 26,
    inputs: ['input'],
    outputs: ['output'],
    attributes: ['rank', 'shape[rank]', 'before[rank]', 'after[rank]', 'value'],
  },
  /** n inputs, each [outer, inner_i] -> output [outer, sum of inner_i] */
  concat: { code: 27, inputs: ['input[n]'], outputs: ['output'], attributes: ['n', 'outer', 'inner[n]'] },
  tile: { code: 28, inputs: ['input'], outputs: ['output'], attributes: ['rank', 'shape[rank]', 'repetitions[rank]'] },
  fill: { code: 29, inputs: [], outputs: ['output'], attributes: ['count', 'value'] },
  // --- patches -----------------------------------------------------------------------------------------------------
  /**
   * patches [n, d, h, w] out of `volumes`, [total] with volumes [sizeZ, sizeY, sizeX] anywhere in it; 0 outside of the volume.
   * Row i of `table` [n, 13]: offsetHigh, offsetLow (the volume begins at offsetHigh * 2^20 + offsetLow: float32 holds such
   * numbers exactly), sizeX, sizeY, sizeZ, beginX, beginY, beginZ, swapped, flipX, flipY, flipZ, lookup. Voxel (x, y, z) of
   * the patch is read at begin + (x, y, z), each mirrored within the patch where its flip is not 0; with swapped = 1 the
   * x axis of the patch runs along y of the volume and the other way round. With lookup >= 0 the value (a label) goes
   * through table `lookup` of `lookups` tables of 256; -1: as it is. Coordinates are data, so that a recorded call serves every
   * step. A row that is not a volume within `volumes` gives 0.
   */
  cut_patches: {
    code: 30,
    inputs: ['volumes', 'table', 'lookup?'],
    outputs: ['patches'],
    attributes: ['n', 'd', 'h', 'w', 'total', 'lookups'],
  },
  /**
   * CutMix: mixes [n, d, h, w] out of `patches` [sources, d, h, w]. Row i of `table` [n, 8]: outside, inside, beginX, beginY,
   * beginZ, sizeX, sizeY, sizeZ: patch `inside` in the box, patch `outside` elsewhere; -1 is a patch of 0, -2 one of 1.
   */
  cut_mix: {
    code: 31,
    inputs: ['patches', 'table'],
    outputs: ['mixes'],
    attributes: ['n', 'd', 'h', 'w', 'sources'],
  },
} as const satisfies Record<string, KernelRow>;

export type KernelName = keyof typeof kernelTable;

/** Order gives the number that crosses the boundary: append only. */
export const unaryKinds = [
  'identity', 'neg', 'abs', 'square', 'sqrt', 'rsqrt', 'reciprocal', 'exp', 'log', 'log1p', 'expm1', 'sigmoid',
  'tanh', 'relu', 'relu6', 'leakyRelu', 'elu', 'softplus', 'sign', 'floor', 'ceil', 'round', 'clip', 'step',
] as const; // biome-ignore format: list

export const binaryKinds = [
  'add', 'sub', 'mul', 'div', 'divNoNan', 'max', 'min', 'pow', 'squaredDifference',
] as const; // biome-ignore format: list

export const reduceKinds = ['sum', 'mean', 'max', 'min', 'prod'] as const;

/** Numbers in a row of the tables of `cut_patches` and `cut_mix`, and in a table of labels. */
export const patchRowLength = 13;
export const mixRowLength = 8;
export const lookupLength = 256;
