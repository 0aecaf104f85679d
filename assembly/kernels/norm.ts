// Instance and batch normalisation with ReLU, and their gradients. Both are (x - mean) * gain + shift per (sample, channel):
// instance norm has gain = rstd and no shift; batch norm is one sample of all rows with gain = gamma * rstd, shift = beta.

import { attribute, barrier, buffer, bufferOr, endItem, firstItem, integer, lines, part, scratch } from './call';
import { copyFloats, loadFirst, loadPartial, storeFirst } from './memory';
import { gatherStatistics, normalize, piecesOf, rowsPerPiece, statisticsToMoments } from './moments';
import {
  BATCH_NORM_RELU_BUFFER_BETA, BATCH_NORM_RELU_BUFFER_GAMMA, BATCH_NORM_RELU_BUFFER_INPUT, BATCH_NORM_RELU_BUFFER_MEAN,
  BATCH_NORM_RELU_BUFFER_MOVING_MEAN, BATCH_NORM_RELU_BUFFER_MOVING_VARIANCE, BATCH_NORM_RELU_BUFFER_OUTPUT,
  BATCH_NORM_RELU_BUFFER_VARIANCE, BATCH_NORM_RELU_CHANNELS, BATCH_NORM_RELU_EPSILON, BATCH_NORM_RELU_GRAD_AVERAGES,
  BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_GRADIENT, BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_PRODUCT, BATCH_NORM_RELU_GRAD_BUFFER_BETA,
  BATCH_NORM_RELU_GRAD_BUFFER_GAMMA, BATCH_NORM_RELU_GRAD_BUFFER_GRAD_BETA, BATCH_NORM_RELU_GRAD_BUFFER_GRAD_GAMMA,
  BATCH_NORM_RELU_GRAD_BUFFER_GRAD_INPUT, BATCH_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT, BATCH_NORM_RELU_GRAD_BUFFER_INPUT,
  BATCH_NORM_RELU_GRAD_BUFFER_MEAN, BATCH_NORM_RELU_GRAD_BUFFER_VARIANCE, BATCH_NORM_RELU_GRAD_CHANNELS,
  BATCH_NORM_RELU_GRAD_EPSILON, BATCH_NORM_RELU_GRAD_RELU, BATCH_NORM_RELU_GRAD_ROWS, BATCH_NORM_RELU_RELU,
  BATCH_NORM_RELU_ROWS, BATCH_NORM_RELU_TRAINING, INSTANCE_NORM_CHANNELS, INSTANCE_NORM_N, INSTANCE_NORM_RELU,
  INSTANCE_NORM_RELU_BUFFER_INPUT, INSTANCE_NORM_RELU_BUFFER_MEAN, INSTANCE_NORM_RELU_BUFFER_OUTPUT,
  INSTANCE_NORM_RELU_BUFFER_RSTD, INSTANCE_NORM_RELU_EPSILON, INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT,
  INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_RAW, INSTANCE_NORM_RELU_GRAD_BUFFER_MEAN, INSTANCE_NORM_RELU_GRAD_BUFFER_RAW,
  INSTANCE_NORM_RELU_GRAD_BUFFER_RSTD, INSTANCE_NORM_VOXELS,
} from './table';
import { statisticsBytes } from './tile-statistics';

/** Scratch: [statistics][mean][rstd]. */
export function instanceNormScratch(): f64 {
  const n = integer(INSTANCE_NORM_N);
  const channels = integer(INSTANCE_NORM_CHANNELS);
  const pieces = <f64>n * piecesOf(integer(INSTANCE_NORM_VOXELS), channels);
  return statisticsBytes(pieces, channels) + 2 * lines(<f64>n * channels * 4);
}

/** instance_norm_relu. */
export function instanceNorm(): void {
  const n = integer(INSTANCE_NORM_N);
  const voxels = integer(INSTANCE_NORM_VOXELS);
  const channels = integer(INSTANCE_NORM_CHANNELS);
  const perSample = piecesOf(voxels, channels);
  const moments = scratch + <usize>statisticsBytes(<f64>n * perSample, channels);
  const mean = bufferOr(INSTANCE_NORM_RELU_BUFFER_MEAN, moments);
  const rstd = bufferOr(INSTANCE_NORM_RELU_BUFFER_RSTD, moments + <usize>lines(<f64>n * channels * 4));
  const input = buffer(INSTANCE_NORM_RELU_BUFFER_INPUT);
  gatherStatistics(input, n, voxels, channels, scratch);
  barrier();
  statisticsToMoments(scratch, n, perSample, channels, attribute(INSTANCE_NORM_RELU_EPSILON), mean, rstd, 0);
  barrier();
  const output = buffer(INSTANCE_NORM_RELU_BUFFER_OUTPUT);
  normalize(input, output, n, voxels, channels, mean, rstd, 0, 0, integer(INSTANCE_NORM_RELU) != 0);
}

