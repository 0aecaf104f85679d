/** Random calls of TF.js's public API, each a function of a seed and an index, for random-ops.test.ts. */
import * as tf from '@tensorflow/tfjs-core';
import { RandomStream, streams } from '../../src/random.js';

export interface RandomCall {
  /** The call with its shapes and arguments, so that a failure can be repeated by hand. */
  readonly description: string;
  /** Makes its tensors on the current backend and returns the results. */
  run(): tf.Tensor[];
}

/** What calls are drawn from: whole numbers, choices, shapes, and tensors whose values the seed gives too. */
class Draw {
  readonly stream: RandomStream;

  constructor(seed: number, index: number) {
    this.stream = new RandomStream(seed, streams.test, index);
  }

  whole(low: number, high: number): number {
    return low + (this.stream.uint32() % (high - low + 1));
  }

  one<Item>(items: readonly Item[]): Item {
    return items[this.whole(0, items.length - 1)]!;
  }

  flag(): boolean {
    return this.whole(0, 1) === 1;
  }

  list<Item>(length: number, item: (i: number) => Item): Item[] {
    return Array.from({ length }, (_, i) => item(i));
  }

  /** Mostly short axes of odd lengths, now and then one that is long enough for every thread to have work. */
  shape(rank: number, longest = 9): number[] {
    const shape = this.list(rank, () => this.whole(1, longest));
    if (rank > 0 && this.whole(0, 5) === 0) shape[this.whole(0, rank - 1)] = this.whole(30, 80);
    return shape;
  }

  permutation(length: number): number[] {
    const items = this.list(length, (i) => i);
    for (let i = length - 1; i > 0; i--) {
      const other = this.whole(0, i);
      [items[i], items[other]] = [items[other]!, items[i]!];
    }
    return items;
  }

  /** Values in [0.25, 2) with either sign, so that quotients and powers stay moderate. */
  values(shape: readonly number[], positive = false): Float32Array {
    const size = shape.reduce((product, length) => product * length, 1);
    return Float32Array.from({ length: size }, () => {
      const value = 0.25 + (1.75 * this.stream.uint32()) / 2 ** 32;
      return positive || this.flag() ? value : -value;
    });
  }
}

type Family = (draw: Draw) => RandomCall;

/** A call of one op on fresh tensors; arguments that are not tensors only serve the description. */
function call(
  op: string,
  tensors: readonly { readonly shape: readonly number[]; readonly values: Float32Array }[],
  settings: unknown,
  apply: (...tensors: tf.Tensor[]) => tf.Tensor | tf.Tensor[],
): RandomCall {
  const shapes = tensors.map(({ shape }) => JSON.stringify(shape)).join(' ');
  return {
    description: `${op} of ${shapes} with ${JSON.stringify(settings)}`,
    run: () => [apply(...tensors.map(({ shape, values }) => tf.tensor(values, shape as number[])))].flat(),
  };
}

const tensorOf = (draw: Draw, shape: number[], positive = false) => ({ shape, values: draw.values(shape, positive) });

const unaryOps = {
  neg: tf.neg, abs: tf.abs, square: tf.square, reciprocal: tf.reciprocal, exp: tf.exp, expm1: tf.expm1, sigmoid: tf.sigmoid, tanh: tf.tanh, relu: tf.relu, relu6: tf.relu6, leakyRelu: tf.leakyRelu, elu: tf.elu, softplus: tf.softplus, sign: tf.sign, floor: tf.floor, ceil: tf.ceil, round: tf.round, step: tf.step,
} as const; // biome-ignore format: list
const positiveOps = {
  sqrt: tf.sqrt, rsqrt: tf.rsqrt, log: tf.log, log1p: tf.log1p,
} as const; // biome-ignore format: list
const binaryOps = {
  add: tf.add, sub: tf.sub, mul: tf.mul, div: tf.div, divNoNan: tf.divNoNan, maximum: tf.maximum, minimum: tf.minimum, squaredDifference: tf.squaredDifference,
} as const; // biome-ignore format: list
const reductions = {
  sum: tf.sum, mean: tf.mean, max: tf.max, min: tf.min, prod: tf.prod,
} as const; // biome-ignore format: list

