// Vectors of floats, so that one source serves every instruction set. Included by *.isa.cpp files only, each compiled once
// per instruction set with VERSEMI_ISA = avx512 | avx2 | baseline (SSE2, or NEON on ARM); everything lies in the namespace
// versemi::VERSEMI_ISA, so that the linker cannot take a function of one instruction set for another. For the same reason
// these files must use no templates or inline functions of the standard library that the compiler may leave out of line
// (<algorithm>, containers, std::function); a test looks for such symbols.
//
// Arithmetic (+ - * /, unary -) and comparisons are the operators of GCC's and Clang's vector extensions.
#ifndef VERSEMI_CPU_SIMD_H
#define VERSEMI_CPU_SIMD_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef VERSEMI_ISA
#error "VERSEMI_ISA must name the instruction set"
#endif
// Name of a kernel row, ending with the instruction set: VERSEMI_ROW_NAME("conv3d") is "conv3d-avx512".
#define VERSEMI_TEXT_OF(name) #name
#define VERSEMI_TEXT(name) VERSEMI_TEXT_OF(name)
#define VERSEMI_ROW_NAME(name) name "-" VERSEMI_TEXT(VERSEMI_ISA)
#define VERSEMI_INLINE static inline __attribute__((always_inline))
// Unrolls a loop whose count is a template parameter, so that an array of vectors becomes registers.
#define VERSEMI_UNROLL _Pragma("GCC unroll 32")

// Hides a value from the optimiser: it stays in one register and is neither recomputed nor folded into addresses.
#if defined(__AVX512F__)
#define VERSEMI_KEEP_VECTOR(v) asm("" : "+v"(v))
#elif defined(__SSE2__)
#define VERSEMI_KEEP_VECTOR(v) asm("" : "+x"(v))
#else
#define VERSEMI_KEEP_VECTOR(v) asm("" : "+w"(v))
#endif
#define VERSEMI_KEEP(p) asm("" : "+r"(p))

namespace versemi {
namespace VERSEMI_ISA {

#if defined(__AVX512F__)
constexpr int lanes = 16;
constexpr int vector_registers = 32;
#elif defined(__AVX2__)
constexpr int lanes = 8;
constexpr int vector_registers = 16;
#elif defined(__aarch64__)
constexpr int lanes = 4;
constexpr int vector_registers = 32;
#else
constexpr int lanes = 4;
constexpr int vector_registers = 16;
#endif

typedef float vfloat __attribute__((vector_size(lanes * 4)));
typedef std::int32_t vint __attribute__((vector_size(lanes * 4)));  // comparisons give -1 (true) and 0 per lane
// Half as many lanes, for sums that need more than 24 bits.
typedef double vdouble __attribute__((vector_size(lanes * 4)));
typedef float vhalf __attribute__((vector_size(lanes * 2)));

// Named as in the standard library, but never out of line.
template <typename T>
VERSEMI_INLINE T smaller(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
VERSEMI_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}
VERSEMI_INLINE std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
VERSEMI_INLINE std::int64_t round_up(std::int64_t a, std::int64_t b) { return divide_up(a, b) * b; }

VERSEMI_INLINE vfloat load(const float* p) {
  vfloat v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
VERSEMI_INLINE void store(float* p, vfloat v) { std::memcpy(p, &v, sizeof v); }

VERSEMI_INLINE vfloat broadcast(float x) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_set1_ps(x);
#elif defined(__AVX2__)
  return (vfloat)_mm256_set1_ps(x);
#elif defined(__SSE2__)
  return (vfloat)_mm_set1_ps(x);
#elif defined(__aarch64__)
  return (vfloat)vdupq_n_f32(x);
#else
  vfloat v;
  for (int i = 0; i < lanes; i++) v[i] = x;
  return v;
#endif
}
VERSEMI_INLINE vfloat zero() { return vfloat{}; }
VERSEMI_INLINE vint broadcast_int(std::int32_t x) { return vint{} + x; }

// Lanes 0, 1, 2, ...
VERSEMI_INLINE vint lane_numbers() {
  vint v;
  for (int i = 0; i < lanes; i++) v[i] = i;
  return v;
}

// The first `count` (1..lanes) floats; zero in the other lanes. Touches no memory behind them.
VERSEMI_INLINE vfloat load_first(const float* p, int count) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#elif defined(__AVX2__)
  return (vfloat)_mm256_maskload_ps(p, (__m256i)(lane_numbers() < count));
#else
  vfloat v = zero();
  for (int i = 0; i < lanes; i++)
    if (i < count) v[i] = p[i];
  return v;
#endif
}
VERSEMI_INLINE void store_first(float* p, vfloat v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)(lane_numbers() < count), (__m256)v);
#else
  for (int i = 0; i < lanes; i++)
    if (i < count) p[i] = v[i];
