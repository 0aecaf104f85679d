// Walking over the axes of a tensor with two sets of strides. Axes are added from the outermost in; an axis that both
// walks run through without a break is merged with the one before it, axes of size 1 vanish.

import { part, scratch } from './call';

/** Most axes that can be added; the host refuses tensors of more than half as many (tile adds two per axis). */
const CAPACITY: usize = 32;

/** Scratch bytes of the lists: shape, strides a, strides b, position; one set per thread. */
export function axesScratch(parts: i32): f64 {
  return <f64>(parts * CAPACITY * 16);
}

let shape: usize = 0;
let aStride: usize = 0;
let bStride: usize = 0;
let position: usize = 0;
let count: i32 = 0;

// @ts-ignore: decorator
@inline
function at(list: usize, i: i32): usize {
  return <usize>load<u32>(list + (<usize>i << 2));
}

// @ts-ignore: decorator
@inline
function put(list: usize, i: i32, value: usize): void {
  store<u32>(list + (<usize>i << 2), <u32>value);
}

export function beginAxes(): void {
  shape = scratch + <usize>part * (CAPACITY * 16);
  aStride = shape + CAPACITY * 4;
  bStride = aStride + CAPACITY * 4;
  position = bStride + CAPACITY * 4;
  count = 0;
}

/** Adds an axis inside those added so far; strides in elements. */
export function addAxis(size: usize, a: usize, b: usize): void {
  if (size == 1) return;
  if (count > 0 && at(aStride, count - 1) == a * size && at(bStride, count - 1) == b * size) {
    put(shape, count - 1, at(shape, count - 1) * size);
    put(aStride, count - 1, a);
    put(bStride, count - 1, b);
    return;
  }
  appendAxis(size, a, b);
}

function appendAxis(size: usize, a: usize, b: usize): void {
  put(shape, count, size);
  put(aStride, count, a);
  put(bStride, count, b);
  count++;
}

/** Call after the last axis: there is then at least one. */
export function endAxes(): void {
  if (count == 0) appendAxis(1, 1, 1);
}

export function axisCount(): i32 {
  return count;
}
export function axisSize(axis: i32): usize {
  return at(shape, axis);
}
export function axisStrideA(axis: i32): usize {
  return at(aStride, axis);
}
export function axisStrideB(axis: i32): usize {
  return at(bStride, axis);
}

/** Takes an axis away (the walk then goes over the others). */
export function removeAxis(axis: i32): void {
  count--;
  for (let i = axis; i < count; i++) {
    put(shape, i, at(shape, i + 1));
    put(aStride, i, at(aStride, i + 1));
    put(bStride, i, at(bStride, i + 1));
  }
}

/** Number of positions of the walk. */
export function positions(): usize {
  let total: usize = 1;
  for (let i = 0; i < count; i++) total *= at(shape, i);
  return total;
}

/** Goes to position `index`, last axis fastest. */
export function locate(index: usize): void {
  for (let i = count - 1; i >= 0; i--) {
    put(position, i, index % at(shape, i));
    index /= at(shape, i);
  }
}

/** Coordinate on the last axis. */
export function along(): usize {
  return count > 0 ? at(position, count - 1) : 0;
}

export function offsetA(): usize {
  let offset: usize = 0;
  for (let i = 0; i < count; i++) offset += at(position, i) * at(aStride, i);
  return offset;
}
export function offsetB(): usize {
  let offset: usize = 0;
  for (let i = 0; i < count; i++) offset += at(position, i) * at(bStride, i);
  return offset;
}

/** Goes to the start of the next segment along the last axis. */
export function nextSegment(): void {
  put(position, count - 1, 0);
  for (let i = count - 2; i >= 0; i--) {
    const next = at(position, i) + 1;
    if (next < at(shape, i)) {
      put(position, i, next);
      return;
    }
    put(position, i, 0);
  }
}
