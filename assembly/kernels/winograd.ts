// Passes with 3 x 3 x 3 kernels and unit stride by minimal filtering (winograd-transforms.ts). A tile is a box of blocks of
// 2 x 2 x 2 output voxels. Per tile: its inputs are transformed, [64][block][channel]; the products are 64 small matrix
// products [block, channel] x [channel, 8], by the register block of all convolutions; then they are transformed back.
// The 64 planes lie one cache line more apart than their size, or they would all fall on the same few sets of the cache.

import { endItem, firstItem } from './call';
import {
  channels, gridDepth, gridHeight, gridWidth, inDepth, inHeight, inWidth, outChannels, outStepDepth, outStepHeight,
  outStepWidth, padDepth, padHeight, padWidth, panels, panelsPerGroup, tileColumn, tileColumns, tileDepth, tileDepths, tileRow,
  tileRows,
} from './geometry';
import { fillFloats } from './memory';
import { convolutionBlock } from './micro';
import { transformColumn, transformOutput, transformRow, transformWeights, WORK_BYTES } from './winograd-transforms';

const LINE: usize = 64;

/** Blocks of a full tile (tile sizes are in blocks here). */
function tileBlocks(): usize {
  return <usize>(tileDepths * tileRows * tileColumns);
}

/** Bytes from value t of the tile's transformed inputs to value t + 1. */
export function inputStep(): usize {
  return tileBlocks() * (<usize>channels << 2) + LINE;
}

/** Bytes from value t of the tile's products to value t + 1. */
export function productStep(): usize {
  return <usize>panelsPerGroup * (tileBlocks() << 5) + LINE;
}

/** Bytes from value t to value t + 1 of a panel's transformed weights [64][channel][8]. */
function weightStep(): usize {
  return (<usize>channels << 5) + LINE;
}

/** Transformed weights of all panels, bytes. */
export function winogradPackedBytes(): f64 {
  return <f64>panels * 64 * <f64>weightStep();
}

/** Scratch of a part: transformed inputs, products, work, addresses, tables, zeros. */
export function winogradPartBytes(): f64 {
  const blocks = <f64>tileBlocks();
  return (
    64 * <f64>(inputStep() + productStep()) + <f64>workBytes() + 256 + blocks * 32 + ceil((blocks + 4) / 8) * 64 +
    blocks * 64 + <f64>zeroBytes() + 64
  );
}

/** Bytes of a run of zeros that stands in for rows of input and for output voxels outside the tensor. */
function zeroBytes(): usize {
  return (max(<usize>(2 * tileColumns + 2) * <usize>channels, <usize>outChannels) * 4 + 63) & ~63;
}

/** Bytes of working space: a tile's columns after depth and height (16 vectors each), or what the other maps need. */
function workBytes(): usize {
  return max(WORK_BYTES, <usize>(2 * tileColumns + 2) << 8);
}

/** Transforms this part's share of the weights: tap k of (channel c, panel p) at source + k * tapStep + c * row + p * panel. */
export function packWinograd(source: usize, tapStep: usize, row: usize, panelStep: usize, packed: usize, work: usize): void {
  const step = weightStep();
  // An item is eight channels of one panel: their cache lines are read and written whole.
  const rows = <usize>(channels + 7) >> 3;
  const total = <usize>panels * rows;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const panel = item % <usize>panels;
    const first = (item / <usize>panels) << 3;
    const last = min(<usize>channels, first + 8);
    for (let channel = first; channel < last; channel++) {
      const from = source + panel * panelStep + channel * row;
      const to = packed + panel * (step << 6) + (channel << 5);
      transformWeights(from, tapStep, to, step, work);
      transformWeights(from + 16, tapStep, to + 16, step, work);
    }
  }
}

// Areas of this part's scratch.
let inputs: usize = 0;
let products: usize = 0;
let work: usize = 0;
let patchTable: usize = 0;
/** Per block, 8 x u32: addresses of its output voxels. */
let outputTable: usize = 0;
/** Per block, a pair of u32: offsets of its channels among the inputs and of its eight products. */
let blockTable: usize = 0;
/** Per voxel inside the tensor, a pair of u32 of which the second is its output offset (for the statistics). */
let voxelTable: usize = 0;
let zeros: usize = 0;
let waste: usize = 0;

/** Lays the tile's areas out in this part's scratch. */
export function bindTile(area: usize): void {
  const blocks = tileBlocks();
  inputs = area;
  products = inputs + (inputStep() << 6);
  work = products + (productStep() << 6);
  patchTable = work + workBytes();
  outputTable = patchTable + 256;
  blockTable = outputTable + (blocks << 5);
  voxelTable = blockTable + (((blocks + 11) >> 3) << 6);
  zeros = voxelTable + (blocks << 6);
  waste = zeros + zeroBytes();
  fillFloats(zeros, zeroBytes() >> 2, 0);
}

// The tile in progress.
let blocks: i32 = 0;
let voxelCount: i32 = 0;

/** The tile's voxels: pairs of u32 of which the second is the offset from the sample's output. */
export function filteredTable(): usize {
  return voxelTable;
}
export function filteredVoxels(): i32 {
  return voxelCount;
}
export function tileBlockCount(): i32 {
  return blocks;
}

/** The tile's transformed inputs [64][block][channel], products [64][...] and working space. */
export function tileInputs(): usize {
  return inputs;
}
export function tileProducts(): usize {
  return products;
}
export function tileWork(): usize {
  return work;
}

