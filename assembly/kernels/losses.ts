// overlap_sums, aggregate_max and their gradients.

import { barrier, buffer, endAligned, endItem, firstAligned, firstItem, integer, part, scratch } from './call';
import { exp, log1p } from './math';
import { loadFirst, storeFirst, sumDoubles, upperHalf } from './memory';
import {
  AGGREGATE_MAX_BUFFER_AGGREGATE, AGGREGATE_MAX_BUFFER_LOGITS, AGGREGATE_MAX_GRAD_BUFFER_GRAD_AGGREGATE,
  AGGREGATE_MAX_GRAD_BUFFER_GRAD_LOGITS, AGGREGATE_MAX_GRAD_BUFFER_LOGITS, AGGREGATE_N, AGGREGATE_PROMPTS, AGGREGATE_REAL,
  AGGREGATE_VOXELS, OVERLAP_SUMS_BUFFER_LOGITS, OVERLAP_SUMS_BUFFER_MASK, OVERLAP_SUMS_BUFFER_SUMS,
  OVERLAP_SUMS_BUFFER_TARGET, OVERLAP_SUMS_COUNT, OVERLAP_SUMS_ROWS, OVERLAP_SUMS_GRAD_BUFFER_GRAD_LOGITS, OVERLAP_SUMS_GRAD_BUFFER_GRAD_SUMS,
  OVERLAP_SUMS_GRAD_BUFFER_GRAD_TARGET, OVERLAP_SUMS_GRAD_BUFFER_LOGITS, OVERLAP_SUMS_GRAD_BUFFER_MASK,
  OVERLAP_SUMS_GRAD_BUFFER_TARGET, OVERLAP_SUMS_GRAD_COUNT, OVERLAP_SUMS_GRAD_ROWS,
} from './table';

/** Elements per piece of the sums; pieces do not cross rows. */
const PIECE: usize = 8192;

function piecesOfRow(): usize {
  return (<usize>integer(OVERLAP_SUMS_COUNT) + PIECE - 1) / PIECE;
}

/** Scratch: five f64 per piece. */
export function overlapScratch(): f64 {
  return <f64>integer(OVERLAP_SUMS_ROWS) * <f64>piecesOfRow() * 40;
}

/** A mask's elements; ones where there is no mask (zeros above a partial vector, so that they add nothing). */
// @ts-ignore: decorator
@inline
function readMask(mask: usize, offset: usize, count: usize): v128 {
  if (mask != 0) return loadFirst(mask + offset, count);
  const lanes = i32x4(0, 1, 2, 3);
  return v128.and(f32x4.splat(1), i32x4.lt_s(lanes, i32x4.splat(<i32>min(count, 4))));
}

/** overlap_sums. */
export function overlapSums(): void {
  const count = <usize>integer(OVERLAP_SUMS_COUNT);
  const rows = <usize>integer(OVERLAP_SUMS_ROWS);
  const pieces = piecesOfRow();
  const end = endItem(rows * pieces);
  for (let piece = firstItem(rows * pieces); piece < end; piece++) {
    const row = piece / pieces;
    const at = (piece - row * pieces) * PIECE;
    sumPiece(row * count + at, min(PIECE, count - at), scratch + piece * 40);
  }
  barrier();
  if (part != 0) return;
  for (let row: usize = 0; row < rows; row++) {
    for (let s: usize = 0; s < 5; s++) {
      let sum: f64 = 0;
      for (let piece = row * pieces; piece < (row + 1) * pieces; piece++) sum += load<f64>(scratch + piece * 40 + (s << 3));
      store<f32>(buffer(OVERLAP_SUMS_BUFFER_SUMS) + ((row * 5 + s) << 2), <f32>sum);
    }
  }
}

// @ts-ignore: decorator
@inline
function addTo(sum: v128, value: v128): v128 {
  return f64x2.add(sum, f64x2.add(f64x2.promote_low_f32x4(value), f64x2.promote_low_f32x4(upperHalf(value))));
}

