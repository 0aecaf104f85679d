import type { AttributeValues, KernelName } from '../table/kernel-table.js';

/** Float32Array when the kernels serve TF.js's own cpu backend, Float64Array when they are the oracle of the selftest. */
export type NumberArray = Float32Array | Float64Array;

/**
 * Buffers in the order of the kernel table (inputs, then outputs), null where an optional one is absent.
 * @param keep how hidden layers are kept; absent: as they are
 */
export type PlainKernel<Name extends KernelName> = (
  buffers: readonly (NumberArray | null)[],
  attributes: AttributeValues<Name>,
  keep?: (value: number) => number,
) => void;

export type PlainKernels = { readonly [Name in KernelName]?: PlainKernel<Name> };

/** The buffer at a position of the table that is not optional. */
export function required(buffers: readonly (NumberArray | null)[], index: number): NumberArray {
  const buffer = buffers[index];
  if (buffer === null || buffer === undefined) throw new Error(`buffer ${index} is required`);
  return buffer;
}