/** Scratch: [statistics][mean][rstd, then gain]. */
export function batchNormScratch(): f64 {
  const channels = integer(BATCH_NORM_RELU_CHANNELS);
  return statisticsBytes(<f64>piecesOf(integer(BATCH_NORM_RELU_ROWS), channels), channels) + 2 * lines(<f64>channels * 4);
}

/** batch_norm_relu. */
export function batchNorm(): void {
  const rows = integer(BATCH_NORM_RELU_ROWS);
  const channels = integer(BATCH_NORM_RELU_CHANNELS);
  const perSample = piecesOf(rows, channels);
  const epsilon = attribute(BATCH_NORM_RELU_EPSILON);
  const own = scratch + <usize>statisticsBytes(<f64>perSample, channels);
  const gain = own + <usize>lines(<f64>channels * 4);
  const input = buffer(BATCH_NORM_RELU_BUFFER_INPUT);
  const gamma = buffer(BATCH_NORM_RELU_BUFFER_GAMMA);
  const givenMean = buffer(BATCH_NORM_RELU_BUFFER_MEAN);
  const givenVariance = buffer(BATCH_NORM_RELU_BUFFER_VARIANCE);
  let mean = givenMean != 0 ? givenMean : own;
  if (integer(BATCH_NORM_RELU_TRAINING) != 0) {
    gatherStatistics(input, 1, rows, channels, scratch);
    barrier();
    statisticsToMoments(scratch, 1, perSample, channels, epsilon, mean, gain, givenVariance);
    barrier();
    if (part == 0) multiply(gain, gamma, channels);
  } else {
    const movingVariance = buffer(BATCH_NORM_RELU_BUFFER_MOVING_VARIANCE);
    mean = buffer(BATCH_NORM_RELU_BUFFER_MOVING_MEAN);
    if (part == 0) {
      reciprocalDeviation(movingVariance, gain, channels, epsilon);
      multiply(gain, gamma, channels);
      if (givenMean != 0) copyFloats(givenMean, mean, <usize>channels);
      if (givenVariance != 0) copyFloats(givenVariance, movingVariance, <usize>channels);
    }
  }
  barrier();
  const output = buffer(BATCH_NORM_RELU_BUFFER_OUTPUT);
  if (output == 0) return;
  const beta = buffer(BATCH_NORM_RELU_BUFFER_BETA);
  normalize(input, output, 1, rows, channels, mean, gain, beta, 0, integer(BATCH_NORM_RELU_RELU) != 0);
}

function multiply(target: usize, factor: usize, count: i32): void {
  for (let i: usize = 0; i < <usize>count << 2; i += 4) store<f32>(target + i, load<f32>(target + i) * load<f32>(factor + i));
}

function reciprocalDeviation(variance: usize, target: usize, count: i32, epsilon: f64): void {
  for (let i: usize = 0; i < <usize>count << 2; i += 4) {
    store<f32>(target + i, <f32>(1 / sqrt(<f64>load<f32>(variance + i) + epsilon)));
  }
}

// --- gradients -------------------------------------------------------------------------------------------------------
// With xhat = (x - mean) * rstd and g = gradOutput where (x - mean) * gain + shift > 0 or relu = 0, else 0:
//   gradInput = gain * (g - avg(g) - xhat * avg(g * xhat)), averages over the rows of the sample.

/** The tensors and per-channel numbers of the gradient in progress. */
let gradOutput: usize = 0;
let input: usize = 0;
let gradTarget: usize = 0;
let means: usize = 0;
let rstds: usize = 0;
let gains: usize = 0;
let shifts: usize = 0;
let averages: usize = 0;
let products: usize = 0;
let floor: f32 = 0;

/** Scratch of the sums: f64 [pieces][sum of g, sum of g * xhat][channels], then both averages as f32 [n, channels]. */
function sumsBytes(n: i32, rows: i32, channels: i32): f64 {
  return lines(<f64>n * piecesOf(rows, channels) * channels * 16);
}

function gradientScratch(n: i32, rows: i32, channels: i32): f64 {
  return sumsBytes(n, rows, channels) + 2 * lines(<f64>n * channels * 4);
}