function sumPiece(first: usize, count: usize, target: usize): void {
  const mask = buffer(OVERLAP_SUMS_BUFFER_MASK);
  const one = f32x4.splat(1);
  const zero = f32x4.splat(0);
  let overlap = f64x2.splat(0);
  let predicted = overlap;
  let wanted = overlap;
  let entropy = overlap;
  let weight = overlap;
  for (let i: usize = 0; i < count; i += 4) {
    const offset = (first + i) << 2;
    const x = loadFirst(buffer(OVERLAP_SUMS_BUFFER_LOGITS) + offset, count - i);
    const y = loadFirst(buffer(OVERLAP_SUMS_BUFFER_TARGET) + offset, count - i);
    const m = readMask(mask, offset, count - i);
    const e = exp(f32x4.neg(f32x4.abs(x)));
    const sigmoid = f32x4.div(v128.bitselect(e, one, f32x4.lt(x, zero)), f32x4.add(one, e));
    const softplus = f32x4.add(f32x4.pmax(x, zero), log1p(e));
    const p = f32x4.mul(sigmoid, m);
    const t = f32x4.mul(y, m);
    overlap = addTo(overlap, f32x4.mul(p, t));
    predicted = addTo(predicted, f32x4.mul(p, p));
    wanted = addTo(wanted, f32x4.mul(t, t));
    entropy = addTo(entropy, f32x4.mul(m, f32x4.sub(softplus, f32x4.mul(y, x))));
    weight = addTo(weight, m);
  }
  store<f64>(target, sumDoubles(overlap));
  store<f64>(target, sumDoubles(predicted), 8);
  store<f64>(target, sumDoubles(wanted), 16);
  store<f64>(target, sumDoubles(entropy), 24);
  store<f64>(target, sumDoubles(weight), 32);
}

/**
 * overlap_sums_grad. With s = sigmoid(x), p = s * m, t = y * m:
 *   gradLogit  = m * ((g0 * t + 2 * g1 * p) * s * (1 - s) + g3 * (s - y))
 *   gradTarget = m * (g0 * p + 2 * g2 * t - g3 * x)
 */
export function overlapSumsGrad(): void {
  const rows = <usize>integer(OVERLAP_SUMS_GRAD_ROWS);
  for (let row: usize = 0; row < rows; row++) gradOfRow(row);
}

function gradOfRow(row: usize): void {
  const count = <usize>integer(OVERLAP_SUMS_GRAD_COUNT);
  const gradSums = buffer(OVERLAP_SUMS_GRAD_BUFFER_GRAD_SUMS) + row * 20;
  const start = row * count;
  const mask = buffer(OVERLAP_SUMS_GRAD_BUFFER_MASK);
  const gradLogits = buffer(OVERLAP_SUMS_GRAD_BUFFER_GRAD_LOGITS);
  const gradTarget = buffer(OVERLAP_SUMS_GRAD_BUFFER_GRAD_TARGET);
  const g0 = v128.load32_splat(gradSums);
  const g1 = f32x4.mul(v128.load32_splat(gradSums, 4), f32x4.splat(2));
  const g2 = f32x4.mul(v128.load32_splat(gradSums, 8), f32x4.splat(2));
  const g3 = v128.load32_splat(gradSums, 12);
  const one = f32x4.splat(1);
  const zero = f32x4.splat(0);
  const end = endAligned(count, 16);
  for (let i = firstAligned(count, 16); i < end; i += 4) {
    const offset = (start + i) << 2;
    const left = end - i;
    const x = loadFirst(buffer(OVERLAP_SUMS_GRAD_BUFFER_LOGITS) + offset, left);
    const y = loadFirst(buffer(OVERLAP_SUMS_GRAD_BUFFER_TARGET) + offset, left);
    const m = readMask(mask, offset, left);
    const e = exp(f32x4.neg(f32x4.abs(x)));
    const reciprocal = f32x4.div(one, f32x4.add(one, e));
    const s = f32x4.mul(v128.bitselect(e, one, f32x4.lt(x, zero)), reciprocal);
    const p = f32x4.mul(s, m);
    const t = f32x4.mul(y, m);
    if (gradLogits != 0) {
      // s * (1 - s) = e / (1 + e)^2, without cancellation
      const slope = f32x4.mul(f32x4.mul(e, reciprocal), reciprocal);
      const dice = f32x4.mul(f32x4.add(f32x4.mul(g0, t), f32x4.mul(g1, p)), slope);
      storeFirst(gradLogits + offset, f32x4.mul(m, f32x4.add(dice, f32x4.mul(g3, f32x4.sub(s, y)))), left);
    }
    if (gradTarget != 0) {
      const dice = f32x4.add(f32x4.mul(g0, p), f32x4.mul(g2, t));
      storeFirst(gradTarget + offset, f32x4.mul(m, f32x4.sub(dice, f32x4.mul(g3, x))), left);
    }
  }
}