/** The strides of a convolution: mostly small, some larger than any axis, one beyond all bounds. */
const someStrides = [1, 1, 1, 2, 2, 3, 5, 17, 1000, 2 ** 20, 1e9] as const;

const unary: Family = (draw) => {
  const positive = draw.whole(0, 4) === 0;
  const [op, apply] = draw.one(Object.entries(positive ? positiveOps : unaryOps));
  return call(op, [tensorOf(draw, draw.shape(draw.whole(0, 5)), positive)], {}, (x) => apply(x!));
};

/** Some axes of a shape become 1, and leading ones may be left out. */
function broadcastable(draw: Draw, shape: readonly number[]): number[] {
  return shape
    .map((length) => (draw.whole(0, 2) === 0 ? 1 : length))
    .slice(draw.whole(0, 3) === 0 ? draw.whole(0, shape.length) : 0);
}

const binary: Family = (draw) => {
  const shape = draw.shape(draw.whole(0, 5));
  const [op, apply] = draw.one(Object.entries(binaryOps));
  const tensors = [broadcastable(draw, shape), shape].map((each) => tensorOf(draw, each));
  if (draw.flag()) tensors.reverse();
  return call(op, tensors, {}, (a, b) => apply(a!, b!));
};

const reduction: Family = (draw) => {
  const rank = draw.whole(0, 5);
  const [op, apply] = draw.one(Object.entries(reductions));
  const axes = draw
    .permutation(rank)
    .slice(0, draw.whole(0, rank))
    .map((axis) => (draw.flag() ? axis : axis - rank));
  const keepDims = draw.flag();
  // Products of many numbers leave the range of float32.
  const shape = op === 'prod' ? draw.list(rank, () => draw.whole(1, 3)) : draw.shape(rank);
  return call(op, [tensorOf(draw, shape)], { axes, keepDims }, (x) => apply(x!, axes, keepDims));
};

const matMul: Family = (draw) => {
  const [m, k, n] = draw.list(3, () => draw.one([1, 2, 3, 7, 16, 33, 65])) as [number, number, number];
  const [transposeA, transposeB] = [draw.flag(), draw.flag()];
  const batch = draw.list(draw.whole(0, 2), () => draw.whole(1, 3));
  // Whole batch or a single matrix: where only some axes are broadcast, TF.js's cpu backend pairs matrices wrongly.
  const [aBatch, bBatch] = draw.flag() ? [batch, draw.flag() ? [] : batch] : [draw.flag() ? [] : batch, batch];
  const a = tensorOf(draw, [...aBatch!, ...(transposeA ? [k, m] : [m, k])]);
  const b = tensorOf(draw, [...bBatch!, ...(transposeB ? [n, k] : [k, n])]);
  return call('matMul', [a, b], { transposeA, transposeB }, (x, y) => tf.matMul(x!, y!, transposeA, transposeB));
};

const transpose: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 6), 5);
  const perm = draw.permutation(shape.length);
  return call('transpose', [tensorOf(draw, shape)], { perm }, (x) => tf.transpose(x!, perm));
};

const slice: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 5));
  const begin = shape.map((length) => draw.whole(0, length - 1));
  const size = shape.map((length, axis) => (draw.flag() ? -1 : draw.whole(1, length - begin[axis]!)));
  return call('slice', [tensorOf(draw, shape)], { begin, size }, (x) => tf.slice(x!, begin, size));
};

const pad: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 5), 6);
  const paddings = shape.map(() => [draw.whole(0, 4), draw.whole(0, 3)] as [number, number]);
  return call('pad', [tensorOf(draw, shape)], { paddings }, (x) => tf.pad(x!, paddings, -1.5));
};

