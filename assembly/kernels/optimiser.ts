// pack_gradients, adam_step, sgd_step, ema_step: elementwise over all parameters, which lie one after the other in an arena.

import { attribute, barrier, buffer, endAligned, endItem, firstAligned, firstItem, integer, part, scratch } from './call';
import { copyFloats, fillFloats, loadFirst, loadPartial, storeFirst, storePartial, sumDoubles, upperHalf } from './memory';
import {
  ADAM_STEP_BETA1, ADAM_STEP_BETA2, ADAM_STEP_BUFFER_ARENA, ADAM_STEP_BUFFER_FIRST_MOMENT, ADAM_STEP_BUFFER_PARAMETER,
  ADAM_STEP_BUFFER_SECOND_MOMENT, ADAM_STEP_EPSILON, ADAM_STEP_GRADIENT_SCALE, ADAM_STEP_LEARNING_RATE, ADAM_STEP_N,
  ADAM_STEP_SIZE, ADAM_STEP_STEP, ADAM_STEP_WEIGHT_DECAY, EMA_STEP_BUFFER_PARAMETER, EMA_STEP_DECAY, EMA_STEP_N,
  EMA_STEP_SIZE, PACK_GRADIENTS_BUFFER_GRADIENT, PACK_GRADIENTS_N, PACK_GRADIENTS_SIZE, emaStepBufferAverage,
  packGradientsBufferArena, packGradientsBufferSquaredNorm, SGD_STEP_BUFFER_ARENA, SGD_STEP_BUFFER_PARAMETER,
  SGD_STEP_BUFFER_VELOCITY, SGD_STEP_GRADIENT_SCALE, SGD_STEP_LEARNING_RATE, SGD_STEP_MOMENTUM, SGD_STEP_N, SGD_STEP_SIZE,
  SGD_STEP_WEIGHT_DECAY,
} from './table';

/** Elements per piece of the squared norm; pieces do not cross tensors. */
const PIECE: usize = 16384;

function piecesOfTensor(size: usize): usize {
  return (size + PIECE - 1) / PIECE;
}

function allPieces(): usize {
  let total: usize = 0;
  for (let i = 0; i < integer(PACK_GRADIENTS_N); i++) total += piecesOfTensor(<usize>integer(PACK_GRADIENTS_SIZE + i));
  return total;
}

/** Scratch: one f64 per piece. */
export function packScratch(): f64 {
  return <f64>allPieces() * 8;
}

/** pack_gradients. */
export function packGradients(): void {
  const n = integer(PACK_GRADIENTS_N);
  const arena = buffer(packGradientsBufferArena(n));
  const total = allPieces();
  const first = firstItem(total);
  const end = endItem(total);
  let piece: usize = 0;
  let start: usize = 0;
  for (let i = 0; i < n; i++) {
    const size = <usize>integer(PACK_GRADIENTS_SIZE + i);
    for (let at: usize = 0; at < size; at += PIECE) {
      if (piece >= first && piece < end) {
        const count = min(PIECE, size - at);
        const target = arena + ((start + at) << 2);
        let sum: f64 = 0;
        if (buffer(PACK_GRADIENTS_BUFFER_GRADIENT + i) == 0) fillFloats(target, count, 0);
        else {
          copyFloats(target, buffer(PACK_GRADIENTS_BUFFER_GRADIENT + i) + (at << 2), count);
          sum = sumSquares(target, count);
        }
        store<f64>(scratch + (piece << 3), sum);
      }
      piece++;
    }
    start += size;
  }
  barrier();
  if (part != 0) return;
  let sum: f64 = 0;
  for (let p: usize = 0; p < total; p++) sum += load<f64>(scratch + (p << 3));
  store<f32>(buffer(packGradientsBufferSquaredNorm(n)), <f32>sum);
}

