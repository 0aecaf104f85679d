// conv3d_grad_weight: gradWeight[k, ci, co] = sum over samples and output voxels v of input[v * s + k - pad, ci] *
// gradOutput[v, co], as outer products of four (tap, channel) numbers and eight output channels over tiles of voxels.
//
// The voxels are cut into segments and the output channels into groups of panels; an item is one (segment, group). Each
// segment has partial sums of its own, added up at the end in order: the result does not depend on the threads. A tile's
// sum is taken in registers and then added to the partial sums: two levels keep rounding small over millions of voxels.
//
// Per tile the input is copied with borders as [channel block of 4][depth, height, width][4] (fewer than four channels:
// [depth, height, width][channels]) and a panel of gradOutput as [voxel][8].

import { barrier, buffer, endItem, firstItem, integer, lines, part, scratch } from './call';
import { addPieces, columnSumBytes, sumPieces } from './column-sums';
import { planForward } from './convolution';
import { ceilDivide, mode, MODE_WINOGRAD } from './geometry';
import { fillFloats, loadPartial, storeFirst } from './memory';
import { outerBlock } from './micro';
import {
  CONV3D_GRAD_WEIGHT_BUFFER_GRAD_BIAS, CONV3D_GRAD_WEIGHT_BUFFER_GRAD_OUTPUT, CONV3D_GRAD_WEIGHT_BUFFER_GRAD_WEIGHT,
  CONV3D_GRAD_WEIGHT_BUFFER_INPUT, CONVOLUTION_IN_C, CONVOLUTION_IN_D, CONVOLUTION_IN_H, CONVOLUTION_IN_W, CONVOLUTION_K_D,
  CONVOLUTION_K_H, CONVOLUTION_K_W, CONVOLUTION_N, CONVOLUTION_OUT_C, CONVOLUTION_OUT_D, CONVOLUTION_OUT_H,
  CONVOLUTION_OUT_W, CONVOLUTION_PAD_D, CONVOLUTION_PAD_H, CONVOLUTION_PAD_W, CONVOLUTION_S_D, CONVOLUTION_S_H,
  CONVOLUTION_S_W,
} from './table';
import { filteredGradient, filteredGradientScratch } from './winograd-gradient';

let n: i32 = 0;
let inD: i32 = 0;
let inH: i32 = 0;
let inW: i32 = 0;
let inC: i32 = 0;
let outD: i32 = 0;
let outH: i32 = 0;
let outW: i32 = 0;
let outC: i32 = 0;
let kD: i32 = 0;
let kH: i32 = 0;
let kW: i32 = 0;
let sH: i32 = 0;
let sW: i32 = 0;

let tileRows: i32 = 0;
let tileColumns: i32 = 0;
let rowTiles: i32 = 0;
let columnTiles: i32 = 0;
let tiles: i32 = 0;
let segments: i32 = 0;
let panels: i32 = 0;
let panelsPerGroup: i32 = 0;
let groups: i32 = 0;
/** Floats per voxel of a channel block in the strip: 4, or the channels where there are fewer. */
let lanes: i32 = 0;
let channelBlocks: i32 = 0;
let stripRows: i32 = 0;
let stripColumns: i32 = 0;
/** Blocks of four (tap, channel) pairs of one (kernel depth), and of all. */
let blocksPerDepth: i32 = 0;
let blocks: i32 = 0;
/** Voxels of a channel block's strip. */
let planeVoxels: i32 = 0;
/** As `partialTotal`, this may exceed 32 bits: then the scratch memory cannot be had, and nothing runs. */
let stripBytes: f64 = 0;
let vectorBytes: usize = 0;
/** Bytes of the partial sums of a segment, and of all. */
let partialBytes: usize = 0;
let partialTotal: f64 = 0;

const STRIP_BUDGET: f64 = 131072;
const LARGEST_TILE: i32 = 384;
const PARTIAL_LIMIT: f64 = 16777216;
const MOST_SEGMENTS: i32 = 16;
const ITEMS: i32 = 32;

