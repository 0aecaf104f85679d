import { findBackend, getKernelsForBackend, registerKernel } from '#tfjs';
import type { VersemiBackend } from './backend.js';
import { registerCpuKernels } from './cpu-host.js';
import { customKernels } from './custom-kernels.js';
import { delegate } from './delegate.js';
import { delegateNames } from './delegate-backends.js';
import { countOwn } from './dispatch-log.js';
import { Refused, type TableKernel } from './kernel-host.js';
import { arithmeticKernels } from './kernels/arithmetic.js';
import { convolutionKernels } from './kernels/convolution.js';
import { reductionKernels } from './kernels/reductions.js';
import { shapeKernels } from './kernels/shapes.js';

/** Every TF.js kernel that a versemi backend runs itself; all others are delegated. */
const tableKernels: ReadonlyMap<string, TableKernel> = new Map<string, TableKernel>(
  Object.entries({
    ...customKernels,
    ...convolutionKernels,
    ...arithmeticKernels,
    ...reductionKernels,
    ...shapeKernels,
  }),
);

const registered = new Set<string>();

/**
 * Registers, for a backend name, every kernel that the kernel table or a delegate backend has. Idempotent; kernels of a
 * delegate that came later are added.
 */
export function registerKernels(backendName: string): void {
  registerCpuKernels();
  // Its kernels are there once it has been asked for. The delegate of a device need not advertise other devices.
  Object.assign(findBackend('cpu'), { firstUse: false });
  const names = new Set(tableKernels.keys());
  for (const name of delegateNames()) for (const { kernelName } of getKernelsForBackend(name)) names.add(kernelName);
  for (const kernelName of names) {
    const key = `${backendName} ${kernelName}`;
    if (registered.has(key)) continue;
    registered.add(key);
    const kernel = tableKernels.get(kernelName);
    registerKernel({
      kernelName,
      backendName,
      kernelFunc: ({ inputs, attrs = {}, backend }) => {
        const host = backend as VersemiBackend;
        if (kernel === undefined) return delegate(host, kernelName, inputs, attrs, 'not in the kernel table');
        try {
          const result = kernel(host, inputs, attrs);
          countOwn(kernelName);
          return result;
        } catch (error) {
          if (error instanceof Refused) return delegate(host, kernelName, inputs, attrs, error.reason);
          throw error;
        }
      },
    });
  }
}
