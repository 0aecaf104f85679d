import { backend_util, slice_util, type TensorInfo, util } from '#tfjs';
import {
  checkShape,
  input,
  isCounts,
  type KernelHost,
  Refused,
  sizeOf,
  type TableKernel,
  wrongArgument,
} from '../kernel-host.js';

/** Elements before the axis, and from the axis on. */
function splitAt(shape: readonly number[], axis: number): [number, number] {
  return [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))];
}

function concatenate(
  host: KernelHost,
  tensors: readonly TensorInfo[],
  axis: number,
  outputShape: number[],
): TensorInfo {
  if (tensors.length === 1) return host.view(tensors[0]!, outputShape);
  const parts = tensors.map(({ shape }) => splitAt(shape, axis));
  const attributes = { outer: parts[0]![0], inner: parts.map(([, inner]) => inner) };
  return host.call('concat', tensors, [outputShape], attributes)[0]!;
}

/** Pieces of lengths `sizes` along an axis. */
function pieces(
  host: KernelHost,
  x: TensorInfo,
  axis: number,
  sizes: readonly number[],
  outputShapes: readonly number[][],
): TensorInfo[] {
  const [outer, fromAxis] = splitAt(x.shape, axis);
  const length = x.shape[axis]!;
  const inner = fromAxis / length;
  const results: TensorInfo[] = [];
  let begin = 0;
  try {
    sizes.forEach((size, i) => {
      const attributes = { shape: [outer, length, inner], begin: [0, begin, 0], size: [outer, size, inner] };
      results.push(host.call('slice', [x], [outputShapes[i]!], attributes)[0]!);
      begin += size;
    });
  } catch (error) {
    for (const result of results) host.release(result);
    throw error;
  }
  return results;
}

/** Place of an axis of length 1 that is to be put into a shape; negative ones count from behind the last axis. */
function newAxis(axis: number, shape: readonly number[]): number {
  return util.parseAxisParam(axis, [...shape, 1])[0]!;
}

function fill(host: KernelHost, shape: readonly number[], value: unknown, dtype: string): TensorInfo {
  if (dtype !== 'float32' || typeof value !== 'number') throw new Refused(`${dtype} tensor`);
  return host.call('fill', [], [shape], { count: sizeOf(shape), value })[0]!;
}