/** Transforms the inputs of the tile that locateTile found and fills its tables. */
export function prepareTile(input: usize, sample: i32): void {
  const lastDepth = min(tileDepth + tileDepths, (gridDepth + 1) >> 1);
  const lastRow = min(tileRow + tileRows, (gridHeight + 1) >> 1);
  const lastColumn = min(tileColumn + tileColumns, (gridWidth + 1) >> 1);
  const bytes = <usize>channels << 2;
  const source = input + <usize>(sample * inDepth) * <usize>(inHeight * inWidth) * bytes;
  blocks = 0;
  voxelCount = 0;
  for (let d = tileDepth; d < lastDepth; d++) {
    for (let h = tileRow; h < lastRow; h++) {
      transformBlocks(source, d, h, tileColumn, lastColumn - tileColumn, inputs + <usize>blocks * bytes);
      for (let w = tileColumn; w < lastColumn; w++) {
        locateOutputs(2 * d, 2 * h, 2 * w, outputTable + (<usize>blocks << 5));
        blocks++;
      }
    }
  }
  const padded = (blocks + 3) & ~3;
  for (let b = 0; b < padded; b++) {
    const entry = blockTable + (<usize>b << 3);
    store<u32>(entry, <u32>(<usize>min(b, blocks - 1) * bytes));
    store<u32>(entry, <u32>(min(b, blocks - 1) << 5), 4);
  }
}

/** Transforms the inputs of a row of blocks at (d, h), block columns [column, column + count). */
function transformBlocks(source: usize, d: i32, h: i32, column: i32, count: i32, target: usize): void {
  const bytes = <usize>channels << 2;
  const first = 2 * column - padWidth;
  const columns = 2 * count + 2;
  const left = min(columns, max(0, -first));
  const right = min(columns, max(left, inWidth - first));
  locateRows(source + <usize>first * bytes, 2 * d - padDepth, 2 * h - padHeight);
  const step = <usize>columns << 4;
  for (let i: usize = 0; i < 16; i++) {
    fillFloats(work + i * step, <usize>left << 2, 0);
    fillFloats(work + i * step + (<usize>right << 4), <usize>(columns - right) << 2, 0);
  }
  for (let c: usize = 0; c < bytes; c += 16) {
    for (let x = left; x < right; x++) transformColumn(patchTable, <usize>x * bytes + c, work + (<usize>x << 4), step);
    for (let i: usize = 0; i < 16; i++) {
      transformRow(work + i * step, count, target + (i << 2) * inputStep() + c, inputStep(), bytes);
    }
  }
}

/** Addresses of the 4 x 4 rows of input at (depth, height); rows outside the tensor are zeros. */
function locateRows(source: usize, depth: i32, height: i32): void {
  let entry = patchTable;
  for (let d = depth; d < depth + 4; d++) {
    for (let h = height; h < height + 4; h++) {
      const outside = d < 0 || d >= inDepth || h < 0 || h >= inHeight;
      const row = <usize>(d * inHeight + h) * (<usize>inWidth * (<usize>channels << 2));
      store<u32>(entry, <u32>(outside ? zeros : source + row));
      entry += 4;
    }
  }
}

/** Output offsets of the 2 x 2 x 2 voxels of a block; u32 max where outside. Voxels inside are listed for the statistics. */
function locateOutputs(depth: i32, height: i32, width: i32, entry: usize): void {
  for (let i = 0; i < 8; i++) {
    const d = depth + (i >> 2);
    const h = height + ((i >> 1) & 1);
    const w = width + (i & 1);
    let offset: u32 = u32.MAX_VALUE;
    if (d < gridDepth && h < gridHeight && w < gridWidth) {
      offset = <u32>(<usize>d * outStepDepth + <usize>h * outStepHeight + <usize>w * outStepWidth);
      store<u32>(voxelTable + (<usize>voxelCount << 3), offset, 4);
      voxelCount++;
    }
    store<u32>(entry + (<usize>i << 2), offset);
  }
}

/** The 64 matrix products for panels [first, last): products[t][panel][block][8]. */
export function multiply(packed: usize, first: i32, last: i32): void {
  const run = <usize>channels << 2;
  const blocksEnd = blockTable + (<usize>blocks << 3);
  // one tap at offset 0, weights at offset 0
  store<u64>(patchTable, 0);
  for (let t: usize = 0; t < 64; t++) {
    const from = inputs + t * inputStep();
    for (let panel = first; panel < last; panel++) {
      const weights = packed + <usize>panel * (weightStep() << 6) + t * weightStep();
      const to = products + t * productStep() + <usize>(panel - first) * (tileBlocks() << 5);
      for (let entry = blockTable; entry < blocksEnd; entry += 32) {
        convolutionBlock(from, to, entry, weights, patchTable, patchTable + 8, run, zeros);
      }
    }
  }
}

/** Transforms the products of panel `inGroup` of the group back and writes its eight channels to `out`; `start`: biases. */
export function finishPanel(out: usize, inGroup: i32, start: usize): void {
  const low = v128.load(start);
  const high = v128.load(start, 16);
  for (let block = 0; block < blocks; block++) {
    const source = products + <usize>inGroup * (tileBlocks() << 5) + (<usize>block << 5);
    const addresses = fillOutputs(block, out, true);
    transformOutput(source, productStep(), addresses, 0, low, work);
    transformOutput(source + 16, productStep(), addresses, 16, high, work);
  }
}

/**
 * Addresses of a block's 2 x 2 x 2 output voxels in a tensor, 8 x u32. In place of a voxel outside the tensor stands, for
 * writing, a place that nobody reads, and for reading, a run of zeros.
 */
export function fillOutputs(block: i32, base: usize, writing: bool): usize {
  const outside = writing ? waste : zeros;
  for (let i: usize = 0; i < 32; i += 4) {
    const offset = load<u32>(outputTable + (<usize>block << 5) + i);
    store<u32>(patchTable + i, <u32>(offset == u32.MAX_VALUE ? outside : base + <usize>offset));
  }
  return patchTable;
}
