// A device that computes nothing and counts bytes, so that the memory of a step is known at any size.
import type { BufferId, Device, DeviceMemory, Precision } from '../../src/tfjs/devices/device.js';
import { inputCount } from '../../src/tfjs/table/call-check.js';
import type { KernelName } from '../../src/tfjs/table/kernel-table.js';

type Format = 'float32' | 'bfloat16';

interface Tensor {
  readonly elements: number;
  /** Undefined until something is in it. */
  format: Format | undefined;
}

/** One tensor of a call and the format in which the kernel wants it; see the `plan` functions of native/cuda. */
interface Operand {
  readonly tensor: Tensor | undefined;
  wanted: Format;
}

const bytesOf = ({ elements }: Tensor, format: Format) => elements * (format === 'bfloat16' ? 2 : 4);

/**
 * Counts as the device `cuda` does (native/cuda/device): memory is taken when a tensor is first filled, activations lie
 * in the format that the precision says, and what a kernel wants in another format is converted for the call. Scratch of
 * kernels and the rounding of blocks are left out.
 */
export class AccountingDevice implements Device {
  readonly name = 'cuda';
  readonly threads = 1;
  readonly description = 'counts bytes';
  private readonly tensors = new Map<BufferId, Tensor>();
  private next = 1;
  private inUse = 0;
  private peak = 0;

  constructor(readonly precision: Precision & Format) {}

  allocate(bytes: number): BufferId {
    this.tensors.set(this.next, { elements: Math.ceil(bytes / 4), format: undefined });
    return this.next++;
  }
  release(buffer: BufferId): void {
    const tensor = this.tensors.get(buffer)!;
    this.tensors.delete(buffer);
    if (tensor.format !== undefined) this.inUse -= bytesOf(tensor, tensor.format);
  }
  write(buffer: BufferId): void {
    this.store(this.tensors.get(buffer)!, 'float32');
  }
  readSync(_: BufferId, target: ArrayBufferView): void {
    new Uint8Array(target.buffer, target.byteOffset, target.byteLength).fill(0);
  }
  async read(buffer: BufferId, target: ArrayBufferView): Promise<void> {
    this.readSync(buffer, target);
  }
  refuses(): null {
    return null;
  }
  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void {
    const operands = buffers.map((id): Operand => {
      const tensor = this.tensors.get(id);
      return { tensor, wanted: tensor?.format ?? 'float32' };
    });
    const first = inputCount(kernel, buffers.length);
    for (const operand of operands.slice(first)) operand.wanted = 'float32';
    plan(kernel, operands, attributes, this.precision);
    let converted = 0;
    for (const [i, { tensor, wanted }] of operands.entries()) {
      if (tensor === undefined) continue;
      if (tensor.format === undefined) this.store(tensor, i < first ? 'float32' : wanted);
      // A tensor that is written in place keeps its full precision.
      else if (i >= first && wanted === 'float32') this.store(tensor, 'float32');
      if (tensor.format !== wanted) converted += bytesOf(tensor, wanted);
    }
    this.peak = Math.max(this.peak, this.inUse + converted);
  }
  async synchronize(): Promise<void> {}
  memory(): DeviceMemory {
    return { buffers: this.tensors.size, bytesInUse: this.inUse, bytesPooled: 0, bytesPeak: this.peak };
  }
  trim(): void {
    this.peak = this.inUse;
  }
  dispose(): void {
    this.tensors.clear();
  }

  private store(tensor: Tensor, format: Format): void {
    if (tensor.format !== undefined) this.inUse -= bytesOf(tensor, tensor.format);
    this.inUse += bytesOf(tensor, format);
    tensor.format = format;
    this.peak = Math.max(this.peak, this.inUse);
  }
}

/** What the kernels of native/cuda that the step needs make of the formats of their operands. */
function plan(kernel: KernelName, operands: Operand[], attributes: ArrayLike<number>, activations: Format): void {
  const set = (format: Format, ...indices: number[]) => {
    for (const i of indices) operands[i]!.wanted = format;
  };
  /** bfloat16 where the tensor is. */
  const like = (i: number): Format => operands[i]!.wanted;
  switch (kernel) {
    case 'conv3d_forward':
    case 'conv3d_grad_input':
    case 'conv3d_norm_relu': {
      const fused = kernel === 'conv3d_norm_relu';
      const transposed = kernel === 'conv3d_grad_input' || (fused && attributes[18] === 1);
      const at = transposed ? 1 : 5;
      const voxels = attributes[at]! * attributes[at + 1]! * attributes[at + 2]!;
      set('float32', ...operands.keys());
      set(activations, 0);
      set(voxels > 1 ? activations : 'float32', ...(fused ? [2, 3, 4] : [3]));
      return;
    }
    case 'conv3d_grad_weight':
      set(activations, 0, 1);
      return;
    case 'instance_norm_relu_grad': {
      const narrow = like(0) === 'bfloat16' || like(1) === 'bfloat16' ? 'bfloat16' : 'float32';
      set(narrow, 0, 1, 4);
      return;
    }
    case 'batch_norm_relu':
      set(like(0), 5);
      return;
    case 'batch_norm_relu_grad': {
      const narrow = like(0) === 'bfloat16' || like(1) === 'bfloat16' ? 'bfloat16' : 'float32';
      set(narrow, 0, 1, 8);
      return;
    }
    case 'dynamic_head':
      set('float32', 1, 2);
      return;
    case 'dynamic_head_grad':
      set('float32', 0, 2, 4);
      set(like(1), 3);
      return;
    case 'binary': {
      const { elements } = operands[2]!.tensor!;
      const full = operands.slice(0, 2).filter(({ tensor }) => tensor!.elements === elements);
      for (const operand of operands.slice(0, 2)) if (!full.includes(operand)) operand.wanted = 'float32';
      const narrow = full.length > 0 && full.every(({ wanted }) => wanted === 'bfloat16');
      set(narrow ? 'bfloat16' : 'float32', 2);
      return;
    }
    case 'unary':
    case 'transpose':
    case 'slice':
    case 'pad':
    case 'tile':
      set(like(0), 1);
      return;
    case 'concat': {
      const narrow = operands.slice(0, -1).every(({ wanted }) => wanted === 'bfloat16');
      set(narrow ? 'bfloat16' : 'float32', ...operands.keys());
      return;
    }
    default:
      set('float32', ...operands.keys());
  }
}