function plan(): void {
  n = integer(CONVOLUTION_N);
  inD = integer(CONVOLUTION_IN_D);
  inH = integer(CONVOLUTION_IN_H);
  inW = integer(CONVOLUTION_IN_W);
  inC = integer(CONVOLUTION_IN_C);
  outD = integer(CONVOLUTION_OUT_D);
  outH = integer(CONVOLUTION_OUT_H);
  outW = integer(CONVOLUTION_OUT_W);
  outC = integer(CONVOLUTION_OUT_C);
  kD = integer(CONVOLUTION_K_D);
  kH = integer(CONVOLUTION_K_H);
  kW = integer(CONVOLUTION_K_W);
  sH = integer(CONVOLUTION_S_H);
  sW = integer(CONVOLUTION_S_W);
  lanes = min(4, inC);
  channelBlocks = ceilDivide(inC, 4);
  blocksPerDepth = inC >= 4 ? kH * kW * channelBlocks : ceilDivide(kH * kW * inC, 4);
  blocks = kD * blocksPerDepth;
  panels = ceilDivide(outC, 8);

  const channelBytes = <f64>channelBlocks * lanes * 4 * kD;
  const columnLimit = <i32>max(16, min(<f64>LARGEST_TILE, STRIP_BUDGET / (channelBytes * kH * sW)));
  if (outW > columnLimit) {
    tileColumns = ceilDivide(outW, ceilDivide(outW, columnLimit));
    tileRows = 1;
  } else {
    tileColumns = outW;
    const rowBytes = channelBytes * ((outW - 1) * sW + kW) * sH;
    const limit = max(1, min(LARGEST_TILE / outW, <i32>(STRIP_BUDGET / rowBytes) - (kH - sH)));
    tileRows = ceilDivide(outH, ceilDivide(outH, min(limit, outH)));
  }
  rowTiles = ceilDivide(outH, tileRows);
  columnTiles = ceilDivide(outW, tileColumns);
  tiles = n * outD * rowTiles * columnTiles;
  stripRows = (tileRows - 1) * sH + kH;
  stripColumns = (tileColumns - 1) * sW + kW;
  planeVoxels = kD * stripRows * stripColumns;
  stripBytes = lines(<f64>kD * stripRows * stripColumns * channelBlocks * lanes * 4 + 64);
  vectorBytes = <usize>(tileRows * tileColumns) * 32;
  const pieceBytes = <f64>blocks * 4 * panels * 32;
  partialBytes = <usize>pieceBytes;
  segments = <i32>max(1, min(<f64>min(MOST_SEGMENTS, ceilDivide(tiles, 4)), PARTIAL_LIMIT / pieceBytes));
  partialTotal = pieceBytes * segments;
  panelsPerGroup = max(1, (panels * segments) / ITEMS);
  groups = ceilDivide(panels, panelsPerGroup);
}

export function gradWeightScratch(threads: i32): f64 {
  planForward();
  const bias = columnSumBytes(gradientRows(), integer(CONVOLUTION_OUT_C));
  if (mode == MODE_WINOGRAD) return filteredGradientScratch(threads) + bias;
  plan();
  return partialTotal + <f64>threads * (stripBytes + <f64>vectorBytes) + bias;
}

/** Voxels of gradOutput. */
function gradientRows(): i32 {
  return integer(CONVOLUTION_N) * integer(CONVOLUTION_OUT_D) * integer(CONVOLUTION_OUT_H) * integer(CONVOLUTION_OUT_W);
}

/** conv3d_grad_weight. */
export function gradWeight(parts: i32): void {
  planForward();
  const input = buffer(CONV3D_GRAD_WEIGHT_BUFFER_INPUT);
  const gradOutput = buffer(CONV3D_GRAD_WEIGHT_BUFFER_GRAD_OUTPUT);
  const gradWeight = buffer(CONV3D_GRAD_WEIGHT_BUFFER_GRAD_WEIGHT);
  const gradBias = buffer(CONV3D_GRAD_WEIGHT_BUFFER_GRAD_BIAS);
  if (mode == MODE_WINOGRAD) {
    const sums = scratch + <usize>filteredGradientScratch(parts);
    if (gradBias != 0) sumPieces(gradOutput, gradientRows(), integer(CONVOLUTION_OUT_C), sums);
    filteredGradient(input, gradOutput, gradWeight);
    if (gradBias != 0) addPieces(sums, gradientRows(), integer(CONVOLUTION_OUT_C), gradBias);
    return;
  }
  plan();
  const partials = scratch;
  const strips = partials + <usize>partialTotal;
  const strip = strips + <usize>part * (<usize>stripBytes + vectorBytes);
  const bias = strips + <usize>parts * (<usize>stripBytes + vectorBytes);
  const total = <usize>(segments * groups);
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const segment = <i32>(item % <usize>segments);
    const group = <i32>(item / <usize>segments);
    const first = group * panelsPerGroup;
    sumSegment(segment, first, min(panels, first + panelsPerGroup), partials + <usize>segment * partialBytes, strip);
  }
  if (gradBias != 0) sumPieces(gradOutput, gradientRows(), outC, bias);
  barrier();
  addSegments(partials, gradWeight);
  if (gradBias != 0) addPieces(bias, gradientRows(), outC, gradBias);
}