const tile: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 4), 5);
  const reps = shape.map(() => draw.whole(1, 4));
  return call('tile', [tensorOf(draw, shape)], { reps }, (x) => tf.tile(x!, reps));
};

const joining: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 4), 6);
  const count = draw.whole(1, 5);
  const isStack = draw.flag();
  const axis = draw.whole(-shape.length, shape.length - 1);
  const lengthened = axis < 0 ? axis + shape.length : axis;
  const tensors = draw.list(count, () =>
    tensorOf(
      draw,
      shape.map((length, i) => (!isStack && i === lengthened ? draw.whole(1, 7) : length)),
    ),
  );
  return call(isStack ? 'stack' : 'concat', tensors, { axis }, (...all) =>
    isStack ? tf.stack(all, axis) : tf.concat(all, axis),
  );
};

const parting: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 4), 6);
  const axis = draw.whole(-shape.length, shape.length - 1);
  const length = shape.at(axis)!;
  if (draw.flag()) return call('unstack', [tensorOf(draw, shape)], { axis }, (x) => tf.unstack(x!, axis));
  const first = draw.whole(0, length - 1);
  const sizes = first === 0 ? [length] : [first, length - first];
  return call('split', [tensorOf(draw, shape)], { sizes, axis }, (x) => tf.split(x!, sizes, axis));
};

/** conv3d and its gradients with odd sizes, strides and paddings; conv3dTranspose is the gradient with respect to the input. */
const convolution: Family = (draw) => {
  const kernel = draw.list(3, () => draw.one([1, 1, 2, 3, 3, 4, 5]));
  const [inC, outC] = draw.list(2, () => draw.one([1, 2, 3, 4, 5, 8, 16, 17])) as [number, number];
  const pad = draw.flag() ? 'same' : 'valid';
  const strides = draw.list(3, () => draw.one(someStrides)) as [number, number, number];
  // `valid` needs the kernel to fit.
  const axes = kernel.map((length) => draw.whole(pad === 'valid' ? length : 1, 11));
  const x = tensorOf(draw, [draw.whole(1, 2), ...axes, inC]);
  const filter = tensorOf(draw, [...kernel, inC, outC]);
  const forward = (input: tf.Tensor, weight: tf.Tensor) =>
    tf.conv3d(input as tf.Tensor5D, weight as tf.Tensor5D, strides, pad);
  if (draw.flag()) return call('conv3d', [x, filter], { strides, pad }, (input, weight) => forward(input!, weight!));
  return call('gradients of conv3d', [x, filter], { strides, pad }, (input, weight) =>
    tf.grads((...both) => tf.sum(tf.square(forward(both[0]!, both[1]!))))([input!, weight!]),
  );
};

/** What TF.js's cpu backend computes for us: convolutions with dilations, in two dimensions or per channel, and pooling. */
const delegatedConvolution: Family = (draw) => {
  const op = draw.one(['conv3d', 'conv2d', 'depthwiseConv2d'] as const);
  const rank = op === 'conv3d' ? 3 : 2;
  const kernel = draw.list(rank, () => draw.whole(1, 4));
  const dilated = op === 'conv3d' || draw.flag();
  const dilations = kernel.map(() => (dilated ? draw.whole(1, 3) : 1));
  const strides = kernel.map(() => (dilated ? 1 : draw.one(someStrides)));
  const pad = draw.flag() ? 'same' : 'valid';
  const reach = kernel.map((length, axis) => (length - 1) * dilations[axis]! + 1);
  const axes = reach.map((length) => draw.whole(pad === 'valid' ? length : 1, length + 8));
  const [inC, outC] = [draw.whole(1, 4), draw.whole(1, 4)];
  const tensors = [tensorOf(draw, [draw.whole(1, 2), ...axes, inC]), tensorOf(draw, [...kernel, inC, outC])];
  const apply = (x: tf.Tensor, filter: tf.Tensor) => {
    if (op === 'conv3d')
      return tf.conv3d(
        x as tf.Tensor5D,
        filter as tf.Tensor5D,
        strides as [number, number, number],
        pad,
        'NDHWC',
        dilations as [number, number, number],
      );
    const image = [
      x as tf.Tensor4D,
      filter as tf.Tensor4D,
      strides as [number, number],
      pad,
      'NHWC',
      dilations as [number, number],
    ] as const;
    return op === 'conv2d' ? tf.conv2d(...image) : tf.depthwiseConv2d(...image);
  };
  return call(op, tensors, { strides, dilations, pad }, (x, filter) => apply(x!, filter!));
};

