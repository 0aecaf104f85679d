// Products of operands of lower precision for conv_tile_body.h: four bytes per lane, of neighbouring channels. The instructions
// beyond the instruction set that a file is compiled for stand in assembly, as whether the processor has them is known at run
// time only (dot_products.h).
#ifndef VERSEMI_CPU_DOT_INSTRUCTIONS_H
#define VERSEMI_CPU_DOT_INSTRUCTIONS_H

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

#if defined(__AVX512F__)
// Two bfloat16 each. Every sum is rounded; subnormal numbers count as zero.
struct avx512_bf16_products {
  static constexpr bool whole = false;
  VERSEMI_INLINE vfloat add(vfloat x, vfloat w, vfloat sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
  }
};
#endif

#if defined(__AVX512F__) || defined(__AVX2__)
// Four bytes each: x unsigned, w signed.
struct vnni_products {
  static constexpr bool whole = true;
  VERSEMI_INLINE vfloat add(vfloat x, vfloat w, vfloat sum) {
#if defined(__AVX512F__)
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
#else
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w));
#endif
    return sum;
  }
};
#endif

// Two numbers of 16 bits each, for processors that multiply no bytes.
struct pair_products {
  static constexpr bool whole = true;
  VERSEMI_INLINE vfloat add(vfloat x, vfloat w, vfloat sum) {
#if defined(__AVX512F__)
    const vint product = (vint)_mm512_madd_epi16((__m512i)x, (__m512i)w);
#elif defined(__AVX2__)
    const vint product = (vint)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#elif defined(__SSE2__)
    const vint product = (vint)_mm_madd_epi16((__m128i)x, (__m128i)w);
#else
    const vint a = as_int(x), b = as_int(w);
    const vint product = (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
    return as_float(as_int(sum) + product);
  }
};

}  // namespace
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
