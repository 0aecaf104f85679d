// Functions of one vector beyond simd.h. Included by *.isa.cpp files only. Errors against double are tested in
// native/test/test_elementwise.cpp: below 4 units in the last place each. NaN comes through everywhere.
#ifndef VERSEMI_CPU_ELEMENTWISE_MATH_H
#define VERSEMI_CPU_ELEMENTWISE_MATH_H

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

VERSEMI_INLINE vint sign_bit(vfloat x) { return as_int(x) & broadcast_int(static_cast<std::int32_t>(0x80000000u)); }

// e^x - 1. x = n ln 2 + r: 2^n (e^r - 1) + (2^n - 1), which keeps all digits for small x, where n = 0.
VERSEMI_INLINE vfloat expm1(vfloat x) {
  const vfloat clamped = max(min(x, broadcast(88.8f)), broadcast(-18.0f));
  const vfloat shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vfloat n = fma(clamped, broadcast(1.44269504f), shifter) - shifter;
  vfloat r = fma(n, broadcast(-0.693359375f), clamped);
  r = fma(n, broadcast(2.12194440e-4f), r);
  vfloat p = broadcast(1.0f / 40320);
  p = fma(p, r, broadcast(1.0f / 5040));
  p = fma(p, r, broadcast(1.0f / 720));
  p = fma(p, r, broadcast(1.0f / 120));
  p = fma(p, r, broadcast(1.0f / 24));
  p = fma(p, r, broadcast(1.0f / 6));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p * r, r, r);
  // Two factors of 2^(n/2), because 2^128 is no float.
  const vint power = to_int(select(n == n, n, zero()));
  const vint half = power >> 1;
  const vfloat first = as_float((half + 127) << 23), second = as_float((power - half + 127) << 23);
  const vfloat result = select(power == 128, (p + 1.0f) * first * second, fma(p * first, second, first * second - 1.0f));
  return select(x == zero(), x, select(x == x, result, x));
}

// log(1 + x) for x >= -1. u = 1 + x is rounded; what it lost, (x - (u - 1)) / u, is added.
VERSEMI_INLINE vfloat log1p(vfloat x) {
  const vfloat u = x + 1.0f;
  const vfloat lost = (x - (u - 1.0f)) / u;
  const vfloat result = log(u) + select(x < broadcast(1e30f), lost, zero());
  return select(absolute(x) < broadcast(1e-8f), x, select(x <= broadcast(-1.0f), log(u), result));
}

// log(1 + x) for 0 <= x <= 1 = 2 artanh(x / (2 + x)): the argument of artanh is at most 1/3, where its series is short, and
// nothing is lost for small x.
VERSEMI_INLINE vfloat log1p_of_fraction(vfloat x) {
  const vfloat s = x / (x + 2.0f), s2 = s * s;
  vfloat p = broadcast(2.0f / 15);
  p = fma(p, s2, broadcast(2.0f / 13));
  p = fma(p, s2, broadcast(2.0f / 11));
  p = fma(p, s2, broadcast(2.0f / 9));
  p = fma(p, s2, broadcast(2.0f / 7));
  p = fma(p, s2, broadcast(2.0f / 5));
  p = fma(p, s2, broadcast(2.0f / 3));
  return fma(p * s2, s, s + s);
}

// 1 / (1 + e^-x), and 1 minus it, each with all its digits: e = e^-|x| is at most 1, nothing cancels or overflows.
VERSEMI_INLINE void sigmoid_pair(vfloat x, vfloat* sigmoid, vfloat* complement) {
  const vfloat e = exp(-absolute(x));
  const vfloat large = 1.0f / (e + 1.0f), small = e * large;
  const vint negative = x < zero();
  *sigmoid = select(negative, small, large);
  *complement = select(negative, large, small);
}

VERSEMI_INLINE vfloat sigmoid(vfloat x) {
  vfloat result, complement;
  sigmoid_pair(x, &result, &complement);
  return result;
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|)
VERSEMI_INLINE vfloat softplus(vfloat x) { return relu(x) + log1p_of_fraction(exp(-absolute(x))); }

// With t = expm1(2 |x|): tanh |x| = t / (t + 2) = 1 - 2 / (t + 2), the second form where t is large.
VERSEMI_INLINE vfloat tanh(vfloat x) {
  const vfloat t = expm1(absolute(x) * 2.0f);
  const vfloat magnitude = select(t < broadcast(2.0f), t / (t + 2.0f), 1.0f - 2.0f / (t + 2.0f));
  return select(x == x, as_float(as_int(magnitude) | sign_bit(x)), x);
}

// Rounding to whole numbers; floats from 2^23 on are whole already. The sign of zero is kept.
VERSEMI_INLINE vfloat keep_large(vfloat x, vfloat rounded) {
  return select(absolute(x) < broadcast(8388608.0f), as_float(as_int(rounded) | sign_bit(x)), x);
}
VERSEMI_INLINE vfloat truncated(vfloat x) {
  return to_float(to_int(select(absolute(x) < broadcast(8388608.0f), x, zero())));
}
VERSEMI_INLINE vfloat floor(vfloat x) {
  const vfloat t = truncated(x);
  return keep_large(x, select(t > x, t - 1.0f, t));
}
VERSEMI_INLINE vfloat ceil(vfloat x) {
  const vfloat t = truncated(x);
  return keep_large(x, select(t < x, t + 1.0f, t));
}
// Half to even, as TF.js.
VERSEMI_INLINE vfloat round(vfloat x) {
  const vfloat shifter = as_float(as_int(broadcast(8388608.0f)) | sign_bit(x));
  return keep_large(x, (x + shifter) - shifter);
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
