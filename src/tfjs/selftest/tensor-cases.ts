import { sizeOf } from '../backend/kernel-host.js';
import { binaryKinds, reduceKinds, unaryKinds } from '../table/kernel-table.js';
import { explicit, normal, type OpCase, positive, type Source } from './op-case.js';

const special = [0, -0, 1, -1, 0.5, -0.5, 1.5, -1.5, 2.5, 3.5, 6, 7, -7, 20, -20, 88, -88, 1e-8, -1e-8, 1e-30];

/** Where the derivative or the domain asks for positive numbers. */
const positiveOnly: readonly string[] = ['sqrt', 'rsqrt', 'log', 'log1p', 'reciprocal'];

function parametersOf(kind: string): { parameterA: number; parameterB: number } {
  if (kind === 'leakyRelu') return { parameterA: 0.2, parameterB: 0 };
  if (kind === 'clip') return { parameterA: -0.5, parameterB: 0.75 };
  return { parameterA: kind === 'step' ? 0.25 : 0, parameterB: 0 };
}

const unaryCases = unaryKinds.flatMap((kind, code): OpCase[] => {
  const one = (name: string, source: Source, count: number): OpCase => ({
    row: 'unary',
    name: `${kind}, ${name}`,
    attributes: { kind: code, count, ...parametersOf(kind) },
    inputs: [source],
    outputs: [count],
    terms: 1,
  });
  const random = (count: number) => (positiveOnly.includes(kind) ? positive(count) : normal(count, 2));
  const values = positiveOnly.includes(kind) ? special.filter((value) => value > 0) : special;
  const notFinite = explicit(Number.NaN, 1, 2, 3, 4, 5, 6, 7, 8);
  return [
    one('37 elements', random(37), 37),
    one('100003 elements', random(100_003), 100_003),
    one('special numbers', explicit(...values), values.length),
    one('NaN', notFinite, 9),
  ];
});

function binaryCase(
  kind: number,
  name: string,
  shape: readonly number[],
  a: [Source, readonly number[]],
  b: [Source, readonly number[]],
): OpCase {
  return {
    row: 'binary',
    name: `${binaryKinds[kind]}, ${name}`,
    attributes: { kind, shape, aStride: a[1], bStride: b[1] },
    inputs: [a[0], b[0]],
    outputs: [sizeOf(shape)],
    terms: 1,
  };
}

const binaryCases = binaryKinds.flatMap((kind, code): OpCase[] => {
  const source = kind === 'pow' || kind === 'div' ? positive : normal;
  return [
    binaryCase(code, 'equal shapes', [1031], [source(1031), [1]], [source(1031), [1]]),
    binaryCase(code, 'large', [100_003], [source(100_003), [1]], [source(100_003), [1]]),
    binaryCase(code, 'scalar on the right', [77], [source(77), [1]], [source(1), [0]]),
    binaryCase(code, 'scalar on the left', [77], [source(1), [0]], [source(77), [1]]),
    binaryCase(code, 'row', [9, 17], [source(153), [17, 1]], [source(17), [0, 1]]),
    binaryCase(code, 'column', [9, 17], [source(153), [17, 1]], [source(9), [1, 0]]),
    binaryCase(code, 'outer', [5, 7], [source(5), [1, 0]], [source(7), [0, 1]]),
    binaryCase(code, 'middle axes', [2, 3, 4, 5], [source(30), [15, 5, 0, 1]], [source(8), [4, 0, 1, 0]]),
  ];
});

const divisionByZero: OpCase = {
  row: 'binary',
  name: 'divNoNan, zeros',
  attributes: { kind: binaryKinds.indexOf('divNoNan'), shape: [5], aStride: [1], bStride: [1] },
  inputs: [explicit(1, 0, -2, 3, 4), explicit(0, 0, 0, 2, -4)],
  outputs: [5],
  terms: 1,
};

const reduceCases = reduceKinds.flatMap((kind, code): OpCase[] =>
  (
    [
      [1, 1, 1],
      [1, 1001, 1],
      [7, 33, 1],
      [5, 19, 3],
      [3, 8, 32],
      [1, 12, 500],
      [1, 200_003, 1],
      [2, 5000, 17],
    ] as const
  )
    // A product of many numbers leaves the range of float32.
    .filter(([, reduced]) => kind !== 'prod' || reduced <= 33)
    .map(([outer, reduced, inner]) => ({
      row: 'reduce',
      name: `${kind}, [${outer}, ${reduced}, ${inner}]`,
      attributes: { kind: code, outer, reduced, inner },
      inputs: [normal(outer * reduced * inner)],
      outputs: [outer * inner],
      terms: reduced,
    })),
);

