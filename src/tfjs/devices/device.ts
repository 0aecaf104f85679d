import type { KernelName } from '../table/kernel-table.js';

/** Handle of a buffer on a device; 0 means "none". */
export type BufferId = number;

/** Precision of the operands of convolutions; sums are float32 in every one. */
export type Precision = 'float32' | 'tf32' | 'bfloat16';

/** What a device is made with. */
export interface DeviceSettings {
  /** Default: VERSEMI_THREADS, else all cores that this process may use. */
  readonly threads?: number;
  /**
   * Plain sums only, no minimal filtering (Winograd) and no lowered precision. Default false. Minimal filtering makes NaN of an
   * infinite element, and of some outputs around those that plain sums make infinite; neither makes a finite number of it.
   */
  readonly exact?: boolean;
  /**
   * Default: float32, on cuda bfloat16. A device refuses what it does not have: cpu and wasm have float32 alone. Anything
   * below float32 contradicts `exact`.
   */
  readonly precision?: Precision;
}

/** Memory of a device, bytes. */
export interface DeviceMemory {
  /** Live buffers. */
  readonly buffers: number;
  readonly bytesInUse: number;
  /** Freed, kept for reuse. */
  readonly bytesPooled: number;
  /** Largest bytesInUse since the device was made or trimmed; on cuda with what kernels need besides their tensors. */
  readonly bytesPeak: number;
}

/** One way in which a device may compute a call. */
export interface RowAnswer {
  readonly name: string;
  /** Why it does not take the call; null where it does. */
  readonly reason: string | null;
}

/** Kernel calls that a device recorded once and runs again as a whole; see `Device.record`. */
export interface Recording {
  /** @returns false where it is no longer valid: a buffer that it uses is gone, or its memory was needed elsewhere */
  replay(): boolean;
  /** Frees what was recorded; its buffers stay. */
  dispose(): void;
}

/**
 * Sums over the devices of several processes (ranks), each with one of its own, from device to device. Every rank calls `start` for the
 * same sums in the same order. Every rank gets the same bits; the order of summation is the library's.
 */
export interface DeviceSums {
  /**
   * Looks for the library that the sums go through from now on.
   * @param file its name or path
   * @returns its version; without one, what was found instead
   */
  open(file: string): { readonly version: string } | { readonly version?: undefined; readonly found: string };
  /** 128 bytes, which rank 0 makes and every rank joins with. */
  makeId(): Uint8Array;
  /**
   * Meets the other ranks. Where alarm[0] is not 0 any more, one of them is lost: sums that wait for it are given up, and what is read
   * of the device then fails.
   */
  join(id: Uint8Array, rank: number, ranks: number, alarm: Int32Array): Promise<void>;
  /**
   * Begins to replace the first elements of a buffer, as float32, by their sums over the ranks. Calls that use the buffer come after it,
   * others run meanwhile.
   */
  start(buffer: BufferId, elements: number): void;
  /** Ends it. @param atOnce gives up sums under way; else every rank must have come here, with its sums done */
  leave(atOnce: boolean): void;
}

/**
 * What a backend needs of a device. Implemented by NativeDevice (addon: cpu, cuda) and WasmDevice. Calls are in
 * order; on an asynchronous device only `read`, `readSync` and `synchronize` wait.
 */
export interface Device {
  readonly name: 'cpu' | 'wasm' | 'cuda';
  readonly threads: number;
  /** One line for people: instruction set or chip, threads. */
  readonly description: string;
  /** Of the operands of convolutions and of stored activations; absent: float32. */
  readonly precision?: Precision;
  /** @throws VERSEMI_DEVICE_OUT_OF_MEMORY. Contents are undefined (and poisoned with NaN when VERSEMI_POISON=1). */
  allocate(bytes: number): BufferId;
  /** Gives a buffer back; its memory is kept for the next one. */
  release(buffer: BufferId): void;
  /** Copies the bytes of `source` to the beginning of a buffer. */
  write(buffer: BufferId, source: ArrayBufferView): void;
  /** Copies as many bytes as `target` has from the beginning of a buffer, after all calls before. */
  read(buffer: BufferId, target: ArrayBufferView): Promise<void>;
  /** As `read`, while the thread waits. */
  readSync(buffer: BufferId, target: ArrayBufferView): void;
  /** null if the device has a kernel for this call, else the reason why not. */
  refuses(kernel: KernelName, attributes: ArrayLike<number>): string | null;
  /** @throws VERSEMI_KERNEL_FAILED */
  run(kernel: KernelName, buffers: readonly BufferId[], attributes: ArrayLike<number>): void;
  /** What each row of a kernel says to a call, best first; `run` takes the first that does not refuse. */
  rows?(kernel: KernelName, attributes: ArrayLike<number>): RowAnswer[];
  /** From now on `run` takes this row alone; '': any again. For tests of every row. */
  useRow?(name: string): void;
  /** Kept when everything that was called before is done. */
  synchronize(): Promise<void>;
  /**
   * Records the kernel calls of `work` instead of running them; absent where a device cannot. Buffers that were there before
   * keep their place, so what they hold may be overwritten between replays; everything else that the host writes during
   * `work` is constant.
   * @throws NotRecordable where the work cannot be recorded; whatever `work` throws
   */
  record?(work: () => void): Recording;
  /**
   * Begins to bring values that `commit` then makes those of a buffer, beside kernels that still use what it holds; absent
   * where a device has nothing to gain by it. `source` must not change before the promise is kept.
   */
  upload?(buffer: BufferId, source: ArrayBufferView): Promise<void>;
  /** Makes the uploaded values those of the buffer. */
  commit?(buffer: BufferId): void;
  /** Absent where a device has none. */
  readonly sums?: DeviceSums;
  /** What is in use now, and was at most. */
  memory(): DeviceMemory;
  /** Gives pooled memory back and begins to count the peak anew. */
  trim(): void;
  /** Frees everything; the device is of no use afterwards. */
  dispose(): void;
}

/** Why some work cannot be recorded; thrown by `Device.record`. */
export class NotRecordable extends Error {
  override readonly name = 'NotRecordable';
}
