import { unpackAttributes } from '../table/call-check.js';
import type { KernelName } from '../table/kernel-table.js';
import { convolutionKernels } from './convolution.js';
import { headKernels } from './head.js';
import { normalizationKernels } from './normalization.js';
import { optimizerKernels } from './optimizer.js';
import { patchKernels } from './patches.js';
import type { NumberArray, PlainKernel } from './plain-kernel.js';
import { tensorKernels } from './tensor.js';

/**
 * Every row of the kernel table in plain TypeScript, computed in double whatever the arrays hold. This is the
 * specification: the selftest compares devices with it on Float64Array, and it serves the custom ops on TF.js's own cpu
 * backend on Float32Array. It is checked itself by finite differences and against PyTorch (test/ops).
 */
export const plainKernels: { readonly [Name in KernelName]: PlainKernel<Name> } = {
  ...convolutionKernels,
  ...normalizationKernels,
  ...headKernels,
  ...optimizerKernels,
  ...tensorKernels,
  ...patchKernels,
};

/** Runs a row on packed attributes, as devices are given them. */
export function runPlain(
  row: KernelName,
  buffers: readonly (NumberArray | null)[],
  attributes: ArrayLike<number>,
  keep?: (value: number) => number,
): void {
  const kernel = plainKernels[row] as PlainKernel<KernelName>;
  kernel(buffers, unpackAttributes(row, attributes), keep);
}
