import { engine, type NamedAttrMap, type NamedTensorMap, type Tensor } from '#tfjs';
import type { CustomKernelName } from '../backend/custom-kernels.js';

/** Runs a kernel of custom-kernels.ts on the current backend; absent optional inputs are undefined. */
export function runCustom<T extends Tensor | Tensor[]>(
  kernel: CustomKernelName,
  inputs: Record<string, Tensor | undefined>,
  attributes: NamedAttrMap = {},
): T {
  const present: NamedTensorMap = {};
  for (const [name, tensor] of Object.entries(inputs)) if (tensor !== undefined) present[name] = tensor;
  return engine().runKernel(kernel, present as never, attributes) as T;
}
