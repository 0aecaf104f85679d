/** What the threads of the device wasm agree on; the other side is assembly/kernels/control.ts. */

/** Functions of assembly/kernels.ts; addresses and counts are numbers, flags 0 or 1. */
export interface KernelExports {
  heapBase(): number;
  bind(control: number, mayWait: 0 | 1, exact: 0 | 1): void;
  scratchBytes(op: number, call: number, parts: number): number;
  run(op: number, call: number, parts: number): void;
  /** A worker's life; only in the module with threads. */
  work(part: number, sequence: number): void;
}

/** Words of the control block that threads wait for or write often: each has a cache line (64 bytes) of its own. */
export const waitWords = ['sequence', 'generation', 'arrived', 'failed'] as const;

/** Byte offset of the command's op code, behind the wait words; 0 stops the workers. */
export const commandOffset = 256;

/** Bytes of the control block. */
export const controlBytes = 320;

/** What a worker is started with. */
export interface WorkerStart {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Address of the control block. */
  readonly control: number;
  /** Which part of every command the worker runs; the calling thread runs part 0. */
  readonly part: number;
  /** Plain sums only. */
  readonly exact: boolean;
}
