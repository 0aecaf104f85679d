// dynamic_head and its gradient. Tiles of voxels are turned channel-major, [channel][TILE], so that a layer is a sum of
// outer products of four weights and eight voxels (micro.ts); all prompts run over a tile while it is hot.
// Parameters of one (sample, prompt): W1 [width, width], W2 [width, width], W3 [2, width], b1, b2 [width], b3 [2].

import { barrier, buffer, endItem, firstItem, integer, lines, part, scratch } from './call';
import { copyFloats, fillFloats, sumLanes } from './memory';
import { dotBlock, outerBlock } from './micro';
import { transposeQuad } from './pack';
import {
  DYNAMIC_HEAD_BUFFER_FEATURES, DYNAMIC_HEAD_BUFFER_LOGITS, DYNAMIC_HEAD_BUFFER_PARAMETERS,
  DYNAMIC_HEAD_GRAD_BUFFER_FEATURES, DYNAMIC_HEAD_GRAD_BUFFER_GRAD_FEATURES, DYNAMIC_HEAD_GRAD_BUFFER_GRAD_LOGITS,
  DYNAMIC_HEAD_GRAD_BUFFER_GRAD_PARAMETERS, DYNAMIC_HEAD_GRAD_BUFFER_PARAMETERS, HEAD_N, HEAD_PROMPTS, HEAD_VOXELS,
  HEAD_WIDTH,
} from './table';

/** Voxels per tile. */
const TILE: i32 = 128;
const ROW: usize = 512;

let prompts: i32 = 0;
let voxels: i32 = 0;
let width: i32 = 0;
/** Width rounded up to whole blocks of four rows. */
let rowsPadded: i32 = 0;
let count: i32 = 0;

// This part's matrices [rowsPadded][TILE].
let features: usize = 0;
let hidden1: usize = 0;
let hidden2: usize = 0;
let grad1: usize = 0;
let grad2: usize = 0;
let gradFeatures: usize = 0;
/** One row of TILE numbers: logits or their gradients. */
let line: usize = 0;
/** Differences W3[1] - W3[0]. */
let difference: usize = 0;
/** Padding for biases and dot products. */
let small: usize = 0;

function bind(): void {
  prompts = integer(HEAD_PROMPTS);
  voxels = integer(HEAD_VOXELS);
  width = integer(HEAD_WIDTH);
  rowsPadded = (width + 3) & ~3;
  count = 2 * width * width + 4 * width + 2;
}

function matrixBytes(): usize {
  return <usize>rowsPadded * ROW;
}

function partBytes(): f64 {
  return <f64>matrixBytes() * 6 + <f64>ROW + lines(<f64>rowsPadded * 4) + 64;
}

function bindArea(area: usize): void {
  features = area;
  hidden1 = features + matrixBytes();
  hidden2 = hidden1 + matrixBytes();
  grad1 = hidden2 + matrixBytes();
  grad2 = grad1 + matrixBytes();
  gradFeatures = grad2 + matrixBytes();
  line = gradFeatures + matrixBytes();
  difference = line + ROW;
  small = difference + <usize>lines(<f64>rowsPadded * 4);
  // Rows beyond the width are computed with the others and never used; zeros keep what lay in the memory out of the sums.
  fillFloats(area, 6 * matrixBytes() >> 2, 0);
}

export function headScratch(threads: i32): f64 {
  bind();
  return partBytes() * threads;
}

/** dynamic_head. */
export function head(): void {
  bind();
  bindArea(scratch + <usize>part * <usize>partBytes());
  const perSample = <usize>((voxels + TILE - 1) / TILE);
  const total = <usize>integer(HEAD_N) * perSample;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const sample = item / perSample;
    const first = <i32>(item % perSample) * TILE;
    const tile = min(TILE, voxels - first);
    loadTile(sample, first, tile);
    for (let prompt = 0; prompt < prompts; prompt++) {
      const which = sample * <usize>prompts + <usize>prompt;
      const parameters = buffer(DYNAMIC_HEAD_BUFFER_PARAMETERS) + which * (<usize>count << 2);
      hiddenLayers(parameters);
      lastLayer(parameters);
      copyFloats(buffer(DYNAMIC_HEAD_BUFFER_LOGITS) + ((which * <usize>voxels + <usize>first) << 2), line, <usize>tile);
    }
  }
}

