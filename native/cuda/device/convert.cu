// float32 <-> bfloat16, eight elements per thread and turn: 16 bytes of the narrow side, two times 16 of the wide one. Moves
// 6 bytes per element, nothing else: the floor is the memory.
#include "device/formats.h"

#include "core/intrinsics.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int per_thread = 8;

__global__ void __launch_bounds__(threads) narrow(const float* __restrict__ from, bf16* __restrict__ to, std::int64_t elements) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads * per_thread;
  std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * per_thread;
  for (; at + per_thread <= elements; at += stride) {
    const float4 low = load_once(reinterpret_cast<const float4*>(from + at));
    const float4 high = load_once(reinterpret_cast<const float4*>(from + at + 4));
    *reinterpret_cast<uint4*>(to + at) =
        make_uint4(pack_bf16(low.x, low.y), pack_bf16(low.z, low.w), pack_bf16(high.x, high.y), pack_bf16(high.z, high.w));
  }
  // At most one thread gets here with a part of its eight elements.
  for (; at < elements; at++) to[at] = to_bf16(from[at]);
}

__global__ void __launch_bounds__(threads) widen(const bf16* __restrict__ from, float* __restrict__ to, std::int64_t elements) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * threads * per_thread;
  std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * per_thread;
  for (; at + per_thread <= elements; at += stride) {
    const uint4 packed = load_once(reinterpret_cast<const uint4*>(from + at));
    const float2 a = unpack_bf16(packed.x), b = unpack_bf16(packed.y), c = unpack_bf16(packed.z), d = unpack_bf16(packed.w);
    *reinterpret_cast<float4*>(to + at) = make_float4(a.x, a.y, b.x, b.y);
    *reinterpret_cast<float4*>(to + at + 4) = make_float4(c.x, c.y, d.x, d.y);
  }
  for (; at < elements; at++) to[at] = to_float(from[at]);
}

}  // namespace

versemi_status convert(context& device, const void* from, storage from_format, void* to, std::int64_t elements) {
  if (elements == 0) return ok();
  const unsigned grid = grid_for(device, divide_up(elements, per_thread), threads);
  if (from_format == storage::float32)
    return launch(device, "narrow", narrow, dim3(grid), dim3(threads), 0, static_cast<const float*>(from),
                  static_cast<bf16*>(to), elements);
  return launch(device, "widen", widen, dim3(grid), dim3(threads), 0, static_cast<const bf16*>(from),
                static_cast<float*>(to), elements);
}

cudaError_t kernels_load() {
#if defined(VERSEMI_CUDA_EMULATED)
  return cudaSuccess;
#else
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, narrow);
#endif
}

}  // namespace cuda
}  // namespace versemi
