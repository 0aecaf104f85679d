import type { NamedTensorInfoMap, TensorInfo } from '#tfjs';
import { environment } from '../../environment.js';
import type { RowAnswer } from '../devices/device.js';
import type { KernelName } from '../table/kernel-table.js';

/** How often kernels ran since the last reset, by kernel name. */
export interface DispatchCounts {
  /** On a device of versemi. */
  readonly own: Readonly<Record<string, number>>;
  /** On another backend, see delegate.ts. */
  readonly delegated: Readonly<Record<string, number>>;
}

const own = new Map<string, number>();
const delegated = new Map<string, number>();

export function countOwn(kernelName: string): void {
  own.set(kernelName, (own.get(kernelName) ?? 0) + 1);
}

/** Counts a delegation and, where VERSEMI_LOG contains `dispatch`, prints it to the standard error stream. */
export function countDelegated(
  backendName: string,
  kernelName: string,
  inputs: NamedTensorInfoMap,
  delegateName: string,
  reason: string,
): void {
  delegated.set(kernelName, (delegated.get(kernelName) ?? 0) + 1);
  if (!logsDispatch()) return;
  const operands = (Object.entries(inputs) as [string, TensorInfo | undefined][])
    .filter(([, tensor]) => tensor !== undefined)
    .map(([name, tensor]) => `${name} ${tensor!.dtype}[${tensor!.shape.join(', ')}]`);
  console.error(`${backendName}: ${kernelName}(${operands.join(', ')}) delegated to ${delegateName}: ${reason}`);
}

/** How often each kernel ran on the device and how often it was delegated, since the last reset. */
export function dispatchCounts(): DispatchCounts {
  return { own: Object.fromEntries(own), delegated: Object.fromEntries(delegated) };
}

/** Begins to count anew. */
export function resetDispatchCounts(): void {
  own.clear();
  delegated.clear();
}

const told = new Set<string>();

/**
 * Prints which row of a kernel takes a call, and why the better ones refuse. A call that was told is not told again: a step
 * of training makes the same few hundred of them each time.
 * @param shape of the first tensor of the call
 */
export function logRow(kernel: KernelName, shape: readonly number[], rows: readonly RowAnswer[]): void {
  const at = rows.findIndex(({ reason }) => reason === null);
  if (at < 0) return;
  const better = rows.slice(0, at).map(({ name, reason }) => `${name}: ${reason}`);
  const why = better.length === 0 ? '' : ` (${better.join('; ')})`;
  const line = `versemi: ${kernel} ${shape.join('x')} -> ${rows[at]!.name}${why}`;
  if (told.has(line)) return;
  told.add(line);
  console.error(line);
}

/** Whether VERSEMI_LOG contains `dispatch`. */
export function logsDispatch(): boolean {
  return (environment('VERSEMI_LOG') ?? '').split(',').includes('dispatch');
}
