// Kernel table of the device wasm: one entry point for all ops (codes: src/tfjs/table/kernel-table.ts), the same in every thread.

import { axesScratch } from './kernels/axes';
import { binary } from './kernels/binary';
import { awaitChange, barrier, bindCall, bindControl } from './kernels/call';
import {
  CONTROL_CALL, CONTROL_OP, CONTROL_PARTS, CONTROL_SEQUENCE,
} from './kernels/control';
import { convolutionScratch, forward, fused, fusedScratch, gradInput } from './kernels/convolution';
import { usePlainSums } from './kernels/geometry';
import { gradWeight, gradWeightScratch } from './kernels/grad-weight';

import { head, headGrad, headGradScratch, headScratch } from './kernels/head';
import { concat, fill, pad, slice, tile, transpose } from './kernels/layout';
import {
  aggregateMax, aggregateMaxGrad, overlapScratch, overlapSums, overlapSumsGrad,
} from './kernels/losses';
import { matmul, matmulScratch } from './kernels/matmul';
import {
  batchNorm, batchNormGrad, batchNormGradScratch, batchNormScratch, instanceNorm, instanceNormGrad,
  instanceNormGradScratch, instanceNormScratch,
} from './kernels/norm';
import { adamStep, emaStep, packGradients, packScratch } from './kernels/optimiser';
import { cutMix, cutPatches } from './kernels/patches';
import { reduce, reduceScratch } from './kernels/reduce';
import { unary } from './kernels/unary';

export { convolutionBlock, dotBlock, outerBlock } from './kernels/micro';

export function heapBase(): usize {
  return __heap_base;
}

let controlBlock: usize = 0;

/**
 * Sets this thread up, once: the address of the control block; whether the thread may sleep (a browser's main thread may
 * not); and whether only plain sums are allowed (`exact`), which must be the same in every thread.
 */
export function bind(control: usize, mayWait: bool, exact: bool): void {
  controlBlock = control;
  bindControl(control, mayWait);
  usePlainSums(exact);
}

/** Bytes of scratch memory that a call needs when `parts` threads run it; may exceed 32 bits (then it cannot run). */
export function scratchBytes(op: i32, call: usize, parts: i32): f64 {
  bindCall(call, 0, parts);
  switch (op) {
    case 1: return convolutionScratch(false, parts);
    case 2: return convolutionScratch(true, parts);
    case 3: return gradWeightScratch(parts);
    case 4: return fusedScratch(parts);
    case 5: return instanceNormScratch();
    case 6: return instanceNormGradScratch();
    case 7: return batchNormScratch();
    case 8: return batchNormGradScratch();
    case 9: return headScratch(parts);
    case 10: return headGradScratch(parts);
    case 11: return overlapScratch();
    case 15: return packScratch();
    case 22: return reduceScratch();
    case 23: return matmulScratch(parts);
    case 21: case 24: case 25: case 26: case 27: case 28: return axesScratch(parts);
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
    case 5: instanceNorm(); break;
    case 6: instanceNormGrad(); break;
    case 7: batchNorm(); break;
    case 8: batchNormGrad(); break;
    case 9: head(); break;
    case 10: headGrad(); break;
    case 11: overlapSums(); break;
    case 12: overlapSumsGrad(); break;
    case 13: aggregateMax(); break;
    case 14: aggregateMaxGrad(); break;
    case 15: packGradients(); break;
    case 16: adamStep(); break;
    case 17: emaStep(); break;
    case 20: unary(); break;
    case 21: binary(); break;
    case 22: reduce(); break;
    case 23: matmul(); break;
    case 24: transpose(); break;
    case 25: slice(); break;
    case 26: pad(); break;
    case 27: concat(); break;
    case 28: tile(); break;
    case 29: fill(); break;
    case 30: cutPatches(); break;
    case 31: cutMix(); break;
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
