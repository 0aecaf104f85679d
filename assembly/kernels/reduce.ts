// reduce: input [outer, reduced, inner] -> output [outer, inner].
// The reduced axis is cut into pieces by the shape alone; partial results in double precision, combined in order.

import { barrier, buffer, endItem, firstItem, integer, scratch } from './call';
import { upperHalf } from './memory';
import {
  REDUCE_BUFFER_INPUT, REDUCE_BUFFER_OUTPUT, REDUCE_INNER, REDUCE_KIND, REDUCE_KIND_MAX, REDUCE_KIND_MEAN, REDUCE_KIND_MIN,
  REDUCE_KIND_PROD, REDUCE_KIND_SUM, REDUCE_OUTER, REDUCE_REDUCED,
} from './table';

const PIECE: i32 = 16384;

function pieceRows(): i32 {
  return max(16, PIECE / integer(REDUCE_INNER));
}

function pieces(): i32 {
  const rows = pieceRows();
  return (integer(REDUCE_REDUCED) + rows - 1) / rows;
}

export function reduceScratch(): f64 {
  return <f64>integer(REDUCE_OUTER) * pieces() * integer(REDUCE_INNER) * 8;
}

// @ts-ignore: decorator
@inline
function join(kind: i32, a: v128, b: v128): v128 {
  if (kind == REDUCE_KIND_MAX) return f64x2.max(a, b);
  if (kind == REDUCE_KIND_MIN) return f64x2.min(a, b);
  if (kind == REDUCE_KIND_PROD) return f64x2.mul(a, b);
  return f64x2.add(a, b);
}

// @ts-ignore: decorator
@inline
function joinOne(kind: i32, a: f64, b: f64): f64 {
  if (kind == REDUCE_KIND_MAX) return max(a, b);
  if (kind == REDUCE_KIND_MIN) return min(a, b);
  if (kind == REDUCE_KIND_PROD) return a * b;
  return a + b;
}

// @ts-ignore: decorator
@inline
function neutral(kind: i32): f64 {
  if (kind == REDUCE_KIND_MAX) return -Infinity;
  if (kind == REDUCE_KIND_MIN) return Infinity;
  if (kind == REDUCE_KIND_PROD) return 1;
  return 0;
}

// @ts-ignore: decorator
@inline
function run(kind: i32): void {
  const outer = <usize>integer(REDUCE_OUTER);
  const reduced = <usize>integer(REDUCE_REDUCED);
  const inner = <usize>integer(REDUCE_INNER);
  const rows = <usize>pieceRows();
  const perOuter = <usize>pieces();
  const end = endItem(outer * perOuter);
  for (let item = firstItem(outer * perOuter); item < end; item++) {
    const first = (item % perOuter) * rows;
    const count = min(rows, reduced - first);
    const from = buffer(REDUCE_BUFFER_INPUT) + (((item / perOuter) * reduced + first) * inner << 2);
    const to = scratch + ((item * inner) << 3);
    if (inner == 1) reduceRow(kind, from, count, to);
    else reduceColumns(kind, from, count, inner, to);
  }
  barrier();
  const results = outer * inner;
  const last = endItem(results);
  for (let item = firstItem(results); item < last; item++) {
    let value = neutral(kind);
    const from = scratch + (((item / inner) * perOuter * inner + (item % inner)) << 3);
    for (let p: usize = 0; p < perOuter; p++) value = joinOne(kind, value, load<f64>(from + ((p * inner) << 3)));
    if (kind == REDUCE_KIND_MEAN) value /= <f64>reduced;
    store<f32>(buffer(REDUCE_BUFFER_OUTPUT) + (item << 2), <f32>value);
  }
}

// @ts-ignore: decorator
@inline
function reduceRow(kind: i32, from: usize, count: usize, to: usize): void {
  let low = f64x2.splat(neutral(kind));
  let high = low;
  let i: usize = 0;
  for (; i + 4 <= count; i += 4) {
    const x = v128.load(from + (i << 2));
    low = join(kind, low, f64x2.promote_low_f32x4(x));
    high = join(kind, high, f64x2.promote_low_f32x4(upperHalf(x)));
  }
  low = join(kind, low, high);
  let value = joinOne(kind, f64x2.extract_lane(low, 0), f64x2.extract_lane(low, 1));
  for (; i < count; i++) value = joinOne(kind, value, <f64>load<f32>(from + (i << 2)));
  store<f64>(to, value);
}

// @ts-ignore: decorator
@inline
function reduceColumns(kind: i32, from: usize, count: usize, inner: usize, to: usize): void {
  const row = inner << 2;
  const end = from + count * row;
  let c: usize = 0;
  for (; c + 4 <= inner; c += 4) {
    let low = f64x2.splat(neutral(kind));
    let high = low;
    for (let p = from + (c << 2); p < end; p += row) {
      const x = v128.load(p);
      low = join(kind, low, f64x2.promote_low_f32x4(x));
      high = join(kind, high, f64x2.promote_low_f32x4(upperHalf(x)));
    }
    v128.store(to + (c << 3), low);
    v128.store(to + (c << 3), high, 16);
  }
  for (; c < inner; c++) {
    let value = neutral(kind);
    for (let p = from + (c << 2); p < end; p += row) value = joinOne(kind, value, <f64>load<f32>(p));
    store<f64>(to + (c << 3), value);
  }
}

export function reduce(): void {
  switch (integer(REDUCE_KIND)) {
    case REDUCE_KIND_SUM: run(REDUCE_KIND_SUM); break;
    case REDUCE_KIND_MEAN: run(REDUCE_KIND_MEAN); break;
    case REDUCE_KIND_MAX: run(REDUCE_KIND_MAX); break;
    case REDUCE_KIND_MIN: run(REDUCE_KIND_MIN); break;
    case REDUCE_KIND_PROD: run(REDUCE_KIND_PROD); break;
    default: unreachable();
  }
}
