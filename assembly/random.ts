// Philox 4x32-10 (Salmon et al., SC 2011): the same numbers as src/random.ts and native/include/versemi/philox.h.

// @ts-ignore: decorator
@inline
function lowWords(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 0, 2, 4, 6);
}

// @ts-ignore: decorator
@inline
function highWords(a: v128, b: v128): v128 {
  return v128.shuffle<i32>(a, b, 1, 3, 5, 7);
}

/** u32[16] at `output`: the four blocks block, block + 1, ... of (stream, step, sample), one after the other. */
// @ts-ignore: decorator
@inline
export function fourBlocks(
  output: usize,
  key0: u32,
  key1: u32,
  block: u32,
  stream: u32,
  step: u32,
  sample: u32,
): void {
  const multiplier0 = i32x4.splat(0xd2511f53);
  const multiplier1 = i32x4.splat(0xcd9e8d57);
  // Lane i of c0 ... c3 is the counter of block + i.
  let c0 = i32x4.add(i32x4.splat(block), i32x4(0, 1, 2, 3));
  let c1 = i32x4.splat(stream);
  let c2 = i32x4.splat(step);
  let c3 = i32x4.splat(sample);
  for (let round = 0; round < 10; round++) {
    const first0 = i64x2.extmul_low_i32x4_u(multiplier0, c0);
    const last0 = i64x2.extmul_high_i32x4_u(multiplier0, c0);
    const first1 = i64x2.extmul_low_i32x4_u(multiplier1, c2);
    const last1 = i64x2.extmul_high_i32x4_u(multiplier1, c2);
    c0 = v128.xor(v128.xor(highWords(first1, last1), c1), i32x4.splat(key0));
    c2 = v128.xor(v128.xor(highWords(first0, last0), c3), i32x4.splat(key1));
    c1 = lowWords(first1, last1);
    c3 = lowWords(first0, last0);
    key0 += 0x9e3779b9;
    key1 += 0xbb67ae85;
  }
  const low01 = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5);
  const high01 = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7);
  const low23 = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5);
  const high23 = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7);
  v128.store(output, v128.shuffle<i64>(low01, low23, 0, 2));
  v128.store(output, v128.shuffle<i64>(low01, low23, 1, 3), 16);
  v128.store(output, v128.shuffle<i64>(high01, high23, 0, 2), 32);
  v128.store(output, v128.shuffle<i64>(high01, high23, 1, 3), 48);
}

/** Natural logarithm of numbers in (0, 1], relative error below 1e-14. */
// @ts-ignore: decorator
@inline
function logarithm(x: v128): v128 {
  // x = 2^e f with f in [sqrt 1/2, sqrt 2); log f = 2 artanh s, s = (f - 1) / (f + 1).
  const shifted = i64x2.sub(x, i64x2.splat(0x3fe6a09e667f3bcd));
  const e = i64x2.shr_s(shifted, 52);
  const f = i64x2.sub(x, i64x2.shl(e, 52));
  const exponent = f64x2.convert_low_i32x4_s(v128.shuffle<i32>(e, e, 0, 2, 0, 2));
  const one = f64x2.splat(1);
  const s = f64x2.div(f64x2.sub(f, one), f64x2.add(f, one));
  const q = f64x2.mul(s, s);
  let p = f64x2.splat(2.0 / 17.0);
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 15.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 13.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 11.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 9.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 7.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 5.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2.0 / 3.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(2));
  return f64x2.add(f64x2.mul(exponent, f64x2.splat(0.6931471805599453)), f64x2.mul(p, s));
}

/** cos(2 pi turns) for turns in [0, 1), absolute error below 1e-14. */
// @ts-ignore: decorator
@inline
function cosineOfTurns(turns: v128): v128 {
  // cos(2 pi w) = sin(2 pi (1/4 - w)) for the distance w of `turns` from the nearest whole number, which is exact.
  const w = f64x2.abs(f64x2.sub(turns, f64x2.nearest(turns)));
  const angle = f64x2.mul(f64x2.sub(f64x2.splat(0.25), w), f64x2.splat(6.283185307179586));
  const q = f64x2.mul(angle, angle);
  let p = f64x2.splat(-1.0 / 121645100408832000.0);
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(1.0 / 355687428096000.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(-1.0 / 1307674368000.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(1.0 / 6227020800.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(-1.0 / 39916800.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(1.0 / 362880.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(-1.0 / 5040.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(1.0 / 120.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(-1.0 / 6.0));
  p = f64x2.add(f64x2.mul(p, q), f64x2.splat(1));
  return f64x2.mul(angle, p);
}

/** The two standard normal numbers (f64) of a block, as RandomStream.normal (Box-Muller) up to rounding. */
// @ts-ignore: decorator
@inline
export function normalPair(block: v128): v128 {
  const bits = i32x4.shr_u(block, 8);
  const scale = f64x2.splat(1.0 / 16777216.0);
  const u = f64x2.mul(f64x2.convert_low_i32x4_u(v128.shuffle<i32>(bits, bits, 0, 2, 0, 2)), scale);
  const v = f64x2.mul(f64x2.convert_low_i32x4_u(v128.shuffle<i32>(bits, bits, 1, 3, 1, 3)), scale);
  const radius = f64x2.sqrt(f64x2.mul(f64x2.splat(-2), logarithm(f64x2.sub(f64x2.splat(1), u))));
  return f64x2.mul(radius, cosineOfTurns(v));
}
