import type { BufferId, Device, DeviceMemory } from '../devices/device.js';
import { runPlain } from '../reference/plain-kernels.js';
import type { KernelName } from '../table/kernel-table.js';

/** A device over the plain kernels: what stands above devices runs without one; `refuse` makes it refuse rows. */
export class PlainDevice implements Device {
  readonly name = 'cpu';
  readonly threads = 1;
  readonly description: string = 'plain TypeScript';
  refuse: ReadonlySet<KernelName> = new Set();
  private readonly buffers = new Map<BufferId, Float32Array>();
  private next = 1;
  private peak = 0;

  allocate(bytes: number): BufferId {
    this.buffers.set(this.next, new Float32Array(bytes / 4).fill(Number.NaN));
    this.peak = Math.max(this.peak, this.memory().bytesInUse);
    return this.next++;
  }
  release(buffer: BufferId): void {
    if (!this.buffers.delete(buffer)) throw new Error(`buffer ${buffer} is not live`);
  }
  write(buffer: BufferId, source: ArrayBufferView): void {
    this.get(buffer).set(new Float32Array(source.buffer, source.byteOffset, source.byteLength / 4));
  }
  async read(buffer: BufferId, target: ArrayBufferView): Promise<void> {
    this.readSync(buffer, target);
  }
  readSync(buffer: BufferId, target: ArrayBufferView): void {
    const view = new Float32Array(target.buffer, target.byteOffset, target.byteLength / 4);
    view.set(this.get(buffer).subarray(0, view.length));
  }
  refuses(kernel: KernelName): string | null {
    return this.refuse.has(kernel) ? 'told to refuse' : null;
  }
  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void {
    runPlain(
      kernel,
      buffers.map((buffer) => (buffer === 0 ? null : this.get(buffer))),
      attributes,
    );
  }
  async synchronize(): Promise<void> {}
  memory(): DeviceMemory {
    let bytesInUse = 0;
    for (const values of this.buffers.values()) bytesInUse += values.byteLength;
    return { buffers: this.buffers.size, bytesInUse, bytesPooled: 0, bytesPeak: this.peak };
  }
  trim(): void {
    this.peak = this.memory().bytesInUse;
  }
  dispose(): void {
    this.buffers.clear();
  }

  protected get(buffer: BufferId): Float32Array {
    const values = this.buffers.get(buffer);
    if (values === undefined) throw new Error(`buffer ${buffer} is not live`);
    return values;
  }
}
