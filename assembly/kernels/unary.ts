// unary: output[i] = f(input[i]). One loop per kind; the tail goes through the same vector function, so that an element's
// result does not depend on where it stands.

import { attribute, buffer, endAligned, firstAligned, integer } from './call';
import { exp, expm1, log, log1p, sigmoid, softplus, tanh } from './math';
import { loadPartial, storePartial } from './memory';
import {
  UNARY_BUFFER_INPUT, UNARY_BUFFER_OUTPUT, UNARY_COUNT, UNARY_KIND, UNARY_KIND_ABS, UNARY_KIND_CEIL, UNARY_KIND_CLIP,
  UNARY_KIND_ELU, UNARY_KIND_EXP, UNARY_KIND_EXPM1, UNARY_KIND_FLOOR, UNARY_KIND_IDENTITY, UNARY_KIND_LEAKY_RELU,
  UNARY_KIND_LOG, UNARY_KIND_LOG1P, UNARY_KIND_NEG, UNARY_KIND_RECIPROCAL, UNARY_KIND_RELU, UNARY_KIND_RELU6,
  UNARY_KIND_ROUND, UNARY_KIND_RSQRT, UNARY_KIND_SIGMOID, UNARY_KIND_SIGN, UNARY_KIND_SOFTPLUS, UNARY_KIND_SQRT,
  UNARY_KIND_SQUARE, UNARY_KIND_STEP, UNARY_KIND_TANH, UNARY_PARAMETER_A, UNARY_PARAMETER_B,
} from './table';

// @ts-ignore: decorator
@inline
function splat(value: f32): v128 {
  return f32x4.splat(value);
}

/** The function of a kind; `kind` is a constant where this is inlined. */
// @ts-ignore: decorator
@inline
function apply(kind: i32, x: v128, a: v128, b: v128): v128 {
  if (kind == UNARY_KIND_NEG) return f32x4.neg(x);
  if (kind == UNARY_KIND_ABS) return f32x4.abs(x);
  if (kind == UNARY_KIND_SQUARE) return f32x4.mul(x, x);
  if (kind == UNARY_KIND_SQRT) return f32x4.sqrt(x);
  if (kind == UNARY_KIND_RSQRT) return f32x4.div(splat(1), f32x4.sqrt(x));
  if (kind == UNARY_KIND_RECIPROCAL) return f32x4.div(splat(1), x);
  if (kind == UNARY_KIND_EXP) return exp(x);
  if (kind == UNARY_KIND_LOG) return log(x);
  if (kind == UNARY_KIND_LOG1P) return log1p(x);
  if (kind == UNARY_KIND_EXPM1) return expm1(x);
  if (kind == UNARY_KIND_SIGMOID) return sigmoid(x);
  if (kind == UNARY_KIND_TANH) return tanh(x);
  if (kind == UNARY_KIND_RELU) return f32x4.pmax(x, splat(0));
  if (kind == UNARY_KIND_RELU6) return f32x4.pmin(f32x4.pmax(x, splat(0)), splat(6));
  if (kind == UNARY_KIND_LEAKY_RELU) return v128.bitselect(f32x4.mul(x, a), x, f32x4.lt(x, splat(0)));
  if (kind == UNARY_KIND_ELU) return v128.bitselect(expm1(x), x, f32x4.lt(x, splat(0)));
  if (kind == UNARY_KIND_SOFTPLUS) return softplus(x);
  if (kind == UNARY_KIND_SIGN) {
    return v128.or(v128.and(f32x4.gt(x, splat(0)), splat(1)), v128.and(f32x4.lt(x, splat(0)), splat(-1)));
  }
  if (kind == UNARY_KIND_FLOOR) return f32x4.floor(x);
  if (kind == UNARY_KIND_CEIL) return f32x4.ceil(x);
  if (kind == UNARY_KIND_ROUND) return f32x4.nearest(x);
  if (kind == UNARY_KIND_CLIP) return f32x4.pmin(f32x4.pmax(x, a), b);
  // step: 1 above 0, parameterA at and below it, NaN stays
  if (kind == UNARY_KIND_STEP) return v128.bitselect(v128.bitselect(splat(1), a, f32x4.gt(x, splat(0))), x, f32x4.eq(x, x));
  return x;
}

// @ts-ignore: decorator
@inline
function map(kind: i32): void {
  const count = <usize>integer(UNARY_COUNT);
  const first = firstAligned(count, 16);
  const last = endAligned(count, 16);
  const a = splat(<f32>attribute(UNARY_PARAMETER_A));
  const b = splat(<f32>attribute(UNARY_PARAMETER_B));
  let from = buffer(UNARY_BUFFER_INPUT) + (first << 2);
  let to = buffer(UNARY_BUFFER_OUTPUT) + (first << 2);
  let left = last - first;
  for (; left >= 4; left -= 4) {
    v128.store(to, apply(kind, v128.load(from), a, b));
    from += 16;
    to += 16;
  }
  if (left > 0) storePartial(to, apply(kind, loadPartial(from, left), a, b), left);
}

export function unary(): void {
  switch (integer(UNARY_KIND)) {
    case UNARY_KIND_IDENTITY: map(UNARY_KIND_IDENTITY); break;
    case UNARY_KIND_NEG: map(UNARY_KIND_NEG); break;
    case UNARY_KIND_ABS: map(UNARY_KIND_ABS); break;
    case UNARY_KIND_SQUARE: map(UNARY_KIND_SQUARE); break;
    case UNARY_KIND_SQRT: map(UNARY_KIND_SQRT); break;
    case UNARY_KIND_RSQRT: map(UNARY_KIND_RSQRT); break;
    case UNARY_KIND_RECIPROCAL: map(UNARY_KIND_RECIPROCAL); break;
    case UNARY_KIND_EXP: map(UNARY_KIND_EXP); break;
    case UNARY_KIND_LOG: map(UNARY_KIND_LOG); break;
    case UNARY_KIND_LOG1P: map(UNARY_KIND_LOG1P); break;
    case UNARY_KIND_EXPM1: map(UNARY_KIND_EXPM1); break;
    case UNARY_KIND_SIGMOID: map(UNARY_KIND_SIGMOID); break;
    case UNARY_KIND_TANH: map(UNARY_KIND_TANH); break;
    case UNARY_KIND_RELU: map(UNARY_KIND_RELU); break;
    case UNARY_KIND_RELU6: map(UNARY_KIND_RELU6); break;
    case UNARY_KIND_LEAKY_RELU: map(UNARY_KIND_LEAKY_RELU); break;
    case UNARY_KIND_ELU: map(UNARY_KIND_ELU); break;
    case UNARY_KIND_SOFTPLUS: map(UNARY_KIND_SOFTPLUS); break;
    case UNARY_KIND_SIGN: map(UNARY_KIND_SIGN); break;
    case UNARY_KIND_FLOOR: map(UNARY_KIND_FLOOR); break;
    case UNARY_KIND_CEIL: map(UNARY_KIND_CEIL); break;
    case UNARY_KIND_ROUND: map(UNARY_KIND_ROUND); break;
    case UNARY_KIND_CLIP: map(UNARY_KIND_CLIP); break;
    case UNARY_KIND_STEP: map(UNARY_KIND_STEP); break;
    default: unreachable();
  }
}