function sumSquares(source: usize, count: usize): f64 {
  let low = f64x2.splat(0);
  let high = low;
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) {
    const x = v128.load(source + (i << 2));
    const a = f64x2.promote_low_f32x4(x);
    const b = f64x2.promote_low_f32x4(upperHalf(x));
    low = f64x2.add(low, f64x2.mul(a, a));
    high = f64x2.add(high, f64x2.mul(b, b));
  }
  let sum = sumDoubles(f64x2.add(low, high));
  for (; i < count; i++) {
    const x = <f64>load<f32>(source + (i << 2));
    sum += x * x;
  }
  return sum;
}

// Factors of adam_step.
let beta1: v128 = i64x2(0, 0);
let rest1: v128 = i64x2(0, 0);
let beta2: v128 = i64x2(0, 0);
let rest2: v128 = i64x2(0, 0);
let epsilon: v128 = i64x2(0, 0);
let gradientScale: v128 = i64x2(0, 0);
/** learningRate / (1 - beta1^step) and 1 / (1 - beta2^step): the bias corrections. */
let rate: v128 = i64x2(0, 0);
let correction: v128 = i64x2(0, 0);
let decay: v128 = i64x2(0, 0);

/** adam_step. */
export function adamStep(): void {
  const learningRate = attribute(ADAM_STEP_LEARNING_RATE);
  const step = attribute(ADAM_STEP_STEP);
  beta1 = f32x4.splat(<f32>attribute(ADAM_STEP_BETA1));
  rest1 = f32x4.splat(<f32>(1 - attribute(ADAM_STEP_BETA1)));
  beta2 = f32x4.splat(<f32>attribute(ADAM_STEP_BETA2));
  rest2 = f32x4.splat(<f32>(1 - attribute(ADAM_STEP_BETA2)));
  epsilon = f32x4.splat(<f32>attribute(ADAM_STEP_EPSILON));
  gradientScale = f32x4.splat(<f32>attribute(ADAM_STEP_GRADIENT_SCALE));
  rate = f32x4.splat(<f32>(learningRate / (1 - Math.pow(attribute(ADAM_STEP_BETA1), step))));
  correction = f32x4.splat(<f32>(1 / (1 - Math.pow(attribute(ADAM_STEP_BETA2), step))));
  decay = f32x4.splat(<f32>(learningRate * attribute(ADAM_STEP_WEIGHT_DECAY)));
  const n = integer(ADAM_STEP_N);
  let total: usize = 0;
  for (let i = 0; i < n; i++) total += <usize>integer(ADAM_STEP_SIZE + i);
  const first = firstAligned(total, 16);
  const end = endAligned(total, 16);
  let start: usize = 0;
  for (let i = 0; i < n; i++) {
    const size = <usize>integer(ADAM_STEP_SIZE + i);
    const from = max(first, start);
    const to = min(end, start + size);
    if (from < to) updateRange(from << 2, buffer(ADAM_STEP_BUFFER_PARAMETER + i) + ((from - start) << 2), to - from);
    start += size;
  }
}

function updateRange(offset: usize, weights: usize, count: usize): void {
  const gradients = buffer(ADAM_STEP_BUFFER_ARENA) + offset;
  const first = buffer(ADAM_STEP_BUFFER_FIRST_MOMENT) + offset;
  const second = buffer(ADAM_STEP_BUFFER_SECOND_MOMENT) + offset;
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) {
    const p = i << 2;
    const g = f32x4.mul(v128.load(gradients + p), gradientScale);
    const m = f32x4.add(f32x4.mul(beta1, v128.load(first + p)), f32x4.mul(rest1, g));
    const v = f32x4.add(f32x4.mul(beta2, v128.load(second + p)), f32x4.mul(rest2, f32x4.mul(g, g)));
    v128.store(first + p, m);
    v128.store(second + p, v);
    v128.store(weights + p, updated(v128.load(weights + p), m, v));
  }
  if (i == count) return;
  const p = i << 2;
  const left = count - i;
  const g = f32x4.mul(loadPartial(gradients + p, left), gradientScale);
  const m = f32x4.add(f32x4.mul(beta1, loadPartial(first + p, left)), f32x4.mul(rest1, g));
  const v = f32x4.add(f32x4.mul(beta2, loadPartial(second + p, left)), f32x4.mul(rest2, f32x4.mul(g, g)));
  storePartial(first + p, m, left);
  storePartial(second + p, v, left);
  storePartial(weights + p, updated(loadPartial(weights + p, left), m, v), left);
}

