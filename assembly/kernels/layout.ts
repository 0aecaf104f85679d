// transpose, slice, pad, concat, tile: copies between two strided walks; and fill.

import {
  addAxis, along, axisCount, axisSize, axisStrideA, axisStrideB, beginAxes, endAxes, locate, nextSegment, offsetA, offsetB,
  positions, removeAxis,
} from './axes';
import { attribute, barrier, buffer, endAligned, endItem, firstAligned, firstItem, integer } from './call';
import { copyFloats, fillFloats } from './memory';
import { transposeQuad } from './pack';

/** Copies this part's share of the walk's positions (axes.ts): input by strides a, output by strides b. */
function copyWalk(input: usize, output: usize): void {
  const axis = axisCount() - 1;
  const aStep = axisStrideA(axis);
  const bStep = axisStrideB(axis);
  if (aStep > 1 && bStep == 1) {
    for (let i = 0; i < axis; i++) {
      if (axisStrideA(i) == 1 && axisSize(i) >= 4) {
        transposeWalk(input, output, i);
        return;
      }
    }
  }
  const total = positions();
  const length = axisSize(axis);
  const end = endAligned(total, 16);
  let index = firstAligned(total, 16);
  if (index >= end) return;
  locate(index);
  while (index < end) {
    const count = min(length - along(), end - index);
    copySegment(input + (offsetA() << 2), aStep << 2, output + (offsetB() << 2), bStep << 2, count);
    index += count;
    nextSegment();
  }
}

function copySegment(from: usize, fromStep: usize, to: usize, toStep: usize, count: usize): void {
  if (fromStep == 4 && toStep == 4) {
    copyFloats(to, from, count);
    return;
  }
  if (fromStep == 0 && toStep == 4) {
    fillFloats(to, count, load<f32>(from));
    return;
  }
  for (let i: usize = 0; i < count; i++) {
    store<u32>(to, load<u32>(from));
    from += fromStep;
    to += toStep;
  }
}

/** As copyWalk where the input is contiguous along axis `inner` and the output along the last: copies blocks of 4 x 4. */
function transposeWalk(input: usize, output: usize, inner: i32): void {
  const last = axisCount() - 1;
  const length = axisSize(last);
  const aStep = axisStrideA(last) << 2;
  const innerLength = axisSize(inner);
  const bStep = axisStrideB(inner) << 2;
  removeAxis(last);
  removeAxis(inner);
  const quads = (innerLength + 3) >> 2;
  const end = endItem(positions() * quads);
  for (let item = firstItem(positions() * quads); item < end; item++) {
    locate(item / quads);
    const first = (item % quads) << 2;
    let from = input + ((offsetA() + first) << 2);
    let to = output + (offsetB() << 2) + first * bStep;
    const width = min(4, innerLength - first);
    let i: usize = 0;
    if (width == 4) {
      for (; i + 4 <= length; i += 4) transposeQuad(from + i * aStep, aStep, to + (i << 2), bStep);
    }
    for (let w: usize = 0; w < width; w++) {
      for (let j = i; j < length; j++) store<u32>(to + w * bStep + (j << 2), load<u32>(from + j * aStep + (w << 2)));
    }
  }
}

/** Elements per step of axis i of a contiguous tensor whose shape is at attributes [first, first + rank). */
function contiguousStride(first: i32, rank: i32, axis: i32): usize {
  let stride: usize = 1;
  for (let i = axis + 1; i < rank; i++) stride *= <usize>integer(first + i);
  return stride;
}

/** rank, shape[rank], permutation[rank] */
export function transpose(): void {
  const rank = integer(0);
  beginAxes();
  let b: usize = 1;
  for (let i = 0; i < rank; i++) b *= <usize>integer(1 + i);
  for (let i = 0; i < rank; i++) {
    const axis = integer(1 + rank + i);
    const size = <usize>integer(1 + axis);
    b /= size;
    addAxis(size, contiguousStride(1, rank, axis), b);
  }
  endAxes();
  copyWalk(buffer(0), buffer(1));
}

/** rank, shape[rank], begin[rank], size[rank] */
export function slice(): void {
  const rank = integer(0);
  beginAxes();
  let from: usize = 0;
  for (let i = 0; i < rank; i++) {
    const a = contiguousStride(1, rank, i);
    from += <usize>integer(1 + rank + i) * a;
    addAxis(<usize>integer(1 + 2 * rank + i), a, contiguousStride(1 + 2 * rank, rank, i));
  }
  endAxes();
  copyWalk(buffer(0) + (from << 2), buffer(1));
}

/** rank, shape[rank], before[rank], after[rank], value */
export function pad(): void {
  const rank = integer(0);
  let total: usize = 1;
  for (let i = 0; i < rank; i++) total *= paddedSize(rank, i);
  fillRange(buffer(1), total, <f32>attribute(1 + 3 * rank));
  barrier();
  beginAxes();
  let to: usize = 0;
  for (let i = 0; i < rank; i++) {
    total /= paddedSize(rank, i);
    to += <usize>integer(1 + rank + i) * total;
    addAxis(<usize>integer(1 + i), contiguousStride(1, rank, i), total);
  }
  endAxes();
  copyWalk(buffer(0), buffer(1) + (to << 2));
}

function paddedSize(rank: i32, axis: i32): usize {
  return <usize>integer(1 + axis) + <usize>integer(1 + rank + axis) + <usize>integer(1 + 2 * rank + axis);
}

/** n, outer, inner[n]; n inputs and the output */
export function concat(): void {
  const n = integer(0);
  const outer = <usize>integer(1);
  let row: usize = 0;
  for (let i = 0; i < n; i++) row += <usize>integer(2 + i);
  let first: usize = 0;
  for (let i = 0; i < n; i++) {
    const inner = <usize>integer(2 + i);
    beginAxes();
    addAxis(outer, inner, row);
    addAxis(inner, 1, 1);
    endAxes();
    copyWalk(buffer(i), buffer(n) + (first << 2));
    first += inner;
  }
}

/** rank, shape[rank], repetitions[rank] */
export function tile(): void {
  const rank = integer(0);
  let b: usize = 1;
  for (let i = 0; i < rank; i++) b *= <usize>integer(1 + i) * <usize>integer(1 + rank + i);
  beginAxes();
  for (let i = 0; i < rank; i++) {
    b /= <usize>integer(1 + rank + i);
    addAxis(<usize>integer(1 + rank + i), 0, b);
    b /= <usize>integer(1 + i);
    addAxis(<usize>integer(1 + i), contiguousStride(1, rank, i), b);
  }
  endAxes();
  copyWalk(buffer(0), buffer(1));
}

/** count, value */
export function fill(): void {
  fillRange(buffer(0), <usize>integer(0), <f32>attribute(1));
}

function fillRange(output: usize, count: usize, value: f32): void {
  const first = firstAligned(count, 16);
  fillFloats(output + (first << 2), endAligned(count, 16) - first, value);
}