/** aggregate_max. */
export function aggregateMax(): void {
  const prompts = <usize>integer(AGGREGATE_PROMPTS);
  const voxels = <usize>integer(AGGREGATE_VOXELS);
  const real = <usize>integer(AGGREGATE_REAL);
  const one = f32x4.splat(1);
  const first = firstAligned(voxels, 16);
  const end = endAligned(voxels, 16);
  for (let sample: usize = 0; sample < <usize>integer(AGGREGATE_N); sample++) {
    const logits = buffer(AGGREGATE_MAX_BUFFER_LOGITS) + ((sample * prompts * voxels) << 2);
    const aggregate = buffer(AGGREGATE_MAX_BUFFER_AGGREGATE) + ((sample * voxels) << 2);
    for (let v = first; v < end; v += 4) {
      let best = loadFirst(logits + (v << 2), end - v);
      for (let k: usize = 1; k < real; k++) best = f32x4.max(best, loadFirst(logits + ((k * voxels + v) << 2), end - v));
      storeFirst(aggregate + (v << 2), f32x4.div(one, f32x4.add(one, exp(f32x4.neg(best)))), end - v);
    }
  }
}

/** aggregate_max_grad. */
export function aggregateMaxGrad(): void {
  const prompts = <usize>integer(AGGREGATE_PROMPTS);
  const voxels = <usize>integer(AGGREGATE_VOXELS);
  const real = <usize>integer(AGGREGATE_REAL);
  const one = f32x4.splat(1);
  const first = firstAligned(voxels, 16);
  const end = endAligned(voxels, 16);
  for (let sample: usize = 0; sample < <usize>integer(AGGREGATE_N); sample++) {
    const logits = buffer(AGGREGATE_MAX_GRAD_BUFFER_LOGITS) + ((sample * prompts * voxels) << 2);
    const gradLogits = buffer(AGGREGATE_MAX_GRAD_BUFFER_GRAD_LOGITS) + ((sample * prompts * voxels) << 2);
    for (let v = first; v < end; v += 4) {
      let best = loadFirst(logits + (v << 2), end - v);
      let winner = i32x4.splat(0);
      for (let k: usize = 1; k < real; k++) {
        const x = loadFirst(logits + ((k * voxels + v) << 2), end - v);
        const better = f32x4.gt(x, best);
        best = v128.bitselect(x, best, better);
        winner = v128.bitselect(i32x4.splat(<i32>k), winner, better);
      }
      const e = exp(f32x4.neg(f32x4.abs(best)));
      const reciprocal = f32x4.div(one, f32x4.add(one, e));
      const slope = f32x4.mul(f32x4.mul(e, reciprocal), reciprocal);
      const gradient = buffer(AGGREGATE_MAX_GRAD_BUFFER_GRAD_AGGREGATE) + ((sample * voxels + v) << 2);
      const g = f32x4.mul(loadFirst(gradient, end - v), slope);
      for (let k: usize = 0; k < prompts; k++) {
        storeFirst(gradLogits + ((k * voxels + v) << 2), v128.and(g, i32x4.eq(winner, i32x4.splat(<i32>k))), end - v);
      }
    }
  }
}