/** Both passes, or the sums alone where there is no target; n samples of `rows` rows. Sums are written to gradGamma and gradBeta where given (n = 1). */
function gradient(n: i32, rows: i32, channels: i32, sums: usize, gradGamma: usize, gradBeta: usize): void {
  averages = sums + <usize>sumsBytes(n, rows, channels);
  products = averages + <usize>lines(<f64>n * channels * 4);
  const perSample = piecesOf(rows, channels);
  const size = rowsPerPiece(channels);
  const pieces = <usize>(n * perSample);
  const first = firstItem(pieces);
  const end = endItem(pieces);
  for (let piece = first; piece < end; piece++) {
    const sample = <i32>(piece / <usize>perSample);
    const row = <i32>(piece % <usize>perSample) * size;
    sumPiece(sample, rows, row, min(size, rows - row), channels, sums + piece * (<usize>channels << 4));
  }
  barrier();
  averageSums(n, rows, channels, sums, gradGamma, gradBeta);
  if (gradTarget == 0) return;
  barrier();
  writePieces(n, rows, channels);
}

/** The second pass, the averages known. */
function writePieces(n: i32, rows: i32, channels: i32): void {
  const perSample = piecesOf(rows, channels);
  const size = rowsPerPiece(channels);
  const pieces = <usize>(n * perSample);
  const first = firstItem(pieces);
  const end = endItem(pieces);
  for (let piece = first; piece < end; piece++) {
    const sample = <i32>(piece / <usize>perSample);
    const row = <i32>(piece % <usize>perSample) * size;
    writePiece(sample, rows, row, min(size, rows - row), channels);
  }
}

// @ts-ignore: decorator
@inline
function masked(g: v128, centred: v128, gain: v128, shift: v128): v128 {
  return v128.and(g, f32x4.gt(f32x4.add(f32x4.mul(centred, gain), shift), f32x4.splat(floor)));
}

function sumPiece(sample: i32, rows: i32, row: i32, count: i32, channels: i32, target: usize): void {
  const rowBytes = <usize>channels << 2;
  const start = (<usize>sample * <usize>rows + <usize>row) * rowBytes;
  const constants = <usize>sample * rowBytes;
  const distance = input - gradOutput;
  for (let c: usize = 0; c < rowBytes; c += 16) {
    const width = min(4, (rowBytes - c) >> 2);
    const mean = loadFirst(means + constants + c, width);
    const rstd = loadFirst(rstds + constants + c, width);
    const gain = loadFirst(gains + constants + c, width);
    const shift = shifts != 0 ? loadFirst(shifts + c, width) : f32x4.splat(0);
    let sum = f32x4.splat(0);
    let product = sum;
    let p = gradOutput + start + c;
    const end = p + <usize>count * rowBytes;
    if (width == 4) {
      for (; p < end; p += rowBytes) {
        const centred = f32x4.sub(v128.load(p + distance), mean);
        const g = masked(v128.load(p), centred, gain, shift);
        sum = f32x4.add(sum, g);
        product = f32x4.add(product, f32x4.mul(g, f32x4.mul(centred, rstd)));
      }
    } else {
      for (; p < end; p += rowBytes) {
        const centred = f32x4.sub(loadPartial(p + distance, width), mean);
        const g = masked(loadPartial(p, width), centred, gain, shift);
        sum = f32x4.add(sum, g);
        product = f32x4.add(product, f32x4.mul(g, f32x4.mul(centred, rstd)));
      }
    }
    storeDoubles(target + (c << 1), sum, width);
    storeDoubles(target + (rowBytes << 1) + (c << 1), product, width);
  }
}

function storeDoubles(target: usize, value: v128, width: usize): void {
  store<f64>(target, <f64>f32x4.extract_lane(value, 0));
  if (width > 1) store<f64>(target, <f64>f32x4.extract_lane(value, 1), 8);
  if (width > 2) store<f64>(target, <f64>f32x4.extract_lane(value, 2), 16);
  if (width > 3) store<f64>(target, <f64>f32x4.extract_lane(value, 3), 24);
}

function averageSums(n: i32, rows: i32, channels: i32, sums: usize, gradGamma: usize, gradBeta: usize): void {
  const perSample = <usize>piecesOf(rows, channels);
  const total = <usize>n * <usize>channels;
  const end = endItem(total);
  for (let item = firstItem(total); item < end; item++) {
    let record = sums + (((item / <usize>channels) * perSample * 2 * <usize>channels + (item % <usize>channels)) << 3);
    let sum: f64 = 0;
    let product: f64 = 0;
    for (let p: usize = 0; p < perSample; p++) {
      sum += load<f64>(record);
      product += load<f64>(record + (<usize>channels << 3));
      record += <usize>channels << 4;
    }
    store<f32>(averages + (item << 2), <f32>(sum / <f64>rows));
    store<f32>(products + (item << 2), <f32>(product / <f64>rows));
    if (gradGamma != 0) store<f32>(gradGamma + (item << 2), <f32>product);
    if (gradBeta != 0) store<f32>(gradBeta + (item << 2), <f32>sum);
  }
}

