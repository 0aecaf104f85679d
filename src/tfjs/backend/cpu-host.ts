import { registerKernel, type TensorInfo } from '#tfjs';
import { plainKernels } from '../reference/plain-kernels.js';
import type { AttributeValues, KernelName } from '../table/kernel-table.js';
import { customKernels } from './custom-kernels.js';
import { type KernelHost, type OutputSpec, sizeOf, type TableKernel } from './kernel-host.js';

/** What is used of TF.js's cpu backend. */
interface CpuBackend {
  readonly data: { get(dataId: object): { values: Float32Array } };
  makeTensorInfo(shape: readonly number[], dtype: 'float32', values: Float32Array): TensorInfo;
  incRef(dataId: object): void;
  disposeIntermediateTensorInfo(tensor: TensorInfo): void;
}

/** Data of TF.js's cpu backend that a custom kernel has written in place. */
const overwritten = new WeakSet<object>();

export function wasOverwritten(dataId: object): boolean {
  return overwritten.has(dataId);
}

/** Runs rows of the kernel table in plain TypeScript on the data of TF.js's cpu backend. */
class CpuHost implements KernelHost {
  constructor(private readonly backend: CpuBackend) {}

  call<Name extends KernelName>(
    row: Name,
    inputs: readonly (TensorInfo | null | undefined)[],
    outputs: readonly OutputSpec[],
    attributes: AttributeValues<Name>,
  ): TensorInfo[] {
    const results: TensorInfo[] = [];
    const buffers = inputs.map((tensor) => (tensor ? this.backend.data.get(tensor.dataId).values : null));
    for (const output of outputs) {
      if (output === null) {
        buffers.push(null);
      } else if ('dataId' in output) {
        // A copy takes the place of the old values: those may be an array of the user's.
        const entry = this.backend.data.get(output.dataId);
        entry.values = entry.values.slice();
        overwritten.add(output.dataId);
        buffers.push(entry.values);
        results.push(output);
      } else {
        const values = new Float32Array(sizeOf(output));
        buffers.push(values);
        results.push(this.backend.makeTensorInfo(output, 'float32', values));
      }
    }
    plainKernels[row](buffers, attributes);
    return results;
  }

  view(tensor: TensorInfo, shape: readonly number[]): TensorInfo {
    this.backend.incRef(tensor.dataId);
    return { dataId: tensor.dataId, shape: shape.slice(), dtype: tensor.dtype };
  }

  release(tensor: TensorInfo): void {
    this.backend.disposeIntermediateTensorInfo(tensor);
  }
}

let registered = false;

/** Registers the custom kernels on TF.js's cpu backend. Idempotent. */
export function registerCpuKernels(): void {
  if (registered) return;
  registered = true;
  for (const [kernelName, kernel] of Object.entries<TableKernel>(customKernels))
    registerKernel({
      kernelName,
      backendName: 'cpu',
      kernelFunc: ({ inputs, attrs, backend }) => kernel(new CpuHost(backend as CpuBackend), inputs, attrs ?? {}),
    });
}
