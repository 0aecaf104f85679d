// binary: output = f(a, b) with broadcasting. attributes: kind, rank, shape[rank], aStride[rank], bStride[rank].
// The output is contiguous over the merged axes (axes.ts); along the last one each input is a vector, a number or strided.

import {
  addAxis, along, axisCount, axisSize, axisStrideA, axisStrideB, beginAxes, endAxes, locate, nextSegment, offsetA, offsetB,
  positions,
} from './axes';
import { buffer, endAligned, firstAligned, integer } from './call';
import { loadFirst, storePartial } from './memory';

// @ts-ignore: decorator
@inline
function apply(kind: i32, a: v128, b: v128): v128 {
  if (kind == 0) return f32x4.add(a, b);
  if (kind == 1) return f32x4.sub(a, b);
  if (kind == 2) return f32x4.mul(a, b);
  if (kind == 3) return f32x4.div(a, b);
  if (kind == 4) return v128.andnot(f32x4.div(a, b), f32x4.eq(b, f32x4.splat(0)));
  if (kind == 5) return f32x4.max(a, b);
  if (kind == 6) return f32x4.min(a, b);
  if (kind == 7) return power(a, b);
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
  let to = buffer(2) + (index << 2);
  while (index < end) {
    let a = buffer(0) + (offsetA() << 2);
    let b = buffer(1) + (offsetB() << 2);
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
  const rank = integer(1);
  beginAxes();
  for (let i = 0; i < rank; i++) {
    addAxis(<usize>integer(2 + i), <usize>integer(2 + rank + i), <usize>integer(2 + 2 * rank + i));
  }
  endAxes();
  switch (integer(0)) {
    case 0: combine(0); break;
    case 1: combine(1); break;
    case 2: combine(2); break;
    case 3: combine(3); break;
    case 4: combine(4); break;
    case 5: combine(5); break;
    case 6: combine(6); break;
    case 7: combine(7); break;
    case 8: combine(8); break;
    default: unreachable();
  }
}
