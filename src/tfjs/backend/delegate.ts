import {
  backend_util,
  type DataType,
  findBackend,
  getKernel,
  type KernelBackend,
  type NamedAttrMap,
  type NamedTensorInfoMap,
  type Tensor,
  type TensorInfo,
} from '#tfjs';
import { VersemiError } from '../../errors.js';
import type { VersemiBackend } from './backend.js';
import { wasOverwritten } from './cpu-host.js';
import { delegateNames } from './delegate-backends.js';
import { countDelegated } from './dispatch-log.js';

type Values = backend_util.BackendValues;
/** An input of a kernel: a tensor, a list of tensors (raggedGather), or an optional one that is absent. */
type Input = TensorInfo | readonly TensorInfo[] | undefined;

/**
 * The one generic kernel for everything that a device does not do: copies the inputs to the delegate backend, runs its
 * kernel and takes the outputs back.
 * @param reason why the device does not do it, for VERSEMI_LOG=dispatch
 */
export function delegate(
  backend: VersemiBackend,
  kernelName: string,
  inputs: NamedTensorInfoMap,
  attrs: NamedAttrMap,
  reason: string,
): TensorInfo | TensorInfo[] {
  const complex = (Object.values(inputs) as Input[]).flat().some((tensor) => tensor?.dtype === 'complex64');
  // Complex numbers are stored differently by each backend; TF.js's own is the one known here.
  const name = delegateNames().find(
    (each) => (!complex || each === 'cpu') && getKernel(kernelName, each) !== undefined,
  );
  if (name === undefined)
    throw new VersemiError('KERNEL_FAILED', { field: kernelName, found: `no backend that has it, and ${reason}` });
  countDelegated(backend.name, kernelName, inputs, name, reason);

  const target = findBackend(name) as KernelBackend;
  const run = getKernel(kernelName, name).kernelFunc;
  // TF.js passes a list of tensors (Concat, AddN, Pack) as an array in place of the map.
  const moved: Record<string, Input> = Array.isArray(inputs) ? ([] as never) : {};
  const pairs: { readonly own: TensorInfo; readonly sent: TensorInfo }[] = [];
  const move = (own: TensorInfo): TensorInfo => {
    const sent = send(backend, target, own);
    pairs.push({ own, sent });
    return sent;
  };
  try {
    for (const [key, tensor] of Object.entries(inputs as Record<string, Input>))
      moved[key] = Array.isArray(tensor) ? tensor.map(move) : tensor && move(tensor as TensorInfo);
    const result = run({ inputs: moved as NamedTensorInfoMap, attrs, backend: target });
    for (const { own, sent } of pairs)
      if (wasOverwritten(sent.dataId)) backend.overwrite(own, target.readSync(sent.dataId));
    const outputs = (Array.isArray(result) ? result : [result]).map((output) => fetch(backend, target, output));
    return Array.isArray(result) ? outputs : outputs[0]!;
  } finally {
    for (const { sent } of pairs) target.disposeData(sent.dataId, true);
  }
}

function send(backend: VersemiBackend, target: KernelBackend, tensor: TensorInfo): TensorInfo {
  const values = backend.readSync(tensor.dataId);
  const { shape, dtype } = tensor;
  // Some kernels of TF.js read the rank, which a TensorInfo need not have: they expect the tensor of an op.
  const write = (part: Values, type: DataType): TensorInfo & { readonly rank: number } => ({
    dataId: target.write(part, shape, type),
    shape,
    dtype: type,
    rank: shape.length,
  });
  if (dtype !== 'complex64') return write(values, dtype);
  const { real, imag } = backend_util.splitRealAndImagArrays(values as Float32Array);
  const parts = { real: write(real, 'float32'), imag: write(imag, 'float32') };
  const whole = getKernel('Complex', 'cpu').kernelFunc({ inputs: parts, backend: target }) as TensorInfo;
  // The complex tensor holds references of its own.
  for (const part of Object.values(parts)) target.disposeData(part.dataId);
  return whole;
}

function fetch(backend: VersemiBackend, target: KernelBackend, output: TensorInfo): TensorInfo {
  const { shape, dtype } = output;
  const dataId = backend.write(target.readSync(output.dataId), shape, dtype);
  // Some kernels of TF.js return tensors that its engine counts.
  if ('dispose' in output) (output as Tensor).dispose();
  else target.disposeData(output.dataId);
  return { dataId, shape, dtype };
}