/** Turns a tile of features [voxel][width] into [channel][TILE], zeros behind the last voxel. */
function loadTile(sample: usize, first: i32, tile: i32): void {
  const voxel = <usize>width << 2;
  const source = buffer(featuresBuffer) + (sample * <usize>voxels + <usize>first) * voxel;
  const quads = tile & ~3;
  for (let v = 0; v < quads; v += 4) {
    let c: usize = 0;
    for (; c + 4 <= <usize>width; c += 4) {
      transposeQuad(source + <usize>v * voxel + (c << 2), voxel, features + c * ROW + (<usize>v << 2), ROW);
    }
    for (; c < <usize>width; c++) {
      for (let i = v; i < v + 4; i++) {
        store<f32>(features + c * ROW + (<usize>i << 2), load<f32>(source + <usize>i * voxel + (c << 2)));
      }
    }
  }
  for (let c: usize = 0; c < <usize>width; c++) {
    for (let v = quads; v < tile; v++) {
      store<f32>(features + c * ROW + (<usize>v << 2), load<f32>(source + <usize>v * voxel + (c << 2)));
    }
    fillFloats(features + c * ROW + (<usize>tile << 2), <usize>(TILE - tile), 0);
  }
}

/** Index of the features among the call's buffers. */
let featuresBuffer: i32 = DYNAMIC_HEAD_BUFFER_FEATURES;

/** output [rows][TILE] += weights * source; weights[o * rowStep + i * step] bytes, o an output row, i an input row. */
function layer(weights: usize, rowStep: usize, step: usize, source: usize, output: usize): void {
  for (let o = 0; o < width; o += 4) {
    const pa = weights + <usize>o * rowStep;
    const pb = weights + <usize>min(o + 1, width - 1) * rowStep;
    const pc = weights + <usize>min(o + 2, width - 1) * rowStep;
    const pd = weights + <usize>min(o + 3, width - 1) * rowStep;
    for (let v: usize = 0; v < ROW; v += 32) {
      outerBlock(pa, pb, pc, pd, step, 0, 1, width, source + v, ROW, output + <usize>o * ROW + v, ROW, false);
    }
  }
}

function setRows(target: usize, values: usize): void {
  for (let o: usize = 0; o < <usize>width; o++) fillFloats(target + o * ROW, TILE, load<f32>(values + (o << 2)));
}

function relu(matrix: usize): void {
  const zero = f32x4.splat(0);
  const end = matrix + <usize>width * ROW;
  for (let p = matrix; p < end; p += 16) v128.store(p, f32x4.pmax(v128.load(p), zero));
}

function hiddenLayers(parameters: usize): void {
  const matrix = <usize>(width * width) << 2;
  const row = <usize>width << 2;
  const biases = parameters + 2 * matrix + 2 * row;
  setRows(hidden1, biases);
  layer(parameters, row, 4, features, hidden1);
  relu(hidden1);
  setRows(hidden2, biases + row);
  layer(parameters + matrix, row, 4, hidden1, hidden2);
  relu(hidden2);
  const last = parameters + 2 * matrix;
  for (let i: usize = 0; i < row; i += 4) store<f32>(difference + i, load<f32>(last + row + i) - load<f32>(last + i));
}

/** line[voxel] = o[1] - o[0]. */
function lastLayer(parameters: usize): void {
  const biases = parameters + (<usize>(2 * width * width + 4 * width) << 2);
  const bias = f32x4.splat(load<f32>(biases, 4) - load<f32>(biases));
  for (let v: usize = 0; v < ROW; v += 16) {
    let sum = bias;
    for (let i: usize = 0; i < <usize>width; i++) {
      sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(difference + (i << 2)), v128.load(hidden2 + i * ROW + v)));
    }
    v128.store(line + v, sum);
  }
}

