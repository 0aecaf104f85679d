import { binaryKinds, reduceKinds, unaryKinds } from '../table/kernel-table.js';
import { type NumberArray, type PlainKernels, required } from './plain-kernel.js';

/** Rounds half to even, as tf.round does. */
function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const fraction = x - floor;
  if (fraction !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

const unaryFunctions: Record<(typeof unaryKinds)[number], (x: number, a: number, b: number) => number> = {
  identity: (x) => x,
  neg: (x) => -x,
  abs: Math.abs,
  square: (x) => x * x,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  reciprocal: (x) => 1 / x,
  exp: Math.exp,
  log: Math.log,
  log1p: Math.log1p,
  expm1: Math.expm1,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  relu: (x) => Math.max(x, 0),
  relu6: (x) => Math.min(Math.max(x, 0), 6),
  leakyRelu: (x, slope) => (x >= 0 ? x : slope * x),
  elu: (x) => (x >= 0 ? x : Math.expm1(x)),
  softplus: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  // NaN has no sign in TF.js.
  sign: (x) => (x > 0 ? 1 : x < 0 ? -1 : 0),
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfToEven,
  clip: (x, low, high) => Math.min(Math.max(x, low), high),
  step: (x, alpha) => (Number.isNaN(x) ? Number.NaN : x > 0 ? 1 : alpha),
};

const binaryFunctions: Record<(typeof binaryKinds)[number], (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  divNoNan: (a, b) => (b === 0 ? 0 : a / b),
  max: Math.max,
  min: Math.min,
  pow: (a, b) => a ** b,
  squaredDifference: (a, b) => (a - b) * (a - b),
};

/** Visits every index of `shape` in row-major order. */
function forEachIndex(shape: readonly number[], visit: (index: readonly number[], at: number) => void): void {
  const index = shape.map(() => 0);
  const size = shape.reduce((product, length) => product * length, 1);
  for (let at = 0; at < size; at++) {
    visit(index, at);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < shape[axis]!) break;
      index[axis] = 0;
    }
  }
}

function stridesOf(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * shape[axis + 1]!;
  return strides;
}

function dot(index: readonly number[], strides: readonly number[]): number {
  return index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0);
}

export const tensorKernels = {
  unary(buffers, { kind, parameterA, parameterB }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    const f = unaryFunctions[unaryKinds[kind]!];
    for (let i = 0; i < output.length; i++) output[i] = f(x[i]!, parameterA, parameterB);
  },

  binary(buffers, { kind, shape, aStride, bStride }) {
    const a = required(buffers, 0);
    const b = required(buffers, 1);
    const output = required(buffers, 2);
    const f = binaryFunctions[binaryKinds[kind]!];
    forEachIndex(shape, (index, at) => {
      output[at] = f(a[dot(index, aStride)]!, b[dot(index, bStride)]!);
    });
  },

  reduce(buffers, { kind: code, outer, reduced, inner }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    const kind = reduceKinds[code]!;
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        const at = (r: number) => x[(o * reduced + r) * inner + i]!;
        let result = { sum: 0, mean: 0, prod: 1, max: -Infinity, min: Infinity }[kind];
        for (let r = 0; r < reduced; r++) {
          if (kind === 'max') result = Math.max(result, at(r));
          else if (kind === 'min') result = Math.min(result, at(r));
          else if (kind === 'prod') result *= at(r);
          else result += at(r);
        }
        output[o * inner + i] = kind === 'mean' ? result / reduced : result;
      }
  },

  matmul(buffers, { batch, m, k, n, transposeA, transposeB, aStep, bStep }) {
    const a = required(buffers, 0);
    const b = required(buffers, 1);
    const output = required(buffers, 2);
    for (let s = 0; s < batch; s++)
      for (let row = 0; row < m; row++)
        for (let column = 0; column < n; column++) {
          let sum = 0;
          for (let i = 0; i < k; i++)
            sum +=
              a[s * aStep + (transposeA ? i * m + row : row * k + i)]! *
              b[s * bStep + (transposeB ? column * k + i : i * n + column)]!;
          output[(s * m + row) * n + column] = sum;
        }
  },

  transpose(buffers, { shape, permutation }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    const strides = stridesOf(shape);
    forEachIndex(
      permutation.map((axis) => shape[axis]!),
      (index, at) => {
        output[at] = x[index.reduce((sum, i, axis) => sum + i * strides[permutation[axis]!]!, 0)]!;
      },
    );
  },

  slice(buffers, { shape, begin, size }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    const strides = stridesOf(shape);
    const offset = dot(begin, strides);
    forEachIndex(size, (index, at) => {
      output[at] = x[offset + dot(index, strides)]!;
    });
  },

  pad(buffers, { shape, before, after, value }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    output.fill(value);
    const strides = stridesOf(shape.map((length, axis) => before[axis]! + length + after[axis]!));
    const offset = dot(before, strides);
    forEachIndex(shape, (index, at) => {
      output[offset + dot(index, strides)] = x[at]!;
    });
  },

  concat(buffers, { outer, inner }) {
    const output = required(buffers, inner.length);
    let at = 0;
    for (let o = 0; o < outer; o++)
      for (const [i, length] of inner.entries()) {
        const x: NumberArray = required(buffers, i);
        for (let j = 0; j < length; j++) output[at++] = x[o * length + j]!;
      }
  },

  tile(buffers, { shape, repetitions }) {
    const x = required(buffers, 0);
    const output = required(buffers, 1);
    const strides = stridesOf(shape);
    forEachIndex(
      shape.map((length, axis) => length * repetitions[axis]!),
      (index, at) => {
        output[at] = x[index.reduce((sum, i, axis) => sum + (i % shape[axis]!) * strides[axis]!, 0)]!;
      },
    );
  },

  fill(buffers, { value }) {
    required(buffers, 0).fill(value);
  },
} satisfies PlainKernels;
