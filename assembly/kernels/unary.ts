// unary: output[i] = f(input[i]). One loop per kind; the tail goes through the same vector function, so that an element's
// result does not depend on where it stands. attributes: kind, count, parameterA, parameterB.

import { attribute, buffer, endAligned, firstAligned, integer } from './call';
import { exp, expm1, log, log1p, sigmoid, softplus, tanh } from './math';
import { loadPartial, storePartial } from './memory';

// @ts-ignore: decorator
@inline
function splat(value: f32): v128 {
  return f32x4.splat(value);
}

/** The function of a kind; `kind` is a constant where this is inlined. */
// @ts-ignore: decorator
@inline
function apply(kind: i32, x: v128, a: v128, b: v128): v128 {
  if (kind == 1) return f32x4.neg(x);
  if (kind == 2) return f32x4.abs(x);
  if (kind == 3) return f32x4.mul(x, x);
  if (kind == 4) return f32x4.sqrt(x);
  if (kind == 5) return f32x4.div(splat(1), f32x4.sqrt(x));
  if (kind == 6) return f32x4.div(splat(1), x);
  if (kind == 7) return exp(x);
  if (kind == 8) return log(x);
  if (kind == 9) return log1p(x);
  if (kind == 10) return expm1(x);
  if (kind == 11) return sigmoid(x);
  if (kind == 12) return tanh(x);
  if (kind == 13) return f32x4.pmax(x, splat(0));
  if (kind == 14) return f32x4.pmin(f32x4.pmax(x, splat(0)), splat(6));
  if (kind == 15) return v128.bitselect(f32x4.mul(x, a), x, f32x4.lt(x, splat(0)));
  if (kind == 16) return v128.bitselect(expm1(x), x, f32x4.lt(x, splat(0)));
  if (kind == 17) return softplus(x);
  if (kind == 18) return v128.or(v128.and(f32x4.gt(x, splat(0)), splat(1)), v128.and(f32x4.lt(x, splat(0)), splat(-1)));
  if (kind == 19) return f32x4.floor(x);
  if (kind == 20) return f32x4.ceil(x);
  if (kind == 21) return f32x4.nearest(x);
  if (kind == 22) return f32x4.pmin(f32x4.pmax(x, a), b);
  // step: 1 above 0, parameterA at and below it, NaN stays
  if (kind == 23) return v128.bitselect(v128.bitselect(splat(1), a, f32x4.gt(x, splat(0))), x, f32x4.eq(x, x));
  return x;
}

// @ts-ignore: decorator
@inline
function map(kind: i32): void {
  const count = <usize>integer(1);
  const first = firstAligned(count, 16);
  const last = endAligned(count, 16);
  const a = splat(<f32>attribute(2));
  const b = splat(<f32>attribute(3));
  let from = buffer(0) + (first << 2);
  let to = buffer(1) + (first << 2);
  let left = last - first;
  for (; left >= 4; left -= 4) {
    v128.store(to, apply(kind, v128.load(from), a, b));
    from += 16;
    to += 16;
  }
  if (left > 0) storePartial(to, apply(kind, loadPartial(from, left), a, b), left);
}

export function unary(): void {
  switch (integer(0)) {
    case 0: map(0); break;
    case 1: map(1); break;
    case 2: map(2); break;
    case 3: map(3); break;
    case 4: map(4); break;
    case 5: map(5); break;
    case 6: map(6); break;
    case 7: map(7); break;
    case 8: map(8); break;
    case 9: map(9); break;
    case 10: map(10); break;
    case 11: map(11); break;
    case 12: map(12); break;
    case 13: map(13); break;
    case 14: map(14); break;
    case 15: map(15); break;
    case 16: map(16); break;
    case 17: map(17); break;
    case 18: map(18); break;
    case 19: map(19); break;
    case 20: map(20); break;
    case 21: map(21); break;
    case 22: map(22); break;
    case 23: map(23); break;
    default: unreachable();
  }
}
