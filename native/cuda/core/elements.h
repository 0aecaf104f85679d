// What the families over plain elements share: several elements at a time in either format, sums of a block in a fixed order.
#ifndef VERSEMI_CUDA_ELEMENTS_H
#define VERSEMI_CUDA_ELEMENTS_H

#include "core/context.h"
#include "core/intrinsics.h"

namespace versemi {
namespace cuda {

constexpr int flat_threads = 256;  // threads per block of flat kernels

__device__ __forceinline__ std::int64_t flat_index() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t flat_threads_of_grid() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

__device__ __forceinline__ float load_element(const void* data, storage format, std::int64_t i) {
  return format == storage::bfloat16 ? to_float(static_cast<const bf16*>(data)[i]) : static_cast<const float*>(data)[i];
}
__device__ __forceinline__ void store_element(void* data, storage format, std::int64_t i, float value) {
  if (format == storage::bfloat16)
    static_cast<bf16*>(data)[i] = to_bf16(value);
  else
    static_cast<float*>(data)[i] = value;
}

// Elements first .. first + Width - 1; `first` is a multiple of Width (4 or 8), data 16-byte aligned. The formats are the same
// for the whole grid, so the branches cost next to nothing.
template <int Width>
__device__ __forceinline__ void load_elements(const void* data, storage format, std::int64_t first, float (&v)[Width]) {
  static_assert(Width == 4 || Width == 8, "one or two vectors");
  if (format == storage::bfloat16) {
    std::uint32_t pairs[Width / 2];
    if (Width == 8) {
      const uint4 loaded = static_cast<const uint4*>(data)[first / 8];
      pairs[0] = loaded.x;
      pairs[1] = loaded.y;
      pairs[Width / 2 - 2] = loaded.z;
      pairs[Width / 2 - 1] = loaded.w;
    } else {
      const uint2 loaded = static_cast<const uint2*>(data)[first / 4];
      pairs[0] = loaded.x;
      pairs[1] = loaded.y;
    }
#pragma unroll
    for (int i = 0; i < Width / 2; i++) {
      const float2 two = unpack_bf16(pairs[i]);
      v[2 * i] = two.x;
      v[2 * i + 1] = two.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < Width / 4; i++) {
      const float4 four = static_cast<const float4*>(data)[first / 4 + i];
      v[4 * i] = four.x;
      v[4 * i + 1] = four.y;
      v[4 * i + 2] = four.z;
      v[4 * i + 3] = four.w;
    }
  }
}

template <int Width>
__device__ __forceinline__ void store_elements(void* data, storage format, std::int64_t first, const float (&v)[Width]) {
  if (format == storage::bfloat16) {
    std::uint32_t pairs[Width / 2];
#pragma unroll
    for (int i = 0; i < Width / 2; i++) pairs[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
    if (Width == 8)
      static_cast<uint4*>(data)[first / 8] = make_uint4(pairs[0], pairs[1], pairs[Width / 2 - 2], pairs[Width / 2 - 1]);
    else
      static_cast<uint2*>(data)[first / 4] = make_uint2(pairs[0], pairs[1]);
  } else {
#pragma unroll
    for (int i = 0; i < Width / 4; i++)
      static_cast<float4*>(data)[first / 4 + i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
  }
}

// Sum over the 256 threads of a block, in the same order every time; valid in thread 0. `memory`: 8 doubles, shared.
__device__ __forceinline__ double block_sum(double value, double* memory) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  if (lane() == 0) memory[warp()] = value;
  barrier();
  double total = 0;
#pragma unroll
  for (int i = 0; i < flat_threads / 32; i++) total += memory[i];
  return total;
}

}  // namespace cuda
}  // namespace versemi

#endif
