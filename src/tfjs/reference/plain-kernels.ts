import type { KernelName } from '../table/kernel-table.js';
import { convolutionKernels } from './convolution.js';
import { headKernels } from './head.js';
import { normalizationKernels } from './normalization.js';
import { optimizerKernels } from './optimizer.js';
import { patchKernels } from './patches.js';
import type { PlainKernel } from './plain-kernel.js';
import { tensorKernels } from './tensor.js';

/**
 * Every row of the kernel table in plain TypeScript, computed in double whatever the arrays hold. This is the
 * specification: the selftest compares devices with it on Float64Array, and it serves the custom ops on TF.js's own cpu
 * backend on Float32Array. It is checked itself by finite differences and against PyTorch (test/ops).
 */
export const plainKernels: Record<KernelName, PlainKernel> = {
  ...convolutionKernels,
  ...normalizationKernels,
  ...headKernels,
  ...optimizerKernels,
  ...tensorKernels,
  ...patchKernels,
};