/** Partial sums [panel][block][4][8] of one segment's tiles for panels [first, last). */
function sumSegment(segment: i32, first: i32, last: i32, partial: usize, strip: usize): void {
  const panelBytes = <usize>blocks << 7;
  fillFloats(partial + <usize>first * panelBytes, (<usize>(last - first) * panelBytes) >> 2, 0);
  const vectors = strip + <usize>stripBytes;
  const from = <i32>((<i64>tiles * segment) / segments);
  const to = <i32>((<i64>tiles * (segment + 1)) / segments);
  for (let tile = from; tile < to; tile++) {
    let rest = tile;
    const column = (rest % columnTiles) * tileColumns;
    rest /= columnTiles;
    const row = (rest % rowTiles) * tileRows;
    rest /= rowTiles;
    const depth = rest % outD;
    const sample = rest / outD;
    const rows = min(tileRows, outH - row);
    const columns = min(tileColumns, outW - column);
    copyStrip(sample, depth, row, column, rows, columns, strip);
    const voxel = <usize>((sample * outD + depth) * outH + row) * <usize>outW + <usize>column;
    const gradient = buffer(CONV3D_GRAD_WEIGHT_BUFFER_GRAD_OUTPUT) + voxel * (<usize>outC << 2);
    for (let panel = first; panel < last; panel++) {
      copyVectors(gradient + (<usize>panel << 5), rows, columns, min(8, outC - panel * 8), vectors);
      addTile(depth, rows, columns, strip, vectors, partial + <usize>panel * panelBytes);
    }
  }
}

function addTile(depth: i32, rows: i32, columns: i32, strip: usize, vectors: usize, target: usize): void {
  const voxel = <usize>lanes << 2;
  const step = voxel * <usize>sW;
  const rowStep = voxel * <usize>(stripColumns * sH);
  const taps = kH * kW;
  const pairs = taps * inC;
  for (let k = 0; k < kD; k++) {
    const d = depth * integer(CONVOLUTION_S_D) - integer(CONVOLUTION_PAD_D) + k;
    if (d < 0 || d >= inD) continue;
    const plane = strip + <usize>(k * stripRows * stripColumns) * voxel;
    let to = target + (<usize>(k * blocksPerDepth) << 7);
    if (inC >= 4) {
      for (let tap = 0; tap < taps; tap++) {
        let p = plane + <usize>((tap / kW) * stripColumns + (tap % kW)) * voxel;
        for (let block = 0; block < channelBlocks; block++) {
          outerBlock(p, p + 4, p + 8, p + 12, step, rowStep, rows, columns, vectors, 32, to, 32, false);
          p += <usize>planeVoxels << 4;
          to += 128;
        }
      }
      continue;
    }
    for (let pair = 0; pair < pairs; pair += 4) {
      outerBlock(
        pairAddress(plane, pair), pairAddress(plane, min(pair + 1, pairs - 1)), pairAddress(plane, min(pair + 2, pairs - 1)),
        pairAddress(plane, min(pair + 3, pairs - 1)), step, rowStep, rows, columns, vectors, 32, to, 32, false,
      );
      to += 128;
    }
  }
}

/** Address of the number of a (kernel height, kernel width, channel) triple under a tile's first voxel; few channels. */
function pairAddress(plane: usize, pair: i32): usize {
  const tap = pair / inC;
  return plane + (<usize>(((tap / kW) * stripColumns + (tap % kW)) * inC + (pair % inC)) << 2);
}

