import type { KernelName } from './kernel-table.js';

/** Handle of a buffer on a device; 0 means "none". */
export type BufferId = number;

/** Precision of the operands of convolutions; sums are float32 in every one (int32 for int8). */
export type Precision = 'float32' | 'tf32' | 'bfloat16' | 'int8';

/** What a device is made with. */
export interface DeviceSettings {
  /** Default: VERSEMI_THREADS, else all cores that this process may use. */
  readonly threads?: number;
  /** Plain sums only, no minimal filtering (Winograd) and no lowered precision. Default false. */
  readonly exact?: boolean;
  /** Default: float32. Lower ones serve inference on the CPU; a device refuses what it does not have. */
  readonly precision?: Precision;
}

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