function writePiece(sample: i32, rows: i32, row: i32, count: i32, channels: i32): void {
  const rowBytes = <usize>channels << 2;
  const start = (<usize>sample * <usize>rows + <usize>row) * rowBytes;
  const constants = <usize>sample * rowBytes;
  const distance = input - gradOutput;
  const toTarget = gradTarget - gradOutput;
  for (let c: usize = 0; c < rowBytes; c += 16) {
    const width = min(4, (rowBytes - c) >> 2);
    const mean = loadFirst(means + constants + c, width);
    const rstd = loadFirst(rstds + constants + c, width);
    const gain = loadFirst(gains + constants + c, width);
    const shift = shifts != 0 ? loadFirst(shifts + c, width) : f32x4.splat(0);
    const average = loadFirst(averages + constants + c, width);
    const product = loadFirst(products + constants + c, width);
    let p = gradOutput + start + c;
    const end = p + <usize>count * rowBytes;
    for (; p < end; p += rowBytes) {
      const centred = f32x4.sub(loadFirst(p + distance, width), mean);
      const g = masked(loadFirst(p, width), centred, gain, shift);
      const rest = f32x4.sub(f32x4.sub(g, average), f32x4.mul(f32x4.mul(centred, rstd), product));
      const value = f32x4.mul(gain, rest);
      storeFirst(p + toTarget, value, width);
    }
  }
}

export function instanceNormGradScratch(): f64 {
  return gradientScratch(integer(INSTANCE_NORM_N), integer(INSTANCE_NORM_VOXELS), integer(INSTANCE_NORM_CHANNELS));
}

/** instance_norm_relu_grad. */
export function instanceNormGrad(): void {
  gradOutput = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT);
  input = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_RAW);
  means = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_MEAN);
  rstds = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_RSTD);
  gains = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_RSTD);
  shifts = 0;
  gradTarget = buffer(INSTANCE_NORM_RELU_GRAD_BUFFER_GRAD_RAW);
  floor = integer(INSTANCE_NORM_RELU) != 0 ? 0 : -Infinity;
  gradient(integer(INSTANCE_NORM_N), integer(INSTANCE_NORM_VOXELS), integer(INSTANCE_NORM_CHANNELS), scratch, 0, 0);
}

/** Scratch: [sums and averages][rstd][gain]. */
export function batchNormGradScratch(): f64 {
  const channels = integer(BATCH_NORM_RELU_GRAD_CHANNELS);
  return gradientScratch(1, integer(BATCH_NORM_RELU_GRAD_ROWS), channels) + 2 * lines(<f64>channels * 4);
}

/** batch_norm_relu_grad. */
export function batchNormGrad(): void {
  const rows = integer(BATCH_NORM_RELU_GRAD_ROWS);
  const channels = integer(BATCH_NORM_RELU_GRAD_CHANNELS);
  rstds = scratch + <usize>gradientScratch(1, rows, channels);
  gains = rstds + <usize>lines(<f64>channels * 4);
  if (part == 0) {
    reciprocalDeviation(buffer(BATCH_NORM_RELU_GRAD_BUFFER_VARIANCE), rstds, channels, attribute(BATCH_NORM_RELU_GRAD_EPSILON));
    copyFloats(gains, rstds, <usize>channels);
    multiply(gains, buffer(BATCH_NORM_RELU_GRAD_BUFFER_GAMMA), channels);
  }
  barrier();
  gradOutput = buffer(BATCH_NORM_RELU_GRAD_BUFFER_GRAD_OUTPUT);
  input = buffer(BATCH_NORM_RELU_GRAD_BUFFER_INPUT);
  means = buffer(BATCH_NORM_RELU_GRAD_BUFFER_MEAN);
  shifts = buffer(BATCH_NORM_RELU_GRAD_BUFFER_BETA);
  gradTarget = buffer(BATCH_NORM_RELU_GRAD_BUFFER_GRAD_INPUT);
  floor = integer(BATCH_NORM_RELU_GRAD_RELU) != 0 ? 0 : -Infinity;
  if (integer(BATCH_NORM_RELU_GRAD_AVERAGES) != 0) {
    averages = buffer(BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_GRADIENT);
    products = buffer(BATCH_NORM_RELU_GRAD_BUFFER_AVERAGE_PRODUCT);
    writePieces(1, rows, channels);
    return;
  }
  const gradGamma = buffer(BATCH_NORM_RELU_GRAD_BUFFER_GRAD_GAMMA);
  gradient(1, rows, channels, scratch, gradGamma, buffer(BATCH_NORM_RELU_GRAD_BUFFER_GRAD_BETA));
}
