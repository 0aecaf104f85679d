import * as tf from '#tfjs';
import {
  aggregateMax,
  batchNormRelu,
  conv3dNormRelu,
  dynamicHead,
  dynamicHeadParameterCount,
  instanceNormRelu,
  overlapSums,
  overlapSumsOfRows,
} from '../ops/index.js';
import type { GraphCase } from './graph-case.js';

const t1 = (x: tf.Tensor) => x as tf.Tensor1D;
const t5 = (x: tf.Tensor) => x as tf.Tensor5D;

/** TF.js's own ops that the kernel table serves. */
const tensorGraphs: readonly GraphCase[] = [
  {
    name: 'conv3d, same',
    shapes: [
      [2, 5, 6, 7, 3],
      [3, 3, 3, 3, 4],
    ],
    f: (x: tf.Tensor5D, w: tf.Tensor5D) => tf.conv3d(x, w, 1, 'same'),
    terms: 500,
  },
  {
    name: 'conv3d, valid, strides',
    shapes: [
      [1, 6, 7, 8, 2],
      [2, 3, 2, 2, 5],
    ],
    f: (x: tf.Tensor5D, w: tf.Tensor5D) => tf.conv3d(x, w, [2, 1, 2], 'valid'),
  },
  {
    name: 'conv3d, one image without batch axis',
    shapes: [
      [4, 5, 6, 2],
      [3, 3, 3, 2, 3],
    ],
    f: (x: tf.Tensor4D, w: tf.Tensor5D) => tf.conv3d(x, w, 1, 'same'),
    terms: 120,
  },
  {
    name: 'conv3dTranspose',
    shapes: [
      [2, 3, 4, 2, 6],
      [2, 2, 2, 3, 6],
    ],
    f: (x: tf.Tensor5D, w: tf.Tensor5D) => tf.conv3dTranspose(x, w, [2, 6, 8, 4, 3], 2, 'same'),
  },
  {
    name: 'arithmetic with broadcasting',
    shapes: [[2, 3, 4], [4], [3, 1], []],
    f: (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor) =>
      tf.sub(tf.mul(tf.add(a, b), c), tf.squaredDifference(tf.mul(b, d), b)),
  },
  {
    name: 'div, pow, maximum, minimum',
    shapes: [
      [3, 5],
      [3, 5],
    ],
    positive: true,
    f: (a: tf.Tensor, b: tf.Tensor) => [tf.div(a, b), tf.pow(a, b), tf.maximum(a, b), tf.minimum(a, b)],
    // Gradients of maximum, minimum and pow select by comparison.
    delegates: true,
  },
  {
    name: 'addN',
    shapes: [
      [3, 4],
      [3, 4],
      [3, 4],
    ],
    f: (...xs: tf.Tensor[]) => tf.addN(xs),
  },
  {
    name: 'unary ops of any number',
    shapes: [[33]],
    f: (x: tf.Tensor) => [
      tf.neg(x),
      tf.square(x),
      tf.exp(x),
      tf.expm1(x),
      tf.sigmoid(x),
      tf.tanh(x),
      tf.relu(x),
      tf.softplus(x),
      tf.abs(x),
    ],
  },
  {
    name: 'unary ops of positive numbers',
    shapes: [[33]],
    positive: true,
    f: (x: tf.Tensor) => [tf.sqrt(x), tf.rsqrt(x), tf.reciprocal(x), tf.log(x), tf.log1p(x)],
  },
  {
    name: 'unary ops without useful gradient',
    shapes: [[33]],
    differentiable: false,
    f: (x: tf.Tensor) => [
      tf.sign(x),
      tf.floor(x),
      tf.ceil(x),
      tf.round(x),
      tf.step(x, 0.5),
      tf.relu6(x),
      tf.leakyRelu(x, 0.1),
      tf.elu(x),
      tf.clipByValue(x, -0.5, 0.5),
    ],
  },
  {
    name: 'sum, mean over any axes',
    shapes: [[2, 3, 4, 5]],
    f: (x: tf.Tensor) => [
      tf.sum(x),
      tf.sum(x, 1),
      tf.mean(x, [0, 2]),
      tf.sum(x, [1, 3], true),
      tf.mean(x, [2, 3]),
      tf.mean(x, -1, true),
    ],
  },
  {
    name: 'max, min, prod over any axes',
    shapes: [[2, 3, 4]],
    differentiable: false,
    f: (x: tf.Tensor) => [tf.max(x), tf.max(x, [0, 2]), tf.min(x, 1), tf.prod(x, 2), tf.min(x, 0, true)],
  },
  {
    name: 'matMul',
    shapes: [
      [3, 4, 5],
      [3, 6, 5],
      [1, 5, 2],
    ],
    f: (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => [
      tf.matMul(a, b, false, true),
      tf.matMul(tf.reshape(a, [12, 5]), tf.reshape(c, [5, 2])),
    ],
  },
  {
    name: 'matMul, one factor shared by the batch',
    shapes: [
      [3, 4, 5],
      [1, 5, 2],
    ],
    differentiable: false,
    f: (a: tf.Tensor, c: tf.Tensor) => tf.matMul(a, c),
  },
  {
    name: 'transpose, slice, pad, concat, tile, stack, unstack, split',
    shapes: [
      [2, 3, 4],
      [2, 3, 4],
    ],
    f: (a: tf.Tensor3D, b: tf.Tensor3D) => [
      tf.transpose(a, [2, 0, 1]),
      tf.transpose(a, [0, 1, 2]),
      tf.slice(a, [0, 1, 1], [2, 2, -1]),
      tf.pad(a, [
        [0, 1],
        [2, 0],
        [1, 1],
      ]),
      tf.concat([a, b], 1),
      tf.concat([a], 2),
      tf.tile(a, [1, 2, 3]),
      tf.stack([a, b], 1),
      ...tf.unstack(a, 1),
      ...tf.split(b, [1, 3], 2),
    ],
  },
  {
    name: 'reshape, squeeze, expandDims, clone, cast, zerosLike, onesLike',
    shapes: [[2, 1, 6]],
    f: (x: tf.Tensor) => [
      tf.reshape(x, [3, -1]),
      tf.squeeze(x),
      tf.expandDims(x, -1),
      tf.clone(x),
      tf.cast(x, 'float32'),
      tf.mul(x, tf.zerosLike(x)),
      tf.mul(x, tf.onesLike(x)),
      tf.mul(x, tf.fill([2, 1, 6], 3)),
    ],
  },
  {
    name: 'chained methods',
    shapes: [[2, 3]],
    f: (x: tf.Tensor) => x.mul(2).add(x.square()).sum(1),
  },
];

/** Kernels outside the table: they must give the same through the delegate. */
const delegatedGraphs: readonly GraphCase[] = [
  {
    name: 'softmax, where, gather, oneHot, argMax',
    shapes: [[4, 5]],
    delegates: true,
    differentiable: false,
    f: (x: tf.Tensor) => [
      tf.softmax(x),
      tf.where(tf.greater(x, 0), x, tf.neg(x)),
      tf.gather(x, tf.tensor1d([3, 1], 'int32')),
      tf.cast(tf.oneHot(tf.cast(tf.argMax(x, 1), 'int32'), 5), 'float32'),
    ],
  },
  {
    name: 'dilated conv3d',
    shapes: [
      [1, 7, 7, 7, 2],
      [2, 2, 2, 2, 3],
    ],
    delegates: true,
    differentiable: false,
    f: (x: tf.Tensor5D, w: tf.Tensor5D) => tf.conv3d(x, w, 1, 'valid', 'NDHWC', 2),
  },
  {
    name: 'complex numbers',
    shapes: [[2, 8]],
    delegates: true,
    differentiable: false,
    f: (x: tf.Tensor) => {
      const spectrum = tf.fft(tf.complex(x, tf.mul(x, 2)));
      return [tf.real(spectrum), tf.imag(tf.ifft(spectrum))];
    },
  },
  {
    name: 'integers, empty tensors, conv2d',
    shapes: [[2, 4, 4, 3]],
    delegates: true,
    f: (x: tf.Tensor4D) => [
      tf.mul(x, tf.cast(tf.add(tf.range(0, 3, 1, 'int32'), 1), 'float32')),
      tf.concat([tf.zeros([0, 4, 4, 3]), x]),
      tf.conv2d(x, tf.ones([3, 3, 3, 2]) as tf.Tensor4D, 1, 'same'),
    ],
  },
];

const width = 4;
/** [n, d, h, w, 1] -> [n, d, h, w, channels of `first`]: down by `down`, up by `up`, the skip connection added. */
export function encoderDecoder(
  x: tf.Tensor5D,
  first: tf.Tensor5D,
  down: tf.Tensor5D,
  up: tf.Tensor5D,
  gamma: tf.Tensor1D,
  beta: tf.Tensor1D,
): tf.Tensor {
  const a = conv3dNormRelu(x, first, null);
  const b = conv3dNormRelu(a, down, null, { stride: 2 });
  const c = conv3dNormRelu(b, up, null, { stride: 2, transposed: true, skip: a });
  return batchNormRelu(c, gamma, beta, { training: true }).output;
}

const headParameters = dynamicHeadParameterCount(width);

/** Ops of ops.ts. */
const networkGraphs: readonly GraphCase[] = [
  {
    name: 'conv3dNormRelu',
    shapes: [[2, 5, 4, 6, 3], [3, 3, 3, 3, 8], [8]],
    f: (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D) => conv3dNormRelu(x, w, b),
    terms: 500,
  },
  {
    name: 'conv3dNormRelu, stride 2, skip, no relu',
    shapes: [
      [1, 6, 4, 6, 3],
      [2, 2, 2, 3, 5],
      [1, 3, 2, 3, 5],
    ],
    f: (x: tf.Tensor5D, w: tf.Tensor5D, skip: tf.Tensor5D) =>
      conv3dNormRelu(x, w, null, { stride: 2, skip, relu: false }),
  },
  {
    name: 'conv3dNormRelu, transposed, skip',
    shapes: [[2, 5, 4, 6, 6], [2, 2, 2, 4, 6], [4], [2, 10, 8, 12, 4]],
    f: (x: tf.Tensor5D, w: tf.Tensor5D, b: tf.Tensor1D, skip: tf.Tensor5D) =>
      conv3dNormRelu(x, w, b, { stride: 2, transposed: true, skip }),
    terms: 500,
  },
  { name: 'instanceNormRelu', shapes: [[2, 3, 4, 5, 3]], f: (x: tf.Tensor5D) => instanceNormRelu(x) },
  {
    name: 'batchNormRelu, training',
    shapes: [[2, 3, 4, 5, 3], [3], [3]],
    f: (x: tf.Tensor5D, gamma: tf.Tensor1D, beta: tf.Tensor1D) =>
      batchNormRelu(x, gamma, beta, { training: true }).output,
    terms: 120,
  },
  {
    name: 'batchNormRelu, inference',
    shapes: [[2, 30, 3], [3], [3]],
    f: (x: tf.Tensor3D, gamma: tf.Tensor1D, beta: tf.Tensor1D) =>
      batchNormRelu(x, gamma, beta, {
        training: false,
        movingMean: tf.tensor1d([0.1, -0.2, 0.3]),
        movingVariance: tf.tensor1d([0.5, 1, 2]),
      }).output,
    terms: 120,
  },
  {
    name: 'dynamicHead',
    // Voxels enough that one value on the other side of a ReLU does not decide a gradient (check-graph.ts).
    shapes: [
      [2, 6, 8, 7, width],
      [2, 3, headParameters],
    ],
    terms: 336,
    f: (features: tf.Tensor5D, parameters: tf.Tensor3D) => dynamicHead(features, parameters),
  },
  {
    name: 'aggregateMax',
    shapes: [[2, 4, 3, 2, 3]],
    f: (logits: tf.Tensor5D) => aggregateMax(logits, 3),
  },
  {
    name: 'overlapSums, target and mask',
    shapes: [
      [2, 3, 4],
      [2, 3, 4],
    ],
    f: (logits: tf.Tensor, target: tf.Tensor) => [
      overlapSums(logits, target),
      overlapSums(logits, target, tf.sigmoid(tf.ones([2, 3, 4]))),
    ],
  },
  {
    name: 'overlapSumsOfRows, target and mask',
    shapes: [
      [3, 2, 4],
      [3, 2, 4],
    ],
    f: (logits: tf.Tensor, target: tf.Tensor) => [
      overlapSumsOfRows(logits, target),
      overlapSumsOfRows(logits, target, tf.sigmoid(tf.ones([3, 2, 4]))),
    ],
  },
  {
    name: 'a small network with a Dice loss',
    shapes: [[1, 8, 8, 8, 1], [3, 3, 3, 1, 4], [2, 2, 2, 4, 6], [2, 2, 2, 4, 6], [4], [4], [1, 2, headParameters]],
    f: (
      x: tf.Tensor5D,
      first: tf.Tensor5D,
      down: tf.Tensor5D,
      up: tf.Tensor5D,
      gamma: tf.Tensor1D,
      beta: tf.Tensor1D,
      parameters: tf.Tensor3D,
    ) => {
      const features = t5(encoderDecoder(x, first, down, up, gamma, beta));
      const logits = dynamicHead(features, parameters);
      const sums = overlapSums(tf.slice(logits, [0, 1, 0, 0, 0], [1, 1, 8, 8, 8]), tf.ones([1, 1, 8, 8, 8]));
      const [pt, pp, tt] = tf.unstack(t1(sums)) as [tf.Scalar, tf.Scalar, tf.Scalar];
      return tf.sub(1, tf.div(tf.add(tf.mul(pt, 2), 1e-5), tf.add(tf.add(pp, tt), 1e-5)));
    },
    terms: 20000,
  },
];

export const graphCases: readonly GraphCase[] = [...tensorGraphs, ...networkGraphs, ...delegatedGraphs];