function copyStrip(sample: i32, depth: i32, row: i32, column: i32, rows: i32, columns: i32, strip: usize): void {
  const usedRows = (rows - 1) * sH + kH;
  const usedColumns = (columns - 1) * sW + kW;
  const firstColumn = column * sW - integer(CONVOLUTION_PAD_W);
  const left = min(usedColumns, max(0, -firstColumn));
  const right = min(usedColumns, max(left, inW - firstColumn));
  for (let k = 0; k < kD; k++) {
    const d = depth * integer(CONVOLUTION_S_D) - integer(CONVOLUTION_PAD_D) + k;
    if (d < 0 || d >= inD) continue;
    for (let r = 0; r < usedRows; r++) {
      const h = row * sH - integer(CONVOLUTION_PAD_H) + r;
      const outside = h < 0 || h >= inH;
      const voxel = <usize>((sample * inD + d) * inH + h) * <usize>inW + <usize>firstColumn;
      const source = buffer(CONV3D_GRAD_WEIGHT_BUFFER_INPUT) + voxel * (<usize>inC << 2);
      copyBlocked(
        source, outside ? usedColumns : left, outside ? usedColumns : right, usedColumns,
        strip + (<usize>((k * stripRows + r) * stripColumns * lanes) << 2),
      );
    }
  }
}

/** Columns [left, right) of a row, channel block by channel block; zeros in the other columns. */
function copyBlocked(source: usize, left: i32, right: i32, columns: i32, target: usize): void {
  const voxel = <usize>inC << 2;
  const width = <usize>lanes << 2;
  const blockBytes = <usize>planeVoxels * width;
  for (let block = 0; block < channelBlocks; block++) {
    const valid = min(4, inC - block * 4);
    const from = source + (<usize>block << 4);
    const to = target + <usize>block * blockBytes;
    fillFloats(to, <usize>(left * lanes), 0);
    if (valid == 4) {
      for (let c = left; c < right; c++) v128.store(to + (<usize>c << 4), v128.load(from + <usize>c * voxel));
    } else if (lanes == 4) {
      for (let c = left; c < right; c++) v128.store(to + (<usize>c << 4), loadPartial(from + <usize>c * voxel, valid));
    } else {
      for (let i = left * lanes; i < right * lanes; i++) store<u32>(to + (<usize>i << 2), load<u32>(from + (<usize>i << 2)));
    }
    fillFloats(to + <usize>right * width, <usize>((columns - right) * lanes), 0);
  }
}

/** Eight channels of gradOutput (zeros from `valid` on) over the tile's voxels, contiguous. */
function copyVectors(source: usize, rows: i32, columns: i32, valid: i32, target: usize): void {
  const voxel = <usize>outC << 2;
  for (let r = 0; r < rows; r++) {
    let from = source + <usize>(r * outW) * voxel;
    for (let c = 0; c < columns; c++) {
      if (valid == 8) {
        v128.store(target, v128.load(from));
        v128.store(target, v128.load(from, 16), 16);
      } else if (valid >= 4) {
        v128.store(target, v128.load(from));
        v128.store(target, valid > 4 ? loadPartial(from + 16, valid - 4) : f32x4.splat(0), 16);
      } else {
        v128.store(target, loadPartial(from, valid));
        v128.store(target, f32x4.splat(0), 16);
      }
      from += voxel;
      target += 32;
    }
  }
}

/** gradWeight rows of this part: the segments' partial sums added in order. */
function addSegments(partials: usize, target: usize): void {
  const pairsPerDepth = kH * kW * inC;
  const total = <usize>kD * <usize>pairsPerDepth;
  const panelBytes = <usize>blocks << 7;
  const end = endItem(total);
  for (let j = firstItem(total); j < end; j++) {
    const depth = <i32>(j / <usize>pairsPerDepth);
    const pair = <i32>(j % <usize>pairsPerDepth);
    const inDepthBlock = inC >= 4 ? (pair / inC) * channelBlocks * 4 + (pair % inC) : pair;
    const source = partials + ((<usize>(depth * blocksPerDepth * 4) + <usize>inDepthBlock) << 5);
    for (let panel = 0; panel < panels; panel++) {
      const from = source + <usize>panel * panelBytes;
      let low = v128.load(from);
      let high = v128.load(from, 16);
      for (let s = 1; s < segments; s++) {
        low = f32x4.add(low, v128.load(from + <usize>s * partialBytes));
        high = f32x4.add(high, v128.load(from + <usize>s * partialBytes, 16));
      }
      const to = target + ((j * <usize>outC + (<usize>panel << 3)) << 2);
      storeFirst(to, low, <usize>(outC - panel * 8));
      if (outC - panel * 8 > 4) storeFirst(to + 16, high, <usize>(outC - panel * 8 - 4));
    }
  }
}
