// A tile of a pass by direct sums: brings its input into place and sums the taps panel by panel (micro.ts).

import { endItem, firstItem } from './call';
import {
  channels, gridHeight, gridWidth, inDepth, inHeight, inWidth, kernelDepth, kernelHeight, kernelWidth, mode, MODE_DIRECT,
  MODE_PADDED, outStepDepth, outStepHeight, outStepWidth, padDepth, paddedHeight, paddedWidth, padHeight, padWidth, samples,
  strideDepth, strideHeight, strideWidth, stripBytes, stripColumns, stripRows, tileColumn, tileColumns, tileDepth, tileRow,
  tileRows,
} from './geometry';
import { copyFloats, fillFloats, storePartial } from './memory';
import { convolutionBlock } from './micro';

/** Weights of one panel that a pass over a tile may keep in the level-1 cache, bytes. */
const TAP_BUDGET: usize = 24576;

// Areas of this part's scratch (sizes: partBytes in geometry.ts).
let strip: usize = 0;
let voxelTable: usize = 0;
let tapTable: usize = 0;
let tailTile: usize = 0;

// What the voxel table was made for.
let tableRows: i32 = -1;
let tableColumns: i32 = -1;
let tapsEnd: usize = 0;

// The tile in progress.
let rows: i32 = 0;
let columns: i32 = 0;
/** Where the table's input offsets count from. */
let base: usize = 0;

function align(bytes: usize): usize {
  return (bytes + 63) & ~63;
}

/** Lays the areas out in this part's scratch. */
export function bindDirect(area: usize): void {
  strip = area;
  voxelTable = strip + align(<usize>stripBytes);
  tapTable = voxelTable + (((<usize>(tileRows * tileColumns) + 11) >> 3) << 6);
  tailTile = tapTable + (((<usize>(kernelDepth * kernelHeight) + 7) >> 3) << 6);
  tableRows = -1;
  tableColumns = -1;
}

/**
 * Copies this part's share of the input into `padded` [samples, inDepth, paddedHeight, paddedWidth, channels]; needs a
 * barrier afterwards. Only in MODE_PADDED.
 */
export function padInput(input: usize, padded: usize): void {
  if (mode != MODE_PADDED) return;
  const planes = <usize>samples * <usize>inDepth;
  const inRow = <usize>(inWidth * channels) << 2;
  const row = <usize>(paddedWidth * channels) << 2;
  const total = planes * <usize>paddedHeight;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const plane = item / <usize>paddedHeight;
    const height = <i32>(item % <usize>paddedHeight) - padHeight;
    copyRow(padded + item * row, input + (plane * <usize>inHeight + <usize>height) * inRow, height, -padWidth, paddedWidth);
  }
}

/** Columns [first, first + count) of an input row, with zeros outside; `height` outside the input gives zeros. */
function copyRow(target: usize, source: usize, height: i32, first: i32, count: i32): void {
  const left = height < 0 || height >= inHeight ? count : min(count, max(0, -first));
  const right = min(count, max(left, inWidth - first));
  const voxel = <usize>channels << 2;
  fillFloats(target, <usize>(left * channels), 0);
  if (right > left) {
    copyFloats(target + <usize>left * voxel, source + <usize>(first + left) * voxel, <usize>((right - left) * channels));
  }
  fillFloats(target + <usize>right * voxel, <usize>((count - right) * channels), 0);
}

/** Bytes from a sample's output to the tile's first voxel, from which the table's output offsets count. */
export function directOutput(): usize {
  return <usize>tileDepth * outStepDepth + <usize>tileRow * outStepHeight + <usize>tileColumn * outStepWidth;
}

/** The tile's voxels: pairs of u32 of which the second is the output offset. */
export function directTable(): usize {
  return voxelTable;
}
export function directVoxels(): i32 {
  return rows * columns;
}

/** Sums one panel's `width` channels of the tile to `out`; `start`: eight biases. */
export function sumPanel(out: usize, weights: usize, width: i32, start: usize): void {
  const voxels = rows * columns;
  if (width == 8) {
    runBlocks(out, voxels, weights, start);
    return;
  }
  contiguousOutputs(voxels);
  runBlocks(tailTile, voxels, weights, start);
  scatterTail(out, voxels, width);
}

