import type { NamedTensorInfoMap, TensorInfo } from '@tensorflow/tfjs-core';

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
  if (!logs()) return;
  const operands = (Object.entries(inputs) as [string, TensorInfo | undefined][])
    .filter(([, tensor]) => tensor !== undefined)
    .map(([name, tensor]) => `${name} ${tensor!.dtype}[${tensor!.shape.join(', ')}]`);
  console.error(`${backendName}: ${kernelName}(${operands.join(', ')}) delegated to ${delegateName}: ${reason}`);
}

export function dispatchCounts(): DispatchCounts {
  return { own: Object.fromEntries(own), delegated: Object.fromEntries(delegated) };
}

export function resetDispatchCounts(): void {
  own.clear();
  delegated.clear();
}

function logs(): boolean {
  const { process } = globalThis as { process?: { env: Record<string, string | undefined> } };
  return (process?.env.VERSEMI_LOG ?? '').split(',').includes('dispatch');
}