#endif
}

// The first half of the lanes: cheaper than store_first, whose masks are slow on some processors.
VERSEMI_INLINE void store_half(float* p, vfloat v) { std::memcpy(p, &v, sizeof v / 2); }

// a * b + c, rounded once where the instruction set can.
VERSEMI_INLINE vfloat fma(vfloat a, vfloat b, vfloat c) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (vfloat)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

VERSEMI_INLINE vfloat select(vint mask, vfloat yes, vfloat no) { return mask ? yes : no; }
VERSEMI_INLINE vint as_int(vfloat v) { return (vint)v; }
VERSEMI_INLINE vfloat as_float(vint v) { return (vfloat)v; }
// Toward zero; the values must fit.
VERSEMI_INLINE vint to_int(vfloat v) { return __builtin_convertvector(v, vint); }
VERSEMI_INLINE vfloat to_float(vint v) { return __builtin_convertvector(v, vfloat); }

// NaN in either operand comes through.
VERSEMI_INLINE vfloat max(vfloat a, vfloat b) { return select(a > b, a, select(a == a, b, a)); }
VERSEMI_INLINE vfloat min(vfloat a, vfloat b) { return select(a < b, a, select(a == a, b, a)); }
// max(v, 0), NaN stays NaN: the instructions give the second operand where one is NaN. (The forms with a mask of ones spare
// a false warning of GCC about the others; they are the same instruction.)
VERSEMI_INLINE vfloat relu(vfloat v) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_maskz_max_ps((__mmask16)-1, _mm512_setzero_ps(), (__m512)v);
#elif defined(__AVX2__)
  return (vfloat)_mm256_max_ps(_mm256_setzero_ps(), (__m256)v);
#elif defined(__SSE2__)
  return (vfloat)_mm_max_ps(_mm_setzero_ps(), (__m128)v);
#else
  return select(v <= zero(), zero(), v);
#endif
}
VERSEMI_INLINE vfloat absolute(vfloat v) { return as_float(as_int(v) & 0x7fffffff); }
VERSEMI_INLINE vfloat sqrt(vfloat v) {
#if defined(__AVX512F__)
  return (vfloat)_mm512_maskz_sqrt_ps((__mmask16)-1, (__m512)v);
#elif defined(__AVX2__)
  return (vfloat)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (vfloat)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
  return (vfloat)vsqrtq_f32((float32x4_t)v);
#else
  for (int i = 0; i < lanes; i++) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// Lower and upper half of the lanes as doubles, and back.
VERSEMI_INLINE vdouble widen_low(vfloat v) {
#if defined(__AVX512F__)
  return (vdouble)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v));
#elif defined(__AVX2__)
  return (vdouble)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v));
#else
  vhalf h;
  std::memcpy(&h, &v, sizeof h);
  return __builtin_convertvector(h, vdouble);
#endif
}
VERSEMI_INLINE vdouble widen_high(vfloat v) {
#if defined(__AVX512F__)
  return (vdouble)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1));
#elif defined(__AVX2__)
  return (vdouble)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1));
#else
  vhalf h;
  std::memcpy(&h, reinterpret_cast<const char*>(&v) + sizeof h, sizeof h);
  return __builtin_convertvector(h, vdouble);
