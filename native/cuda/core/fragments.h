// Warp operations on 8x8 matrices of bfloat16 held in fragments (lane (g, t) = (lane / 4, lane % 4) has row g, columns 2t and
// 2t + 1, in one register), beyond those of intrinsics.h. Only .cu files include this.
#ifndef VERSEMI_CUDA_FRAGMENTS_H
#define VERSEMI_CUDA_FRAGMENTS_H

#include "core/intrinsics.h"

namespace versemi {
namespace cuda {

#if defined(VERSEMI_CUDA_EMULATED)

// m16n8k8: a is two matrices one above the other, b one (lane (g, t): rows 2t and 2t + 1 of column g).
inline void mma_bf16_k8(float (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b) {
  const std::uint32_t a[4] = {a0, a1, 0, 0}, columns[2] = {b, 0};
  mma_bf16(d, a, columns);
}

inline std::uint32_t transpose_8x8(std::uint32_t matrix) {
  const int row = lane() >> 2, column = 2 * (lane() & 3), shift = row & 1 ? 16 : 0;
  const int low = shuffle(static_cast<int>(matrix), column * 4 + row / 2);
  const int high = shuffle(static_cast<int>(matrix), column * 4 + 4 + row / 2);
  return (static_cast<std::uint32_t>(low) >> shift & 0xffffu) | (static_cast<std::uint32_t>(high) >> shift & 0xffffu) << 16;
}

// pack_bf16 of relu(low), relu(high); NaN stays NaN.
inline std::uint32_t pack_relu_bf16(float low, float high) { return pack_bf16(low < 0 ? 0.0f : low, high < 0 ? 0.0f : high); }

// All ones in the halves that are not zero, for halves that are not negative.
inline std::uint32_t positive_mask(std::uint32_t pair) {
  return ((pair & 0xffffu) != 0 ? 0xffffu : 0u) | ((pair >> 16) != 0 ? 0xffff0000u : 0u);
}

#else

__device__ __forceinline__ void mma_bf16_k8(float (&d)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b));
}

__device__ __forceinline__ std::uint32_t transpose_8x8(std::uint32_t matrix) {
  std::uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(matrix));
  return result;
}

__device__ __forceinline__ std::uint32_t pack_relu_bf16(float low, float high) {
  std::uint32_t result;
  asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

__device__ __forceinline__ std::uint32_t positive_mask(std::uint32_t pair) {
  // A half from 1 to 7fff gets its sign bit; the selector then spreads the signs of bytes 1 and 3.
  std::uint32_t result;
  asm("prmt.b32 %0, %1, %1, 0xbb99;" : "=r"(result) : "r"(pair + 0x7fff7fffu));
  return result;
}

#endif

// The sum of both is `pair`, rounded to 16 bits each.
__device__ __forceinline__ void split_bf16(float low, float high, std::uint32_t* large, std::uint32_t* rest) {
  *large = pack_bf16(low, high);
  const float2 rounded = unpack_bf16(*large);
  *rest = pack_bf16(low - rounded.x, high - rounded.y);
}

}  // namespace cuda
}  // namespace versemi

#endif