/** Kernels that move elements without arithmetic. */
export const shapeKernels = {
  Identity: (host, inputs) => host.view(input(inputs, 'x'), input(inputs, 'x').shape),

  Reshape(host, inputs, { shape }) {
    const x = input(inputs, 'x');
    const size = sizeOf(x.shape);
    const inferred = util.inferFromImplicitShape(shape as number[], size);
    if (sizeOf(inferred) !== size)
      throw wrongArgument('reshape', `a shape for ${size} elements`, `[${inferred.join(', ')}]`);
    return host.view(x, inferred);
  },

  ExpandDims(host, inputs, { dim }) {
    const x = input(inputs, 'input');
    const shape = x.shape.slice();
    shape.splice(newAxis(dim as number, shape), 0, 1);
    return host.view(x, shape);
  },

  Cast(host, inputs, { dtype }) {
    const x = input(inputs, 'x');
    if (x.dtype !== 'float32' || dtype !== 'float32') throw new Refused(`${x.dtype} to ${dtype}`);
    return host.view(x, x.shape);
  },

  ZerosLike: (host, inputs) => fill(host, input(inputs, 'x').shape, 0, input(inputs, 'x').dtype),
  OnesLike: (host, inputs) => fill(host, input(inputs, 'x').shape, 1, input(inputs, 'x').dtype),
  Fill: (host, _, { shape, value, dtype }) =>
    fill(host, shape as number[], value, (dtype as string | undefined) ?? util.inferDtype(value as number)),

  Transpose(host, inputs, { perm }) {
    const x = input(inputs, 'x');
    const permutation = perm as number[];
    const isPermutation = new Set(permutation).size === x.shape.length && permutation.every((axis) => axis in x.shape);
    if (!isPermutation) throw wrongArgument('transpose', 'each axis once', `[${permutation.join(', ')}]`);
    const shape = permutation.map((axis) => x.shape[axis]!);
    // Where only axes of length 1 change places, the order in memory stays.
    const moving = permutation.filter((axis) => x.shape[axis] !== 1);
    if (x.dtype === 'float32' && moving.every((axis, i) => i === 0 || axis > moving[i - 1]!))
      return host.view(x, shape);
    return host.call('transpose', [x], [shape], { shape: x.shape, permutation })[0]!;
  },

  Slice(host, inputs, { begin, size }) {
    const x = input(inputs, 'x');
    const [from, length] = slice_util.parseSliceParams(x, begin as number[], size as number[]) as [number[], number[]];
    slice_util.assertParamsValid(x, from, length);
    if (!isCounts(from, x.shape.length))
      throw wrongArgument('slice', 'a begin within the tensor', `[${from.join(', ')}]`);
    return host.call('slice', [x], [length], { shape: x.shape, begin: from, size: length })[0]!;
  },

  PadV2(host, inputs, { paddings, constantValue }) {
    const x = input(inputs, 'x');
    const pairs = paddings as [number, number][];
    const isPadding = pairs.length === x.shape.length && pairs.every((pair) => isCounts(pair, 2));
    if (!isPadding) throw wrongArgument('pad', 'two whole numbers of at least 0 per axis', JSON.stringify(pairs));
    const before = pairs.map(([zeros]) => zeros);
    const after = pairs.map(([, zeros]) => zeros);
    const shape = x.shape.map((length, axis) => before[axis]! + length + after[axis]!);
    const attributes = { shape: x.shape, before, after, value: constantValue as number };
    return host.call('pad', [x], [shape], attributes)[0]!;
  },

  Tile(host, inputs, { reps }) {
    const x = input(inputs, 'x');
    const repetitions = reps as number[];
    if (!isCounts(repetitions, x.shape.length))
      throw wrongArgument('tile', 'a whole number of at least 0 per axis', `[${repetitions.join(', ')}]`);
    const shape = x.shape.map((length, axis) => length * repetitions[axis]!);
    return host.call('tile', [x], [shape], { shape: x.shape, repetitions })[0]!;
  },

  Concat(host, inputs, { axis }) {
    const tensors = Object.values(inputs) as TensorInfo[];
    const at = util.parseAxisParam(axis as number, tensors[0]!.shape)[0]!;
    const shapes = tensors.map(({ shape }) => shape);
    backend_util.assertParamsConsistent(shapes, at);
    const present = tensors.filter(({ shape }) => sizeOf(shape) > 0);
    if (present.length === 0) throw new Refused('empty tensor');
    return concatenate(host, present, at, backend_util.computeOutShape(shapes, at));
  },

  Pack(host, inputs, { axis }) {
    const tensors = Object.values(inputs) as TensorInfo[];
    const shape = tensors[0]!.shape.slice();
    for (const [i, tensor] of tensors.entries()) checkShape('stack', `tensor ${i}`, shape, tensor.shape);
    const at = newAxis(axis as number, shape);
    shape.splice(at, 0, tensors.length);
    return concatenate(host, tensors, at, shape);
  },

  Unpack(host, inputs, { axis }) {
    const x = input(inputs, 'value');
    const at = util.parseAxisParam(axis as number, x.shape)[0]!;
    const shape = x.shape.filter((_, i) => i !== at);
    const sizes = Array.from({ length: x.shape[at]! }, () => 1);
    return pieces(
      host,
      x,
      at,
      sizes,
      sizes.map(() => shape),
    );
  },

  SplitV(host, inputs, { numOrSizeSplits, axis }) {
    const x = input(inputs, 'x');
    const at = util.parseAxisParam(axis as number, x.shape)[0]!;
    const sizes = backend_util.prepareSplitSize(x, numOrSizeSplits as number | number[], at);
    return pieces(
      host,
      x,
      at,
      sizes,
      sizes.map((size) => x.shape.map((length, i) => (i === at ? size : length))),
    );
  },
} satisfies Record<string, TableKernel>;