/** Brings the input of the tile that locateTile found into place and fills the tables. */
export function prepareDirect(input: usize, sample: i32): void {
  rows = min(tileRows, gridHeight - tileRow);
  columns = min(tileColumns, gridWidth - tileColumn);
  if (rows != tableRows || columns != tableColumns) fillVoxelTable();
  const voxel = <usize>channels << 2;
  const depth = tileDepth * strideDepth - padDepth;
  if (mode == MODE_DIRECT || mode == MODE_PADDED) {
    const height = mode == MODE_PADDED ? paddedHeight : inHeight;
    const width = mode == MODE_PADDED ? paddedWidth : inWidth;
    const firstRow = tileRow * strideHeight - (mode == MODE_PADDED ? 0 : padHeight);
    const firstColumn = tileColumn * strideWidth - (mode == MODE_PADDED ? 0 : padWidth);
    const row = <usize>width * voxel;
    fillTaps(depth, <usize>height * row, row);
    base = input + <usize>(sample * inDepth + depth) * (<usize>height * row) +
      <usize>firstRow * row + <usize>firstColumn * voxel;
    return;
  }
  const row = <usize>stripColumns * voxel;
  const plane = <usize>stripRows * row;
  const usedRows = (rows - 1) * strideHeight + kernelHeight;
  const usedColumns = (columns - 1) * strideWidth + kernelWidth;
  for (let k = 0; k < kernelDepth; k++) {
    const d = depth + k;
    if (d < 0 || d >= inDepth) continue;
    for (let r = 0; r < usedRows; r++) {
      const h = tileRow * strideHeight - padHeight + r;
      const source = input + ((<usize>(sample * inDepth + d) * <usize>inHeight + <usize>h) * <usize>inWidth) * voxel;
      copyRow(strip + <usize>k * plane + <usize>r * row, source, h, tileColumn * strideWidth - padWidth, usedColumns);
    }
  }
  fillTaps(depth, plane, row);
  base = strip;
}

/** One entry per (kernel depth, kernel height) whose plane lies inside the input. */
function fillTaps(depth: i32, plane: usize, row: usize): void {
  const runWeights = <usize>(kernelWidth * channels) << 5;
  let tap = tapTable;
  for (let k = 0; k < kernelDepth; k++) {
    if (depth + k < 0 || depth + k >= inDepth) continue;
    for (let h = 0; h < kernelHeight; h++) {
      store<u32>(tap, <u32>(<usize>k * plane + <usize>h * row));
      store<u32>(tap, <u32>(<usize>(k * kernelHeight + h) * runWeights), 4);
      tap += 8;
    }
  }
  tapsEnd = tap;
}

/** Input and output offsets of the tile's voxels, row by row, the last one repeated to a whole block of four. */
function fillVoxelTable(): void {
  const voxel = <usize>channels << 2;
  const width = mode == MODE_DIRECT ? inWidth : mode == MODE_PADDED ? paddedWidth : stripColumns;
  const inRow = <usize>(strideHeight * width) * voxel;
  const inColumn = <usize>strideWidth * voxel;
  let entry = voxelTable;
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) {
      store<u32>(entry, <u32>(<usize>r * inRow + <usize>c * inColumn));
      store<u32>(entry, <u32>(<usize>r * outStepHeight + <usize>c * outStepWidth), 4);
      entry += 8;
    }
  }
  for (let v = rows * columns; v & 3; v++) {
    store<u64>(entry, load<u64>(entry - 8));
    entry += 8;
  }
  tableRows = rows;
  tableColumns = columns;
}

/** All blocks of the tile for one panel, the taps in groups whose weights stay in the level-1 cache. */
function runBlocks(out: usize, voxels: i32, weights: usize, start: usize): void {
  const run = <usize>(kernelWidth * channels) << 2;
  const tapsPerGroup = max(1, TAP_BUDGET / (run << 3)) << 3;
  const tableEnd = voxelTable + (<usize>voxels << 3);
  let first = tapTable;
  let from = start;
  do {
    const last = min(tapsEnd, first + tapsPerGroup);
    for (let entry = voxelTable; entry < tableEnd; entry += 32) {
      convolutionBlock(base, out, entry, weights, first, last, run, from);
    }
    first = last;
    from = 0;
  } while (first < tapsEnd);
}

/** Points the table's outputs at [voxel][8] of the tail tile (a panel with fewer than eight channels). */
function contiguousOutputs(voxels: i32): void {
  const padded = (voxels + 3) & ~3;
  for (let v = 0; v < padded; v++) store<u32>(voxelTable + (<usize>v << 3), <u32>(min(v, voxels - 1) << 5), 4);
}

/** Copies the tail tile's valid channels to the output and points the table back at it. */
function scatterTail(out: usize, voxels: i32, width: i32): void {
  tableRows = -1;
  fillVoxelTable();
  for (let v = 0; v < voxels; v++) {
    const target = out + <usize>load<u32>(voxelTable + (<usize>v << 3), 4);
    const source = tailTile + (<usize>v << 5);
    if (width < 4) storePartial(target, v128.load(source), width);
    else {
      v128.store(target, v128.load(source));
      if (width > 4) storePartial(target + 16, v128.load(source, 16), width - 4);
    }
  }
}
