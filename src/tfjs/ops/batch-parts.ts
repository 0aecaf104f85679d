import { clone, type Tensor, tensor, zerosLike } from '#tfjs';
import { differentiable } from './differentiable.js';

/**
 * A batch of which this process has one part and other processes have the others. Ops that sum over a batch then sum over all
 * parts; every process calls the same ops in the same order.
 */
export interface BatchParts {
  /** False where the rows of this process are none of the batch's: nothing is then added for them. */
  readonly counts: boolean;
  /**
   * The sum of x over the parts, as a tensor of its own, on the device: nothing is read and nobody waits. Absent where sums go through
   * the host.
   */
  sumOnDevice?<T extends Tensor>(x: T): T;
  /** values = sum over the parts, in place; the same bits in every process. */
  allReduceSum(values: Float32Array): void;
  /** The values of every part, one part after the other; [parts * values.length]. */
  allGather(values: Float64Array): Float64Array;
}

let current: BatchParts | undefined;

/** The parts of the batch that is computed now; undefined where this process has all of it. */
export function batchParts(): BatchParts | undefined {
  return current;
}

/** Computes `f`, ops and gradients, on one part of a batch. */
export function withBatchParts<T>(parts: BatchParts | undefined, f: () => T): T {
  const before = current;
  current = parts;
  try {
    return f();
  } finally {
    current = before;
  }
}

/**
 * The sum of x over the parts of the batch. Its gradient is that of the sum, as it is: each process follows it into its own part,
 * and the gradients of all parts are added up afterwards.
 */
export function sumOverParts<T extends Tensor>(x: T): T {
  const parts = current;
  if (parts === undefined) return x;
  return differentiable<T>({
    inputs: { x },
    forward: () => {
      if (parts.sumOnDevice !== undefined) return parts.sumOnDevice(x);
      const values = parts.counts ? Float32Array.from(x.dataSync()) : new Float32Array(x.size);
      parts.allReduceSum(values);
      return tensor(values, x.shape) as T;
    },
    backward: (gradient) => ({ x: () => (parts.counts ? clone(gradient) : zerosLike(gradient)) }),
  });
}
