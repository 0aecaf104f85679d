import { type TensorInfo, util } from '#tfjs';
import { reduceKinds } from '../../table/kernel-table.js';
import { input, type KernelHost, sizeOf, type TableKernel } from '../kernel-host.js';

/**
 * Runs of neighbouring axes to reduce, last first, as [outer, reduced, inner] of what is left at that point. Axes of
 * length 1 belong to any run.
 */
export function reductionRuns(shape: readonly number[], axes: readonly number[]): [number, number, number][] {
  const runs: [number, number, number][] = [];
  let inner = 1;
  for (let axis = shape.length - 1; axis >= 0; ) {
    if (!axes.includes(axis)) {
      inner *= shape[axis--]!;
      continue;
    }
    let reduced = 1;
    while (axis >= 0 && (axes.includes(axis) || shape[axis] === 1)) reduced *= shape[axis--]!;
    if (reduced > 1) runs.push([sizeOf(shape.slice(0, axis + 1)), reduced, inner]);
  }
  return runs;
}

function reduction(kind: (typeof reduceKinds)[number]): TableKernel {
  const code = reduceKinds.indexOf(kind);
  return (host, inputs, { axis, reductionIndices, keepDims }) => {
    const x = input(inputs, 'x');
    const axes = util.parseAxisParam((axis ?? reductionIndices) as number | number[], x.shape);
    const kept = x.shape.map((length, i) => (axes.includes(i) ? 1 : length));
    const outputShape = keepDims ? kept : x.shape.filter((_, i) => !axes.includes(i));
    const runs = reductionRuns(x.shape, axes);
    // The rows know float32 only; a view would let another type through.
    if (runs.length === 0) runs.push([sizeOf(x.shape), 1, 1]);
    return reduceRuns(host, code, x, runs, outputShape);
  };
}

function reduceRuns(
  host: KernelHost,
  kind: number,
  x: TensorInfo,
  runs: readonly [number, number, number][],
  outputShape: readonly number[],
): TensorInfo {
  let current = x;
  runs.forEach(([outer, reduced, inner], i) => {
    const previous = current;
    try {
      const shape = i === runs.length - 1 ? outputShape : [outer, inner];
      current = host.call('reduce', [previous], [shape], { kind, outer, reduced, inner })[0]!;
    } finally {
      if (previous !== x) host.release(previous);
    }
  });
  return current;
}

export const reductionKernels = {
  Sum: reduction('sum'),
  Mean: reduction('mean'),
  Max: reduction('max'),
  Min: reduction('min'),
  Prod: reduction('prod'),
} satisfies Record<string, TableKernel>;
