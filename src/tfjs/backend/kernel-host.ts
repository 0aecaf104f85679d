import type { NamedAttrMap, NamedTensorInfoMap, TensorInfo } from '#tfjs';
import { VersemiError } from '../../errors.js';
import type { AttributeValues, KernelName } from '../table/kernel-table.js';

/** An output of a call: a shape (a new tensor), an existing tensor (written in place), or null (not wanted). */
export type OutputSpec = readonly number[] | TensorInfo | null;

/**
 * What a TF.js kernel of this folder needs of the backend it runs on: rows of the kernel table applied to tensors.
 * Implemented by VersemiBackend (over a device) and by CpuHost (plain TypeScript on TF.js's own cpu backend).
 */
export interface KernelHost {
  /**
   * Runs one row. `inputs` and `outputs` in the order of the table, variadic ones spread.
   * @returns a tensor per output, in order; outputs given as null are left out
   * @throws Refused where the device has no kernel for the call
   */
  call<Name extends KernelName>(
    row: Name,
    inputs: readonly (TensorInfo | null | undefined)[],
    outputs: readonly OutputSpec[],
    attributes: AttributeValues<Name>,
  ): TensorInfo[];
  /** Another tensor over the same data. */
  view(tensor: TensorInfo, shape: readonly number[]): TensorInfo;
  /** Gives up a tensor that a kernel made on its way to its result. */
  release(tensor: TensorInfo): void;
}

/** A TF.js kernel written over rows of the kernel table. */
export type TableKernel = (
  host: KernelHost,
  inputs: NamedTensorInfoMap,
  attributes: NamedAttrMap,
) => TensorInfo | TensorInfo[];

/** Thrown by a kernel that leaves a call to the delegate; `reason` is shown by VERSEMI_LOG=dispatch. */
export class Refused {
  constructor(readonly reason: string) {}
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
}

/** The named input of a kernel, which the op has checked to be there. */
export function input(inputs: NamedTensorInfoMap, name: string): TensorInfo {
  const tensor = inputs[name];
  if (tensor === undefined) throw new VersemiError('INTERNAL', { field: `kernel input ${name}`, found: 'nothing' });
  return tensor;
}

/** The error for an argument that TF.js leaves to its kernels to check. */
export function wrongArgument(op: string, expected: string, found: string): VersemiError {
  return new VersemiError('KERNEL_FAILED', { field: op, expected, found });
}

/** Whether there is one whole number of at least zero for each axis. */
export function isCounts(numbers: readonly number[], rank: number): boolean {
  return numbers.length === rank && numbers.every((number) => Number.isInteger(number) && number >= 0);
}

/** Throws a coded error where the shapes given to an op do not fit together. */
export function checkShape(op: string, tensor: string, expected: readonly number[], found: readonly number[]): void {
  if (expected.length === found.length && expected.every((length, i) => length === found[i])) return;
  throw new VersemiError('KERNEL_FAILED', {
    field: `${op}, ${tensor}`,
    expected: `shape [${expected.join(', ')}]`,
    found: `[${found.join(', ')}]`,
  });
}