// --- gradient --------------------------------------------------------------------------------------------------------
// The tiles of a sample are cut into segments by the shape alone; each has its own sums of the parameters' gradients.

const MOST_SEGMENTS: i32 = 16;

function segmentsOf(tiles: i32): i32 {
  return max(1, min(MOST_SEGMENTS, tiles / 8));
}

/** Bytes of the sums: f64 [n][segment][prompt][count]. */
function sumsBytes(): f64 {
  return lines(<f64>integer(HEAD_N) * segmentsOf((voxels + TILE - 1) / TILE) * prompts * count * 8);
}

export function headGradScratch(threads: i32): f64 {
  bind();
  return sumsBytes() + partBytes() * threads;
}

/** dynamic_head_grad. */
export function headGrad(): void {
  bind();
  featuresBuffer = DYNAMIC_HEAD_GRAD_BUFFER_FEATURES;
  const tiles = (voxels + TILE - 1) / TILE;
  const segments = segmentsOf(tiles);
  bindArea(scratch + <usize>sumsBytes() + <usize>part * <usize>partBytes());
  const total = <usize>(integer(HEAD_N) * segments);
  const end = endItem(total);
  const segmentBytes = <usize>prompts * <usize>count << 3;
  for (let item = firstItem(total); item < end; item++) {
    const sample = item / <usize>segments;
    const segment = <i32>(item % <usize>segments);
    const sums = scratch + item * segmentBytes;
    for (let p = sums; p < sums + segmentBytes; p += 8) store<f64>(p, 0);
    const last = (tiles * (segment + 1)) / segments;
    for (let tile = (tiles * segment) / segments; tile < last; tile++) tileGradient(sample, tile * TILE, sums);
  }
  featuresBuffer = DYNAMIC_HEAD_BUFFER_FEATURES;
  barrier();
  addSums(<usize>segments);
}

function tileGradient(sample: usize, first: i32, sums: usize): void {
  const tile = min(TILE, voxels - first);
  loadTile(sample, first, tile);
  fillFloats(gradFeatures, matrixBytes() >> 2, 0);
  const matrix = <usize>(width * width) << 2;
  const row = <usize>width << 2;
  for (let prompt = 0; prompt < prompts; prompt++) {
    const which = sample * <usize>prompts + <usize>prompt;
    const parameters = buffer(DYNAMIC_HEAD_GRAD_BUFFER_PARAMETERS) + which * (<usize>count << 2);
    const target = sums + <usize>prompt * (<usize>count << 3);
    const biasSums = target + ((<usize>(2 * width * width + 2 * width)) << 3);
    hiddenLayers(parameters);
    copyFloats(line, buffer(DYNAMIC_HEAD_GRAD_BUFFER_GRAD_LOGITS) + ((which * <usize>voxels + <usize>first) << 2), <usize>tile);
    fillFloats(line + (<usize>tile << 2), <usize>(TILE - tile), 0);
    lastGradient(target + (matrix << 2), biasSums + (row << 2));
    matrixGradient(grad2, hidden1, target + (matrix << 1));
    biasGradient(grad2, biasSums + (row << 1));
    fillFloats(grad1, matrixBytes() >> 2, 0);
    layer(parameters + matrix, 4, row, grad2, grad1);
    maskRows(grad1, hidden1);
    matrixGradient(grad1, features, target);
    biasGradient(grad1, biasSums);
    layer(parameters, 4, row, grad1, gradFeatures);
  }
  storeTile(sample, first, tile);
}

