import type { KernelName } from './kernel-table.js';

/** Handle of a buffer on a device; 0 means "none". */
export type BufferId = number;

/** Memory of a device, bytes. */
export interface DeviceMemory {
  /** Live buffers. */
  readonly buffers: number;
  readonly bytesInUse: number;
  /** Freed, kept for reuse. */
  readonly bytesPooled: number;
  /** Largest bytesInUse so far. */
  readonly bytesPeak: number;
}

/**
 * What a backend needs of a device. Implemented by NativeDevice (addon: cpu, later cuda) and WasmDevice. Calls are in
 * order; on an asynchronous device only `read` and `synchronize` wait.
 */
export interface Device {
  readonly name: 'cpu' | 'wasm' | 'cuda';
  readonly threads: number;
  /** One line for people: instruction set or chip, threads. */
  readonly description: string;
  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY. Contents are undefined (and poisoned with NaN when VERSEMI_POISON=1). */
  allocate(bytes: number): BufferId;
  release(buffer: BufferId): void;
  write(buffer: BufferId, source: ArrayBufferView): void;
  read(buffer: BufferId, target: ArrayBufferView): Promise<void>;
  readSync(buffer: BufferId, target: ArrayBufferView): void;
  /** null if the device has a kernel for this call, else the reason why not. */
  refuses(kernel: KernelName, attributes: ArrayLike<number>): string | null;
  /** @throws VERSEMI_KERNEL_FAILED */
  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void;
  synchronize(): Promise<void>;
  memory(): DeviceMemory;
  /** Gives pooled memory back. */
  trim(): void;
  dispose(): void;
}