// @ts-ignore: decorator
@inline
function updated(w: v128, m: v128, v: v128): v128 {
  const decayed = f32x4.sub(w, f32x4.mul(decay, w));
  const deviation = f32x4.add(f32x4.sqrt(f32x4.mul(v, correction)), epsilon);
  return f32x4.sub(decayed, f32x4.div(f32x4.mul(rate, m), deviation));
}

/** sgd_step. */
export function sgdStep(): void {
  const scale = f32x4.splat(<f32>attribute(SGD_STEP_GRADIENT_SCALE));
  const loss = f32x4.splat(<f32>attribute(SGD_STEP_WEIGHT_DECAY));
  const momentum = f32x4.splat(<f32>attribute(SGD_STEP_MOMENTUM));
  const pace = f32x4.splat(<f32>attribute(SGD_STEP_LEARNING_RATE));
  const n = integer(SGD_STEP_N);
  let total: usize = 0;
  for (let i = 0; i < n; i++) total += <usize>integer(SGD_STEP_SIZE + i);
  const first = firstAligned(total, 16);
  const end = endAligned(total, 16);
  let start: usize = 0;
  for (let i = 0; i < n; i++) {
    const size = <usize>integer(SGD_STEP_SIZE + i);
    const from = max(first, start);
    const to = min(end, start + size);
    for (let at = from; at < to; at += 4) {
      const left = to - at;
      const weights = buffer(SGD_STEP_BUFFER_PARAMETER + i) + ((at - start) << 2);
      const velocity = buffer(SGD_STEP_BUFFER_VELOCITY) + (at << 2);
      const w = loadFirst(weights, left);
      const g = f32x4.add(
        f32x4.mul(scale, loadFirst(buffer(SGD_STEP_BUFFER_ARENA) + (at << 2), left)),
        f32x4.mul(loss, w),
      );
      const v = f32x4.add(f32x4.mul(momentum, loadFirst(velocity, left)), g);
      storeFirst(velocity, v, left);
      storeFirst(weights, f32x4.sub(w, f32x4.mul(pace, v)), left);
    }
    start += size;
  }
}

/** ema_step. */
export function emaStep(): void {
  const n = integer(EMA_STEP_N);
  const keep = f32x4.splat(<f32>attribute(EMA_STEP_DECAY));
  const take = f32x4.splat(<f32>(1 - attribute(EMA_STEP_DECAY)));
  let total: usize = 0;
  for (let i = 0; i < n; i++) total += <usize>integer(EMA_STEP_SIZE + i);
  const first = firstAligned(total, 16);
  const end = endAligned(total, 16);
  let start: usize = 0;
  for (let i = 0; i < n; i++) {
    const size = <usize>integer(EMA_STEP_SIZE + i);
    const from = max(first, start);
    const to = min(end, start + size);
    if (from < to) {
      let weights = buffer(EMA_STEP_BUFFER_PARAMETER + i) + ((from - start) << 2);
      let average = buffer(emaStepBufferAverage(n)) + (from << 2);
      let left = to - from;
      for (; left >= 4; left -= 4) {
        v128.store(average, f32x4.add(f32x4.mul(keep, v128.load(average)), f32x4.mul(take, v128.load(weights))));
        weights += 16;
        average += 16;
      }
      if (left > 0) {
        const value = f32x4.add(
          f32x4.mul(keep, loadPartial(average, left)),
          f32x4.mul(take, loadPartial(weights, left)),
        );
        storePartial(average, value, left);
      }
    }
    start += size;
  }
}