function matmul(batch: number, m: number, k: number, n: number, flags: number, shared = ''): OpCase {
  const [transposeA, transposeB] = [flags & 1, flags >> 1];
  const [aStep, bStep] = [shared.includes('a') ? 0 : m * k, shared.includes('b') ? 0 : k * n];
  return {
    row: 'matmul',
    name: `${batch} x [${m}, ${k}] [${k}, ${n}], transposed ${transposeA}${transposeB}${shared && `, shared ${shared}`}`,
    attributes: { batch, m, k, n, transposeA, transposeB, aStep, bStep },
    inputs: [normal(aStep ? batch * m * k : m * k), normal(bStep ? batch * k * n : k * n)],
    outputs: [batch * m * n],
    terms: k,
  };
}

const matmulCases = [0, 1, 2, 3].flatMap((flags) => [
  matmul(1, 1, 1, 1, flags),
  matmul(1, 5, 261, 162, flags),
  matmul(3, 17, 9, 13, flags),
  matmul(2, 33, 65, 31, flags, 'a'),
  matmul(2, 8, 16, 24, flags, 'b'),
]);

function transpose(shape: readonly number[], permutation: readonly number[]): OpCase {
  return {
    row: 'transpose',
    name: `[${shape}] by [${permutation}]`,
    attributes: { shape, permutation },
    inputs: [normal(sizeOf(shape))],
    outputs: [sizeOf(shape)],
    terms: 1,
  };
}

function slice(shape: readonly number[], begin: readonly number[], size: readonly number[]): OpCase {
  return {
    row: 'slice',
    name: `[${shape}] from [${begin}] size [${size}]`,
    attributes: { shape, begin, size },
    inputs: [normal(sizeOf(shape))],
    outputs: [sizeOf(size)],
    terms: 1,
  };
}

function pad(shape: readonly number[], before: readonly number[], after: readonly number[], value: number): OpCase {
  return {
    row: 'pad',
    name: `[${shape}] by [${before}] and [${after}] with ${value}`,
    attributes: { shape, before, after, value },
    inputs: [normal(sizeOf(shape))],
    outputs: [sizeOf(shape.map((length, axis) => before[axis]! + length + after[axis]!))],
    terms: 1,
  };
}

function concat(outer: number, inner: readonly number[]): OpCase {
  return {
    row: 'concat',
    name: `${outer} x [${inner}]`,
    attributes: { outer, inner },
    inputs: inner.map((length) => normal(outer * length)),
    outputs: [outer * inner.reduce((sum, length) => sum + length, 0)],
    terms: 1,
  };
}

function tile(shape: readonly number[], repetitions: readonly number[]): OpCase {
  return {
    row: 'tile',
    name: `[${shape}] x [${repetitions}]`,
    attributes: { shape, repetitions },
    inputs: [normal(sizeOf(shape))],
    outputs: [sizeOf(shape) * sizeOf(repetitions)],
    terms: 1,
  };
}

const fill = (count: number, value: number): OpCase => ({
  row: 'fill',
  name: `${count} x ${value}`,
  attributes: { count, value },
  inputs: [],
  outputs: [count],
  terms: 1,
});

/** General tensor ops. */
export const tensorCases: readonly OpCase[] = [
  ...unaryCases,
  ...binaryCases,
  divisionByZero,
  ...reduceCases,
  ...matmulCases,
  transpose([7], [0]),
  transpose([17, 33], [1, 0]),
  transpose([3, 5, 7], [2, 0, 1]),
  transpose([2, 3, 4, 5, 6], [0, 4, 1, 2, 3]),
  transpose([2, 31, 8], [0, 2, 1]),
  transpose([2, 3, 1, 4, 2, 3], [5, 3, 1, 0, 2, 4]),
  slice([11], [3], [5]),
  slice([5, 7, 9], [1, 0, 2], [3, 7, 5]),
  slice([2, 6, 6, 6, 3], [1, 2, 0, 1, 0], [1, 3, 6, 4, 3]),
  pad([5], [2], [3], 0),
  pad([3, 4, 5], [1, 0, 2], [0, 3, 1], -1.5),
  pad([2, 3, 3, 3, 2], [0, 1, 2, 1, 0], [0, 1, 0, 2, 0], 0),
  concat(1, [5]),
  concat(4, [3, 1, 7]),
  concat(1000, [16, 16]),
  tile([7], [3]),
  tile([2, 3, 4], [2, 1, 3]),
  tile([1, 5, 1], [4, 1, 6]),
  fill(1, 0),
  fill(1003, -2.5),
];
