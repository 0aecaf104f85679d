// binary: output = f(a, b) with broadcasting.
// The output is contiguous over the merged axes (axes.ts); along the last one each input is a vector, a number or strided.

import {
  addAxis, along, axisCount, axisSize, axisStrideA, axisStrideB, beginAxes, endAxes, locate, nextSegment, offsetA, offsetB,
  positions,
} from './axes';
import { buffer, endAligned, firstAligned, integer } from './call';
import { loadFirst, storePartial } from './memory';
import {
  BINARY_BUFFER_A, BINARY_BUFFER_B, BINARY_BUFFER_OUTPUT, BINARY_KIND, BINARY_KIND_ADD, BINARY_KIND_DIV,
  BINARY_KIND_DIV_NO_NAN, BINARY_KIND_MAX, BINARY_KIND_MIN, BINARY_KIND_MUL, BINARY_KIND_POW, BINARY_KIND_SQUARED_DIFFERENCE,
  BINARY_KIND_SUB, BINARY_RANK, BINARY_SHAPE, binaryAStride, binaryBStride,
} from './table';

// @ts-ignore: decorator
@inline
function apply(kind: i32, a: v128, b: v128): v128 {
  if (kind == BINARY_KIND_ADD) return f32x4.add(a, b);
  if (kind == BINARY_KIND_SUB) return f32x4.sub(a, b);
  if (kind == BINARY_KIND_MUL) return f32x4.mul(a, b);
  if (kind == BINARY_KIND_DIV) return f32x4.div(a, b);
  if (kind == BINARY_KIND_DIV_NO_NAN) return v128.andnot(f32x4.div(a, b), f32x4.eq(b, f32x4.splat(0)));
  if (kind == BINARY_KIND_MAX) return f32x4.max(a, b);
  if (kind == BINARY_KIND_MIN) return f32x4.min(a, b);
  if (kind == BINARY_KIND_POW) return power(a, b);
  const d = f32x4.sub(a, b);
  return f32x4.mul(d, d);
}

/** In double precision, lane by lane. */
function power(a: v128, b: v128): v128 {
  let result = f32x4.splat(powerOf(f32x4.extract_lane(a, 0), f32x4.extract_lane(b, 0)));
  result = f32x4.replace_lane(result, 1, powerOf(f32x4.extract_lane(a, 1), f32x4.extract_lane(b, 1)));
  result = f32x4.replace_lane(result, 2, powerOf(f32x4.extract_lane(a, 2), f32x4.extract_lane(b, 2)));
  return f32x4.replace_lane(result, 3, powerOf(f32x4.extract_lane(a, 3), f32x4.extract_lane(b, 3)));
}

function powerOf(a: f32, b: f32): f32 {
  return <f32>Math.pow(<f64>a, <f64>b);
}

/** Four (or `count` < 4) elements of an input from `source` on, `step` bytes apart. */
// @ts-ignore: decorator
@inline
function gather(source: usize, step: usize, count: usize): v128 {
  if (step == 0) return v128.load32_splat(source);
  if (step == 4) return loadFirst(source, count);
  let value = v128.load32_zero(source);
  if (count > 1) value = f32x4.replace_lane(value, 1, load<f32>(source + step));
  if (count > 2) value = f32x4.replace_lane(value, 2, load<f32>(source + 2 * step));
  if (count > 3) value = f32x4.replace_lane(value, 3, load<f32>(source + 3 * step));
  return value;
}

// @ts-ignore: decorator
@inline
function combine(kind: i32): void {
  const total = positions();
  const axis = axisCount() - 1;
  const length = axisSize(axis);
  const aStep = axisStrideA(axis) << 2;
  const bStep = axisStrideB(axis) << 2;
  const end = endAligned(total, 16);
  let index = firstAligned(total, 16);
  if (index >= end) return;
  locate(index);
  let to = buffer(BINARY_BUFFER_OUTPUT) + (index << 2);
  while (index < end) {
    let a = buffer(BINARY_BUFFER_A) + (offsetA() << 2);
    let b = buffer(BINARY_BUFFER_B) + (offsetB() << 2);
    let left = min(length - along(), end - index);
    index += left;
    if (aStep == 4 && bStep == 4) {
      for (; left >= 4; left -= 4) {
        v128.store(to, apply(kind, v128.load(a), v128.load(b)));
        a += 16;
        b += 16;
        to += 16;
      }
    }
    for (; left >= 4; left -= 4) {
      v128.store(to, apply(kind, gather(a, aStep, 4), gather(b, bStep, 4)));
      a += 4 * aStep;
      b += 4 * bStep;
      to += 16;
    }
    if (left > 0) {
      storePartial(to, apply(kind, gather(a, aStep, left), gather(b, bStep, left)), left);
      to += left << 2;
    }
    nextSegment();
  }
}

export function binary(): void {
  const rank = integer(BINARY_RANK);
  beginAxes();
  for (let i = 0; i < rank; i++) {
    addAxis(<usize>integer(BINARY_SHAPE + i), <usize>integer(binaryAStride(rank) + i), <usize>integer(binaryBStride(rank) + i));
  }
  endAxes();
  switch (integer(BINARY_KIND)) {
    case BINARY_KIND_ADD: combine(BINARY_KIND_ADD); break;
    case BINARY_KIND_SUB: combine(BINARY_KIND_SUB); break;
    case BINARY_KIND_MUL: combine(BINARY_KIND_MUL); break;
    case BINARY_KIND_DIV: combine(BINARY_KIND_DIV); break;
    case BINARY_KIND_DIV_NO_NAN: combine(BINARY_KIND_DIV_NO_NAN); break;
    case BINARY_KIND_MAX: combine(BINARY_KIND_MAX); break;
    case BINARY_KIND_MIN: combine(BINARY_KIND_MIN); break;
    case BINARY_KIND_POW: combine(BINARY_KIND_POW); break;
    case BINARY_KIND_SQUARED_DIFFERENCE: combine(BINARY_KIND_SQUARED_DIFFERENCE); break;
    default: unreachable();
  }
}
