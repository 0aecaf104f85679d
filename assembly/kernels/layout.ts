// transpose, slice, pad, concat, tile: copies between two strided walks; and fill.

import {
  addAxis, along, axisCount, axisSize, axisStrideA, axisStrideB, beginAxes, endAxes, locate, nextSegment, offsetA, offsetB,
  positions, removeAxis,
} from './axes';
import { attribute, barrier, buffer, endAligned, endItem, firstAligned, firstItem, integer } from './call';
import { copyFloats, fillFloats } from './memory';
import { transposeQuad } from './pack';
import {
  CONCAT_BUFFER_INPUT, CONCAT_INNER, CONCAT_N, CONCAT_OUTER, FILL_BUFFER_OUTPUT, FILL_COUNT, FILL_VALUE, PAD_BUFFER_INPUT,
  PAD_BUFFER_OUTPUT, PAD_RANK, PAD_SHAPE, SLICE_BUFFER_INPUT, SLICE_BUFFER_OUTPUT, SLICE_RANK, SLICE_SHAPE,
  TILE_BUFFER_INPUT, TILE_BUFFER_OUTPUT, TILE_RANK, TILE_SHAPE, TRANSPOSE_BUFFER_INPUT, TRANSPOSE_BUFFER_OUTPUT,
  TRANSPOSE_RANK, TRANSPOSE_SHAPE, concatBufferOutput, padAfter, padBefore, padValue, sliceBegin, sliceSize,
  tileRepetitions, transposePermutation,
} from './table';

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

/** Elements per step of axis i of a contiguous tensor whose shape begins at attribute `first`. */
function contiguousStride(first: i32, rank: i32, axis: i32): usize {
  let stride: usize = 1;
  for (let i = axis + 1; i < rank; i++) stride *= <usize>integer(first + i);
  return stride;
}

export function transpose(): void {
  const rank = integer(TRANSPOSE_RANK);
  beginAxes();
  let b: usize = 1;
  for (let i = 0; i < rank; i++) b *= <usize>integer(TRANSPOSE_SHAPE + i);
  for (let i = 0; i < rank; i++) {
    const axis = integer(transposePermutation(rank) + i);
    const size = <usize>integer(TRANSPOSE_SHAPE + axis);
    b /= size;
    addAxis(size, contiguousStride(TRANSPOSE_SHAPE, rank, axis), b);
  }
  endAxes();
  copyWalk(buffer(TRANSPOSE_BUFFER_INPUT), buffer(TRANSPOSE_BUFFER_OUTPUT));
}

export function slice(): void {
  const rank = integer(SLICE_RANK);
  beginAxes();
  let from: usize = 0;
  for (let i = 0; i < rank; i++) {
    const a = contiguousStride(SLICE_SHAPE, rank, i);
    from += <usize>integer(sliceBegin(rank) + i) * a;
    addAxis(<usize>integer(sliceSize(rank) + i), a, contiguousStride(sliceSize(rank), rank, i));
  }
  endAxes();
  copyWalk(buffer(SLICE_BUFFER_INPUT) + (from << 2), buffer(SLICE_BUFFER_OUTPUT));
}

export function pad(): void {
  const rank = integer(PAD_RANK);
  let total: usize = 1;
  for (let i = 0; i < rank; i++) total *= paddedSize(rank, i);
  fillRange(buffer(PAD_BUFFER_OUTPUT), total, <f32>attribute(padValue(rank)));
  barrier();
  beginAxes();
  let to: usize = 0;
  for (let i = 0; i < rank; i++) {
    total /= paddedSize(rank, i);
    to += <usize>integer(padBefore(rank) + i) * total;
    addAxis(<usize>integer(PAD_SHAPE + i), contiguousStride(PAD_SHAPE, rank, i), total);
  }
  endAxes();
  copyWalk(buffer(PAD_BUFFER_INPUT), buffer(PAD_BUFFER_OUTPUT) + (to << 2));
}

function paddedSize(rank: i32, axis: i32): usize {
  return <usize>integer(PAD_SHAPE + axis) + <usize>integer(padBefore(rank) + axis) + <usize>integer(padAfter(rank) + axis);
}

export function concat(): void {
  const n = integer(CONCAT_N);
  const outer = <usize>integer(CONCAT_OUTER);
  let row: usize = 0;
  for (let i = 0; i < n; i++) row += <usize>integer(CONCAT_INNER + i);
  let first: usize = 0;
  for (let i = 0; i < n; i++) {
    const inner = <usize>integer(CONCAT_INNER + i);
    beginAxes();
    addAxis(outer, inner, row);
    addAxis(inner, 1, 1);
    endAxes();
    copyWalk(buffer(CONCAT_BUFFER_INPUT + i), buffer(concatBufferOutput(n)) + (first << 2));
    first += inner;
  }
}

export function tile(): void {
  const rank = integer(TILE_RANK);
  let b: usize = 1;
  for (let i = 0; i < rank; i++) b *= <usize>integer(TILE_SHAPE + i) * <usize>integer(tileRepetitions(rank) + i);
  beginAxes();
  for (let i = 0; i < rank; i++) {
    b /= <usize>integer(tileRepetitions(rank) + i);
    addAxis(<usize>integer(tileRepetitions(rank) + i), 0, b);
    b /= <usize>integer(TILE_SHAPE + i);
    addAxis(<usize>integer(TILE_SHAPE + i), contiguousStride(TILE_SHAPE, rank, i), b);
  }
  endAxes();
  copyWalk(buffer(TILE_BUFFER_INPUT), buffer(TILE_BUFFER_OUTPUT));
}

export function fill(): void {
  fillRange(buffer(FILL_BUFFER_OUTPUT), <usize>integer(FILL_COUNT), <f32>attribute(FILL_VALUE));
}

function fillRange(output: usize, count: usize, value: f32): void {
  const first = firstAligned(count, 16);
  fillFloats(output + (first << 2), endAligned(count, 16) - first, value);
}
