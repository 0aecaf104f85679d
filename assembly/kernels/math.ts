// Exponential and logarithm of four floats at a time, within a few units in the last place (test/unit/wasm-device.test.ts
// measures it against Math.exp and Math.log). The polynomials are the Taylor series of exp and of log((1 + s) / (1 - s)),
// long enough that the remainder is far below single precision over the reduced range.

// ln 2 in two parts: the first has few bits, so that its product with an exponent is exact.
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.12194440054690583e-4;
const LOG2_E: f32 = 1.44269504088896341;

// @ts-ignore: decorator
@inline
function splat(value: f32): v128 {
  return f32x4.splat(value);
}

/** a * b + c (two roundings). */
// @ts-ignore: decorator
@inline
function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.add(f32x4.mul(a, b), c);
}

/** exp(x); 0 below the smallest denormal, infinity above the largest float; NaN stays. */
export function exp(x: v128): v128 {
  const bounded = f32x4.pmin(f32x4.pmax(x, splat(-105)), splat(89));
  const n = f32x4.nearest(f32x4.mul(bounded, splat(LOG2_E)));
  let r = f32x4.sub(bounded, f32x4.mul(n, splat(LN2_HIGH)));
  r = f32x4.sub(r, f32x4.mul(n, splat(LN2_LOW)));
  let p = madd(r, splat(1.0 / 5040), splat(1.0 / 720));
  p = madd(p, r, splat(1.0 / 120));
  p = madd(p, r, splat(1.0 / 24));
  p = madd(p, r, splat(1.0 / 6));
  p = madd(p, r, splat(0.5));
  p = madd(f32x4.mul(p, r), r, r);
  p = f32x4.add(p, splat(1));
  // 2^n in two factors, since n reaches -151 and 128
  const whole = i32x4.trunc_sat_f32x4_s(n);
  const half = i32x4.shr_s(whole, 1);
  return f32x4.mul(f32x4.mul(p, powerOfTwo(half)), powerOfTwo(i32x4.sub(whole, half)));
}

// @ts-ignore: decorator
@inline
function powerOfTwo(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

/** log(x); -infinity at 0, NaN below. */
export function log(x: v128): v128 {
  const tiny = f32x4.lt(x, splat(1.17549435e-38));
  const scaled = v128.bitselect(f32x4.mul(x, splat(8388608)), x, tiny);
  // x = 2^k * m with m in [sqrt(1/2), sqrt(2))
  const bits = i32x4.sub(scaled, i32x4.splat(0x3f3504f3));
  let k = i32x4.shr_s(bits, 23);
  const m = i32x4.sub(scaled, i32x4.shl(k, 23));
  k = i32x4.sub(k, v128.and(tiny, i32x4.splat(23)));
  const e = f32x4.convert_i32x4_s(k);
  const f = f32x4.sub(m, splat(1));
  const s = f32x4.div(f, f32x4.add(f, splat(2)));
  const z = f32x4.mul(s, s);
  let p = madd(z, splat(2.0 / 11), splat(2.0 / 9));
  p = madd(p, z, splat(2.0 / 7));
  p = madd(p, z, splat(2.0 / 5));
  p = madd(p, z, splat(2.0 / 3));
  p = f32x4.mul(p, z);
  // log m = f - f^2/2 + s * (f^2/2 + p)
  const square = f32x4.mul(f32x4.mul(f, f), splat(0.5));
  let low = madd(s, f32x4.add(square, p), f32x4.mul(e, splat(LN2_LOW)));
  low = f32x4.sub(low, square);
  let result = f32x4.add(f32x4.add(low, f), f32x4.mul(e, splat(LN2_HIGH)));
  result = v128.bitselect(splat(-Infinity), result, f32x4.eq(x, splat(0)));
  // negative or NaN: NaN; infinity stays
  result = v128.bitselect(result, splat(NaN), f32x4.ge(x, splat(0)));
  return v128.bitselect(x, result, f32x4.eq(x, splat(Infinity)));
}

/** log(1 + x), accurate near 0: the rounding of 1 + x is put back to first order. */
export function log1p(x: v128): v128 {
  const u = f32x4.add(x, splat(1));
  const lost = f32x4.div(f32x4.sub(x, f32x4.sub(u, splat(1))), u);
  const near = v128.and(f32x4.gt(u, splat(0)), f32x4.lt(x, splat(1e7)));
  return f32x4.add(log(u), v128.and(lost, near));
}

/** exp(x) - 1, accurate near 0. */
export function expm1(x: v128): v128 {
  const small = f32x4.lt(f32x4.abs(x), splat(0.5));
  let p = madd(x, splat(1.0 / 362880), splat(1.0 / 40320));
  p = madd(p, x, splat(1.0 / 5040));
  p = madd(p, x, splat(1.0 / 720));
  p = madd(p, x, splat(1.0 / 120));
  p = madd(p, x, splat(1.0 / 24));
  p = madd(p, x, splat(1.0 / 6));
  p = madd(p, x, splat(0.5));
  p = madd(f32x4.mul(p, x), x, x);
  return v128.bitselect(p, f32x4.sub(exp(x), splat(1)), small);
}

/** 1 / (1 + exp(-x)). */
// @ts-ignore: decorator
@inline
export function sigmoid(x: v128): v128 {
  return f32x4.div(splat(1), f32x4.add(splat(1), exp(f32x4.neg(x))));
}

export function tanh(x: v128): v128 {
  const sign = v128.and(x, i32x4.splat(0x80000000));
  const e = expm1(f32x4.pmin(f32x4.mul(f32x4.abs(x), splat(2)), splat(40)));
  return v128.or(f32x4.div(e, f32x4.add(e, splat(2))), sign);
}

/** log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)). */
export function softplus(x: v128): v128 {
  return f32x4.add(f32x4.pmax(x, splat(0)), log1p(exp(f32x4.neg(f32x4.abs(x)))));
}
