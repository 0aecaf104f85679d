// What the convolution kernels share on the device: numbers and matrix instructions of the two kinds of operands behind one
// set of names, activations in memory, sums for the normalisation. Only .cu files include this.
#ifndef VERSEMI_CUDA_CONV_DEVICE_H
#define VERSEMI_CUDA_CONV_DEVICE_H

#include "conv/conv_tiles.h"
#include "conv/conv_view.h"
#include "core/intrinsics.h"

namespace versemi {
namespace cuda {

// Operands of mma.sync. Both kinds read 32 bytes of a row per instruction: 16 bfloat16 or 8 float32 rounded to TF32.
struct bf16_operands {
  using element = bf16;
  static __device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    mma_bf16(d, a, b);
  }
  static __device__ __forceinline__ void round(std::uint32_t (&)[4]) {}
};
struct tf32_operands {
  using element = float;
  static __device__ __forceinline__ void multiply(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
    mma_tf32(d, a, b);
  }
  static __device__ __forceinline__ void round(std::uint32_t (&a)[4]) {
    for (std::uint32_t& word : a) word = to_tf32(__uint_as_float(word));
  }
};

__device__ __forceinline__ float load_element(const bf16* p) { return to_float(*p); }
__device__ __forceinline__ float load_element(const float* p) { return *p; }
__device__ __forceinline__ void store_element(bf16* p, float value) { *p = to_bf16(value); }
__device__ __forceinline__ void store_element(float* p, float value) { *p = value; }

// `count` (2, 4 or 8) neighbouring values with as few stores as possible; `p` is aligned to all of them (to 16 bytes at most).
template <int count>
__device__ __forceinline__ void store_row(bf16* p, const float (&v)[count]) {
  if constexpr (count == 8) {
    *reinterpret_cast<uint4*>(p) =
        make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7]));
  } else if constexpr (count == 4) {
    *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]));
  } else {
    static_assert(count == 2, "2, 4 or 8 values");
    *reinterpret_cast<std::uint32_t*>(p) = pack_bf16(v[0], v[1]);
  }
}
template <int count>
__device__ __forceinline__ void store_row(float* p, const float (&v)[count]) {
  if constexpr (count == 2) {
    *reinterpret_cast<float2*>(p) = make_float2(v[0], v[1]);
  } else {
#pragma unroll
    for (int i = 0; i < count; i += 4) *reinterpret_cast<float4*>(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
  }
}

// Weights of `tiles` (1, 2 or 4) n8 tiles for one step of 32 bytes, as conv_pack.h lays them out: b[tile] are the operands.
template <int tiles>
__device__ __forceinline__ void take_weights(std::uint32_t (&b)[tiles][2], const std::uint32_t* step) {
  if constexpr (tiles == 1) {
    const uint2 w = reinterpret_cast<const uint2*>(step)[lane()];
    b[0][0] = w.x;
    b[0][1] = w.y;
  } else {
#pragma unroll
    for (int pair = 0; pair < tiles / 2; pair++) {
      const uint4 w = reinterpret_cast<const uint4*>(step)[pair * 32 + lane()];
      b[2 * pair][0] = w.x;
      b[2 * pair][1] = w.y;
      b[2 * pair + 1][0] = w.z;
      b[2 * pair + 1][1] = w.w;
    }
  }
}

// Sums of `channels` channels over the voxels that a thread has seen, relative to one value per channel that its warp has
// chosen, so that values far from zero cancel nothing. In an accumulator of m16n8 the lanes with equal lane % 4 hold the same
// channels, lanes 0 to 3 the first voxel.
template <int channels>
struct thread_moments {
  float shift[channels], sum[channels], squares[channels], count;

  // `first`: values of the thread's first voxel. The whole warp.
  __device__ __forceinline__ void begin(const float (&first)[channels]) {
    count = 0;
#pragma unroll
    for (int c = 0; c < channels; c++) {
      shift[c] = shuffle(first[c], lane() & 3);
      sum[c] = squares[c] = 0;
    }
  }
  __device__ __forceinline__ void add(const float (&value)[channels]) {
    count += 1;
#pragma unroll
    for (int c = 0; c < channels; c++) {
      const float deviation = value[c] - shift[c];
      sum[c] += deviation;
      squares[c] = fmaf(deviation, deviation, squares[c]);
    }
  }
  // The whole warp: afterwards lanes 0 to 3 hold the sums of all. They write them to table[channel of the lane + c].
  __device__ __forceinline__ void gather(conv_moments* table, int first_channel) {
#pragma unroll
    for (int step = 4; step < 32; step *= 2) {
      count += shuffle_xor(count, step);
#pragma unroll
      for (int c = 0; c < channels; c++) {
        sum[c] += shuffle_xor(sum[c], step);
        squares[c] += shuffle_xor(squares[c], step);
      }
    }
    if (lane() < 4)
#pragma unroll
      for (int c = 0; c < channels; c++) table[first_channel + c] = conv_moments{shift[c], sum[c], squares[c], count};
  }
};

// Sums of several warps as one: all relative to the shift of the first that has seen anything. entry(w) of w < warps.
template <typename Entry>
__device__ __forceinline__ conv_moments join_moments(int warps, Entry&& entry) {
  conv_moments total = entry(0);
  for (int w = 1; w < warps; w++) {
    const conv_moments next = entry(w);
    if (next.count == 0) continue;
    if (total.count == 0) {
      total = next;
      continue;
    }
    const float move = next.shift - total.shift;
    total.sum += next.sum + next.count * move;
    total.squares += next.squares + move * (2 * next.sum + next.count * move);
    total.count += next.count;
  }
  return total;
}

}  // namespace cuda
}  // namespace versemi

#endif
