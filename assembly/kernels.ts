// Entry points of the device wasm, the same in every thread: which op of the kernel table is which function.

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
import { adamStep, emaStep, packGradients, packScratch, sgdStep } from './kernels/optimiser';
import { cutMix, cutPatches } from './kernels/patches';
import { reduce, reduceScratch } from './kernels/reduce';
import {
  OP_ADAM_STEP, OP_AGGREGATE_MAX, OP_AGGREGATE_MAX_GRAD, OP_BATCH_NORM_RELU, OP_BATCH_NORM_RELU_GRAD, OP_BINARY, OP_CONCAT,
  OP_CONV3D_FORWARD, OP_CONV3D_GRAD_INPUT, OP_CONV3D_GRAD_WEIGHT, OP_CONV3D_NORM_RELU, OP_CUT_MIX, OP_CUT_PATCHES,
  OP_DYNAMIC_HEAD, OP_DYNAMIC_HEAD_GRAD, OP_EMA_STEP, OP_FILL, OP_INSTANCE_NORM_RELU, OP_INSTANCE_NORM_RELU_GRAD, OP_MATMUL,
  OP_OVERLAP_SUMS, OP_OVERLAP_SUMS_GRAD, OP_PACK_GRADIENTS, OP_PAD, OP_REDUCE, OP_SGD_STEP, OP_SLICE, OP_TILE, OP_TRANSPOSE,
  OP_UNARY,
} from './kernels/table';
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
    case OP_CONV3D_FORWARD: return convolutionScratch(false, parts);
    case OP_CONV3D_GRAD_INPUT: return convolutionScratch(true, parts);
    case OP_CONV3D_GRAD_WEIGHT: return gradWeightScratch(parts);
    case OP_CONV3D_NORM_RELU: return fusedScratch(parts);
    case OP_INSTANCE_NORM_RELU: return instanceNormScratch();
    case OP_INSTANCE_NORM_RELU_GRAD: return instanceNormGradScratch();
    case OP_BATCH_NORM_RELU: return batchNormScratch();
    case OP_BATCH_NORM_RELU_GRAD: return batchNormGradScratch();
    case OP_DYNAMIC_HEAD: return headScratch(parts);
    case OP_DYNAMIC_HEAD_GRAD: return headGradScratch(parts);
    case OP_OVERLAP_SUMS: return overlapScratch();
    case OP_PACK_GRADIENTS: return packScratch();
    case OP_REDUCE: return reduceScratch();
    case OP_MATMUL: return matmulScratch(parts);
    case OP_BINARY: case OP_TRANSPOSE: case OP_SLICE: case OP_PAD: case OP_CONCAT: case OP_TILE: return axesScratch(parts);
    default: return 0;
  }
}

/** Runs one part of a call; all parts must run, at the same time where there are several. */
function execute(op: i32, call: usize, part: i32, parts: i32): void {
  bindCall(call, part, parts);
  switch (op) {
    case OP_CONV3D_FORWARD: forward(); break;
    case OP_CONV3D_GRAD_INPUT: gradInput(); break;
    case OP_CONV3D_GRAD_WEIGHT: gradWeight(parts); break;
    case OP_CONV3D_NORM_RELU: fused(parts); break;
    case OP_INSTANCE_NORM_RELU: instanceNorm(); break;
    case OP_INSTANCE_NORM_RELU_GRAD: instanceNormGrad(); break;
    case OP_BATCH_NORM_RELU: batchNorm(); break;
    case OP_BATCH_NORM_RELU_GRAD: batchNormGrad(); break;
    case OP_DYNAMIC_HEAD: head(); break;
    case OP_DYNAMIC_HEAD_GRAD: headGrad(); break;
    case OP_OVERLAP_SUMS: overlapSums(); break;
    case OP_OVERLAP_SUMS_GRAD: overlapSumsGrad(); break;
    case OP_AGGREGATE_MAX: aggregateMax(); break;
    case OP_AGGREGATE_MAX_GRAD: aggregateMaxGrad(); break;
    case OP_PACK_GRADIENTS: packGradients(); break;
    case OP_ADAM_STEP: adamStep(); break;
    case OP_SGD_STEP: sgdStep(); break;
    case OP_EMA_STEP: emaStep(); break;
    case OP_UNARY: unary(); break;
    case OP_BINARY: binary(); break;
    case OP_REDUCE: reduce(); break;
    case OP_MATMUL: matmul(); break;
    case OP_TRANSPOSE: transpose(); break;
    case OP_SLICE: slice(); break;
    case OP_PAD: pad(); break;
    case OP_CONCAT: concat(); break;
    case OP_TILE: tile(); break;
    case OP_FILL: fill(); break;
    case OP_CUT_PATCHES: cutPatches(); break;
    case OP_CUT_MIX: cutMix(); break;
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
