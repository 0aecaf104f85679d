import { customKernels } from './custom-kernels.js';
import type { TableKernel } from './kernel-host.js';
import { arithmeticKernels } from './kernels/arithmetic.js';
import { convolutionKernels } from './kernels/convolution.js';
import { reductionKernels } from './kernels/reductions.js';
import { shapeKernels } from './kernels/shapes.js';

/** Every TF.js kernel that a versemi backend runs itself; all others are delegated. */
export const tableKernels: ReadonlyMap<string, TableKernel> = new Map<string, TableKernel>(
  Object.entries({
    ...customKernels,
    ...convolutionKernels,
    ...arithmeticKernels,
    ...reductionKernels,
    ...shapeKernels,
  }),
);