/** grad2 = difference * line where hidden2 > 0; sums of W3 [2][width] and b3 [2] with opposite signs. */
function lastGradient(weightSums: usize, biasSums: usize): void {
  const zero = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>width; i++) {
    const d = v128.load32_splat(difference + (i << 2));
    let sum = zero;
    for (let v: usize = 0; v < ROW; v += 16) {
      const h = v128.load(hidden2 + i * ROW + v);
      const g = v128.load(line + v);
      sum = f32x4.add(sum, f32x4.mul(g, h));
      v128.store(grad2 + i * ROW + v, v128.and(f32x4.mul(d, g), f32x4.gt(h, zero)));
    }
    addOpposite(weightSums + (i << 3), <usize>width << 3, sumLanes(sum));
  }
  let sum = zero;
  for (let v: usize = 0; v < ROW; v += 16) sum = f32x4.add(sum, v128.load(line + v));
  addOpposite(biasSums, 8, sumLanes(sum));
}

/** Row 1 gets +value, row 0 -value. */
function addOpposite(address: usize, toSecond: usize, value: f64): void {
  store<f64>(address, load<f64>(address) - value);
  store<f64>(address + toSecond, load<f64>(address + toSecond) + value);
}

function maskRows(target: usize, hidden: usize): void {
  const zero = f32x4.splat(0);
  for (let p: usize = 0; p < <usize>width * ROW; p += 16) {
    v128.store(target + p, v128.and(v128.load(target + p), f32x4.gt(v128.load(hidden + p), zero)));
  }
}

/** sums[o][i] += sum over voxels of left[o] * right[i], f64 [width][width]. */
function matrixGradient(left: usize, right: usize, sums: usize): void {
  for (let o = 0; o < width; o += 4) {
    for (let i = 0; i < width; i += 2) {
      dotBlock(left + <usize>o * ROW, right + <usize>i * ROW, ROW, small);
      const columns = min(2, width - i);
      for (let r = 0; r < min(4, width - o); r++) {
        for (let c = 0; c < columns; c++) {
          const target = sums + (<usize>((o + r) * width + i + c) << 3);
          store<f64>(target, load<f64>(target) + <f64>load<f32>(small + (<usize>(2 * r + c) << 2)));
        }
      }
    }
  }
}

function biasGradient(matrix: usize, sums: usize): void {
  for (let o: usize = 0; o < <usize>width; o++) {
    let sum = f32x4.splat(0);
    for (let v: usize = 0; v < ROW; v += 16) sum = f32x4.add(sum, v128.load(matrix + o * ROW + v));
    store<f64>(sums + (o << 3), load<f64>(sums + (o << 3)) + sumLanes(sum));
  }
}

/** gradFeatures [channel][TILE] back to [voxel][width]. */
function storeTile(sample: usize, first: i32, tile: i32): void {
  const voxel = <usize>width << 2;
  const target = buffer(DYNAMIC_HEAD_GRAD_BUFFER_GRAD_FEATURES) + (sample * <usize>voxels + <usize>first) * voxel;
  const quads = <usize>(tile & ~3);
  let c: usize = 0;
  for (; c + 4 <= <usize>width; c += 4) {
    for (let v: usize = 0; v < quads; v += 4) {
      transposeQuad(gradFeatures + c * ROW + (v << 2), ROW, target + v * voxel + (c << 2), voxel);
    }
  }
  for (let i: usize = 0; i < <usize>width; i++) {
    for (let v = i < c ? quads : 0; v < <usize>tile; v++) {
      store<f32>(target + v * voxel + (i << 2), load<f32>(gradFeatures + i * ROW + (v << 2)));
    }
  }
}

/** gradParameters of this part's share: the segments' sums in order. */
function addSums(segments: usize): void {
  const perSample = <usize>prompts * <usize>count;
  const total = <usize>integer(HEAD_N) * perSample;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    const from = scratch + (((item / perSample) * segments * perSample + (item % perSample)) << 3);
    let sum: f64 = 0;
    for (let s: usize = 0; s < segments; s++) sum += load<f64>(from + ((s * perSample) << 3));
    store<f32>(buffer(DYNAMIC_HEAD_GRAD_BUFFER_GRAD_PARAMETERS) + (item << 2), <f32>sum);
  }
}