const pooling: Family = (draw) => {
  const rank = draw.one([2, 3]);
  const window = draw.list(rank, () => draw.whole(1, 4));
  const strides = window.map(() => draw.one(someStrides));
  const pad = draw.flag() ? 'same' : 'valid';
  const axes = window.map((length) => draw.whole(pad === 'valid' ? length : 1, 11));
  const isMax = draw.flag();
  const pool = (x: tf.Tensor) => {
    if (rank === 2) {
      const image = [x as tf.Tensor4D, window as [number, number], strides as [number, number], pad] as const;
      return isMax ? tf.maxPool(...image) : tf.avgPool(...image);
    }
    const volume = [
      x as tf.Tensor5D,
      window as [number, number, number],
      strides as [number, number, number],
      pad,
    ] as const;
    return isMax ? tf.maxPool3d(...volume) : tf.avgPool3d(...volume);
  };
  const x = tensorOf(draw, [draw.whole(1, 2), ...axes, draw.whole(1, 5)]);
  const name = `${isMax ? 'maxPool' : 'avgPool'} ${rank}d`;
  if (draw.flag()) return call(name, [x], { window, strides, pad }, (input) => pool(input!));
  return call(`gradient of ${name}`, [x], { window, strides, pad }, (input) =>
    tf.grad((one: tf.Tensor) => tf.sum(tf.square(pool(one))))(input!),
  );
};

const gather: Family = (draw) => {
  const shape = draw.shape(draw.whole(1, 4));
  const axis = draw.whole(0, shape.length - 1);
  const indices = draw.list(draw.whole(1, 12), () => draw.whole(0, shape[axis]! - 1));
  return call('gather', [tensorOf(draw, shape)], { indices, axis }, (x) =>
    tf.gather(x!, tf.tensor1d(indices, 'int32'), axis),
  );
};

/** Gradients of a chain of ops, as a network has them. */
const gradients: Family = (draw) => {
  const [rows, inner, columns] = draw.list(3, () => draw.whole(1, 20)) as [number, number, number];
  const axis = draw.one([0, 1]);
  const paddings = draw.list(2, () => [draw.whole(0, 3), draw.whole(0, 3)] as [number, number]);
  const tensors = [[rows, inner], [inner, columns], [columns]].map((shape) => tensorOf(draw, shape));
  const loss = (a: tf.Tensor, b: tf.Tensor, bias: tf.Tensor) => {
    const product = tf.div(tf.matMul(a, b), Math.sqrt(inner));
    const activated = tf.relu(tf.add(product, bias));
    const joined = tf.concat([tf.pad(activated, paddings), tf.pad(tf.sigmoid(product), paddings)], axis);
    return tf.mean(tf.square(tf.transpose(joined))) as tf.Scalar;
  };
  return call('gradients of a chain', tensors, { axis, paddings }, (...all) =>
    tf.grads((...three: tf.Tensor[]) => loss(three[0]!, three[1]!, three[2]!))(all),
  );
};

const families: readonly Family[] = [
  unary, binary, reduction, matMul, transpose, slice, pad, tile, joining, parting, convolution, convolution,
  delegatedConvolution, pooling, gather, gradients,
]; // biome-ignore format: list

export function randomCall(seed: number, index: number): RandomCall {
  const draw = new Draw(seed, index);
  return draw.one(families)(draw);
}
