// matmul: output [batch, m, n] = op(a) op(b), as a convolution with a 1 x 1 x 1 kernel: m voxels, k channels in, n out.

import { barrier, buffer, endItem, firstItem, integer, lines, part, scratch } from './call';
import { packedBytes, partBytes, planTiles, setGrid, setInput, setKernel, setOutput, setPad, setStride } from './geometry';
import { fillFloats } from './memory';
import { packRows, packTransposed, transposeQuad } from './pack';
import { runPass } from './pass';
import {
  MATMUL_A_STEP, MATMUL_BATCH, MATMUL_BUFFER_A, MATMUL_BUFFER_B, MATMUL_BUFFER_OUTPUT, MATMUL_B_STEP, MATMUL_K, MATMUL_M,
  MATMUL_N, MATMUL_TRANSPOSE_A, MATMUL_TRANSPOSE_B,
} from './table';

function plan(): void {
  const m = integer(MATMUL_M);
  setInput(1, 1, 1, m, integer(MATMUL_K));
  setKernel(1, 1, 1, integer(MATMUL_N));
  setStride(1, 1, 1);
  setPad(0, 0, 0);
  setGrid(1, 1, m);
  setOutput(1, 1, m, 0, 0, 0, 1, 1, 1);
  planTiles();
}

/** Matrices to prepare: one where all of the batch share it (`step`: place of the attribute aStep or bStep). */
function copies(step: i32): f64 {
  return integer(step) == 0 ? 1 : <f64>integer(MATMUL_BATCH);
}

function rowsBytes(): f64 {
  return integer(MATMUL_TRANSPOSE_A) != 0 ? lines(<f64>integer(MATMUL_M) * integer(MATMUL_K) * 4) : 0;
}

function biasBytes(): f64 {
  return lines(<f64>((integer(MATMUL_N) + 7) & ~7) * 4);
}

/** Scratch: [packed b][transposed a][zero bias][one area per part]. */
export function matmulScratch(parts: i32): f64 {
  plan();
  return lines(packedBytes()) * copies(MATMUL_B_STEP) + rowsBytes() * copies(MATMUL_A_STEP) + biasBytes() + partBytes() * parts;
}

export function matmul(): void {
  plan();
  const batch = integer(MATMUL_BATCH);
  const m = integer(MATMUL_M);
  const k = integer(MATMUL_K);
  const n = integer(MATMUL_N);
  const packed = scratch;
  const packedStep = <usize>lines(packedBytes());
  const rows = packed + <usize>(<f64>packedStep * copies(MATMUL_B_STEP));
  const rowsStep = <usize>rowsBytes();
  const bias = rows + <usize>(<f64>rowsStep * copies(MATMUL_A_STEP));
  const area = bias + <usize>biasBytes() + <usize>part * <usize>partBytes();
  const bStep = <usize>integer(MATMUL_B_STEP) << 2;
  const aStep = <usize>integer(MATMUL_A_STEP) << 2;
  if (part == 0) fillFloats(bias, <usize>((n + 7) & ~7), 0);
  for (let i: usize = 0; i < <usize>copies(MATMUL_B_STEP); i++) {
    const b = buffer(MATMUL_BUFFER_B) + i * bStep;
    if (integer(MATMUL_TRANSPOSE_B) == 0) packRows(b, k, n, packed + i * packedStep);
    else {
      const panels = <usize>((n + 7) >> 3);
      const first = <i32>firstItem(panels);
      const last = <i32>endItem(panels);
      packTransposed(b, <usize>k << 2, n, k, packed + i * packedStep, <usize>k << 5, first, last);
    }
  }
  if (integer(MATMUL_TRANSPOSE_A) != 0) {
    for (let i: usize = 0; i < <usize>copies(MATMUL_A_STEP); i++) {
      transposeShare(buffer(MATMUL_BUFFER_A) + i * aStep, k, m, rows + i * rowsStep);
    }
  }
  barrier();
  for (let i: usize = 0; i < <usize>batch; i++) {
    let a = buffer(MATMUL_BUFFER_A) + i * aStep;
    if (integer(MATMUL_TRANSPOSE_A) != 0) a = aStep != 0 ? rows + i * rowsStep : rows;
    const b = bStep != 0 ? packed + i * packedStep : packed;
    runPass(a, b, bias, buffer(MATMUL_BUFFER_OUTPUT) + i * ((<usize>m * <usize>n) << 2), area, 0, 0, 0);
  }
}

/** This part's rows of the transpose [columns, rows] of a matrix [rows, columns]. */
function transposeShare(source: usize, rows: i32, columns: i32, target: usize): void {
  const quads = (<usize>columns + 3) >> 2;
  const from = <usize>columns << 2;
  const to = <usize>rows << 2;
  const end = endItem(quads);
  for (let quad = firstItem(quads); quad < end; quad++) {
    const c = quad << 2;
    const width = min(4, <usize>columns - c);
    let r: usize = 0;
    if (width == 4) {
      for (; r + 4 <= <usize>rows; r += 4) transposeQuad(source + r * from + (c << 2), from, target + c * to + (r << 2), to);
    }
    for (let w: usize = 0; w < width; w++) {
      for (let j = r; j < <usize>rows; j++) {
        store<u32>(target + (c + w) * to + (j << 2), load<u32>(source + j * from + ((c + w) << 2)));
      }
    }
  }
}
