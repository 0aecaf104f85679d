// Kernel table of the device wasm: one entry point for all ops (codes: src/tfjs/kernel-table.ts), the same in every thread.

import { awaitChange, barrier, bindCall, bindControl } from './kernels/call';
import {
  CONTROL_CALL, CONTROL_OP, CONTROL_PARTS, CONTROL_SEQUENCE,
} from './kernels/control';
import { convolutionScratch, forward, fused, fusedScratch, gradInput } from './kernels/convolution';
import { gradWeight, gradWeightScratch } from './kernels/grad-weight';

export { convolutionBlock, outerBlock } from './kernels/micro';

export function heapBase(): usize {
  return __heap_base;
}

let controlBlock: usize = 0;

/** Names the control block; `mayWait`: this thread may sleep (a browser's main thread may not). */
export function bind(control: usize, mayWait: bool): void {
  controlBlock = control;
  bindControl(control, mayWait);
}

/** Bytes of scratch memory that a call needs when `parts` threads run it; may exceed 32 bits (then it cannot run). */
export function scratchBytes(op: i32, call: usize, parts: i32): f64 {
  bindCall(call, 0, parts);
  switch (op) {
    case 1: return convolutionScratch(false, parts);
    case 2: return convolutionScratch(true, parts);
    case 3: return gradWeightScratch(parts);
    case 4: return fusedScratch(parts);
    default: return 0;
  }
}

/** Runs one part of a call; all parts must run, at the same time where there are several. */
function execute(op: i32, call: usize, part: i32, parts: i32): void {
  bindCall(call, part, parts);
  switch (op) {
    case 1: forward(); break;
    case 2: gradInput(); break;
    case 3: gradWeight(parts); break;
    case 4: fused(parts); break;
    default: unreachable();
  }
  barrier();
}

/** Runs a call on `parts` threads, this one included: 1 or all, since every worker runs every command. */
export function run(op: i32, call: usize, parts: i32): void {
  if (ASC_FEATURE_THREADS) {
    if (parts > 1) {
      store<i32>(controlBlock + CONTROL_OP, op);
      store<u32>(controlBlock + CONTROL_CALL, <u32>call);
      store<i32>(controlBlock + CONTROL_PARTS, parts);
      atomic.add<i32>(controlBlock + CONTROL_SEQUENCE, 1);
      atomic.notify(controlBlock + CONTROL_SEQUENCE, -1);
    }
  }
  execute(op, call, 0, parts);
}

/** A worker's life: runs part `part` of every command from `sequence` on until the command to stop (op 0). */
export function work(part: i32, sequence: i32): void {
  if (ASC_FEATURE_THREADS) {
    while (true) {
      awaitChange(CONTROL_SEQUENCE, sequence);
      sequence = atomic.load<i32>(controlBlock + CONTROL_SEQUENCE);
      const op = load<i32>(controlBlock + CONTROL_OP);
      if (op == 0) return;
      const parts = load<i32>(controlBlock + CONTROL_PARTS);
      execute(op, <usize>load<u32>(controlBlock + CONTROL_CALL), part, parts);
    }
  }
}