#endif
}
VERSEMI_INLINE vfloat narrow(vdouble low, vdouble high) {
  const vhalf l = __builtin_convertvector(low, vhalf), h = __builtin_convertvector(high, vhalf);
  vfloat v;
  std::memcpy(&v, &l, sizeof l);
  std::memcpy(reinterpret_cast<char*>(&v) + sizeof l, &h, sizeof h);
  return v;
}

// Sums over the lanes, in a fixed order.
VERSEMI_INLINE float sum_lanes(vfloat v) {
  float part[lanes];
  std::memcpy(part, &v, sizeof part);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}
VERSEMI_INLINE double sum_lanes(vdouble v) {
  double part[lanes / 2];
  std::memcpy(part, &v, sizeof part);
  for (int width = lanes / 4; width > 0; width /= 2)
    for (int i = 0; i < width; i++) part[i] += part[i + width];
  return part[0];
}

// e^x, relative error below 2e-7; overflows to infinity, underflows to 0 below the smallest normal number, NaN stays.
// x = n ln 2 + r, |r| <= ln 2 / 2 with ln 2 in two parts; Taylor polynomial of degree 7; scaled by 2^n in two steps.
VERSEMI_INLINE vfloat exp(vfloat x) {
  const vfloat clamped = max(min(x, broadcast(88.8f)), broadcast(-87.4f));
  const vfloat shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vfloat n = fma(clamped, broadcast(1.44269504f), shifter) - shifter;
  vfloat r = fma(n, broadcast(-0.693359375f), clamped);
  r = fma(n, broadcast(2.12194440e-4f), r);
  vfloat p = broadcast(1.0f / 5040);
  p = fma(p, r, broadcast(1.0f / 720));
  p = fma(p, r, broadcast(1.0f / 120));
  p = fma(p, r, broadcast(1.0f / 24));
  p = fma(p, r, broadcast(1.0f / 6));
  p = fma(p, r, broadcast(0.5f));
  p = fma(p, r, broadcast(1.0f));
  p = fma(p, r, broadcast(1.0f));
  const vint power = to_int(select(n == n, n, zero()));
  const vint half = power >> 1;
  p = p * as_float((half + 127) << 23) * as_float((power - half + 127) << 23);
  p = select(x < broadcast(-87.33655f), zero(), p);
  return select(x == x, p, x);
}

// Natural logarithm, relative error below 2e-7 (absolute near 1); -infinity at 0, NaN below 0, subnormal numbers included.
// x = 2^n m, m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1): log m = 2 (s + s^3/3 + s^5/5 + ...).
VERSEMI_INLINE vfloat log(vfloat x) {
  const vint subnormal = x < broadcast(1.17549435e-38f);
  const vfloat scaled = select(subnormal, x * broadcast(8388608.0f), x);
  const vint bits = as_int(scaled);
  vint n = ((bits - 0x3f3504f3) >> 23);
  const vfloat m = as_float(bits - (n << 23));
  n -= subnormal & 23;
  const vfloat s = (m - 1.0f) / (m + 1.0f), s2 = s * s;
  vfloat p = broadcast(2.0f / 9);
  p = fma(p, s2, broadcast(2.0f / 7));
  p = fma(p, s2, broadcast(2.0f / 5));
  p = fma(p, s2, broadcast(2.0f / 3));
  const vfloat number = to_float(n);
  // 2 s = f - s f with f = m - 1 exact, so that the leading term is not rounded twice.
  const vfloat f = m - 1.0f;
  const vfloat tail = fma(p * s2, s, number * broadcast(-2.12194440e-4f)) - s * f;
  vfloat result = fma(number, broadcast(0.693359375f), f + tail);
  const vfloat infinity = broadcast(__builtin_inff());
  result = select(x == infinity, infinity, result);
  result = select(x == zero(), -infinity, result);
  return select(x >= zero(), result, broadcast(__builtin_nanf("")));
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
