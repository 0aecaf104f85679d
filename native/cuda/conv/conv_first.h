// The first layer: 3^3, stride 1, one source channel, 8, 16 or 32 result channels. The reduction is 27 long, filled to 32, and
// its rows are gathered word by word from a halo tile: memory is what limits this layer, not arithmetic. Only .cu files include
// this.
//
// A block makes 4 slices x 8 rows x 32 voxels, a warp one slice, 16 voxels of a row at a time. Shared memory: 60 rows (6 slices
// x 10 rows) of 34 words at a pitch of 40, so that the four (kD, kH) which the lanes of a quad read stand in different banks.
// A word is a value rounded to TF32, or in bfloat16 the value and its right neighbour: kW = 0 and 1 with one load.
#ifndef VERSEMI_CUDA_CONV_FIRST_H
#define VERSEMI_CUDA_CONV_FIRST_H

#include <type_traits>

#include "conv/conv_device.h"
#include "conv/conv_first_order.h"

namespace versemi {
namespace cuda {

struct first_job {
  int source[3], result[3], pad[3];
  int blocks[3];  // of a sample, per axis
  const void* source_data;
  bool source_narrow;
  const std::uint32_t* weights;
  const float* bias;
  void* result_data;
  conv_moments* moments;
};

constexpr int first_threads = 128, first_rows = 8, first_width = 32, first_pitch = 40;
constexpr int first_halo_rows = first_rows + 2, first_halo_width = first_width + 2, first_slices = 4;

// Word of a tap, from the word of kD = kH = kW = 0.
__device__ __forceinline__ int first_tap_word(int tap) {
  return (tap / 9 * first_halo_rows + tap / 3 % 3) * first_pitch + tap % 3;
}

// Left operands of all steps for 16 voxels whose first word (kD = kH = kW = 0) is `words`.
template <typename Operands>
struct first_gather;

template <>
struct first_gather<bf16_operands> {
  static constexpr int steps = 2;
  int pair[2], low[2], high[2];
  std::uint32_t mask[2];
  __device__ __forceinline__ void prepare() {
    const int quad = lane() & 3;
#pragma unroll
    for (int part = 0; part < 2; part++) {
      const int k = part * 8 + 2 * quad, low_tap = first_layer_tap(16 + k), high_tap = first_layer_tap(17 + k);
      pair[part] = first_tap_word(first_layer_tap(k)) + (lane() >> 2);
      low[part] = first_tap_word(low_tap < 0 ? 0 : low_tap) + (lane() >> 2);
      high[part] = first_tap_word(high_tap < 0 ? 0 : high_tap) + (lane() >> 2);
      mask[part] = (low_tap < 0 ? 0u : 0xffffu) | (high_tap < 0 ? 0u : 0xffff0000u);
    }
  }
  __device__ __forceinline__ void take(std::uint32_t (&a)[steps][4], const std::uint32_t* words) const {
#pragma unroll
    for (int part = 0; part < 2; part++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        a[0][2 * part + half] = words[pair[part] + 8 * half];
        a[1][2 * part + half] = ((words[low[part] + 8 * half] & 0xffffu) | words[high[part] + 8 * half] << 16) & mask[part];
      }
  }
  static __device__ __forceinline__ void put(std::uint32_t* row, int w, float value) {
    bf16* halves = reinterpret_cast<bf16*>(row);
    halves[2 * w] = to_bf16(value);
    if (w > 0) halves[2 * w - 1] = to_bf16(value);
  }
};

template <>
struct first_gather<tf32_operands> {
  static constexpr int steps = 4;
  int word[steps][2];
  std::uint32_t mask[steps][2];
  __device__ __forceinline__ void prepare() {
#pragma unroll
    for (int step = 0; step < steps; step++)
#pragma unroll
      for (int part = 0; part < 2; part++) {
        const int tap = first_layer_tap(step * 8 + part * 4 + (lane() & 3));
        word[step][part] = first_tap_word(tap < 0 ? 0 : tap) + (lane() >> 2);
        mask[step][part] = tap < 0 ? 0u : 0xffffffffu;
      }
  }
  __device__ __forceinline__ void take(std::uint32_t (&a)[steps][4], const std::uint32_t* words) const {
#pragma unroll
    for (int step = 0; step < steps; step++)
#pragma unroll
      for (int part = 0; part < 2; part++)
#pragma unroll
        for (int half = 0; half < 2; half++) a[step][2 * part + half] = words[word[step][part] + 8 * half] & mask[step][part];
  }
  static __device__ __forceinline__ void put(std::uint32_t* row, int w, float value) { row[w] = to_tf32(value); }
};

// Grid (blocks of a sample, samples).
template <typename Operands, int tiles>
__global__ void __launch_bounds__(first_threads) convolve_first(first_job job) {
  using element = typename Operands::element;
  constexpr int channels = 8 * tiles, held = 2 * tiles;
  using gather = first_gather<Operands>;
  __shared__ std::uint32_t halo[(first_slices + 2) * first_halo_rows * first_pitch];
  __shared__ conv_moments table[first_threads / 32][channels];

  const int block = static_cast<int>(blockIdx.x), sample = static_cast<int>(blockIdx.y);
  const int w0 = block % job.blocks[2] * first_width, h0 = block / job.blocks[2] % job.blocks[1] * first_rows;
  const int d0 = block / job.blocks[2] / job.blocks[1] * first_slices;
  for (int i = static_cast<int>(threadIdx.x); i < (first_slices + 2) * first_halo_rows * first_halo_width; i += first_threads) {
    const int w = i % first_halo_width, row = i / first_halo_width;
    const int sw = w0 + w - job.pad[2], sh = h0 + row % first_halo_rows - job.pad[1], sd = d0 + row / first_halo_rows - job.pad[0];
    float value = 0;
    if (sd >= 0 && sd < job.source[0] && sh >= 0 && sh < job.source[1] && sw >= 0 && sw < job.source[2]) {
      const std::int64_t at = ((static_cast<std::int64_t>(sample) * job.source[0] + sd) * job.source[1] + sh) * job.source[2] + sw;
      value = job.source_narrow ? to_float(static_cast<const bf16*>(job.source_data)[at]) : static_cast<const float*>(job.source_data)[at];
    }
    gather::put(halo + row * first_pitch, w, value);
  }
  std::uint32_t b[gather::steps][tiles][2];
#pragma unroll
  for (int step = 0; step < gather::steps; step++) take_weights<tiles>(b[step], job.weights + step * step_words(tiles));
  gather rows;
  rows.prepare();
  const int channel = first_channel(tiles, lane());
  float bias[held];
#pragma unroll
  for (int c = 0; c < held; c++) bias[c] = job.bias == nullptr ? 0.0f : job.bias[channel + c];
  barrier();

  thread_moments<held> moments = {};
  const int d = d0 + warp();
  for (int tile = 0; tile < first_rows * first_width / 16; tile++) {
    const int row = tile / (first_width / 16), column = tile % (first_width / 16) * 16;
    std::uint32_t a[gather::steps][4];
    rows.take(a, halo + (warp() * first_halo_rows + row) * first_pitch + column);
    float sum[tiles][4] = {};
#pragma unroll
    for (int step = 0; step < gather::steps; step++)
#pragma unroll
      for (int t = 0; t < tiles; t++) Operands::multiply(sum[t], a[step], b[step][t]);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float value[held];
#pragma unroll
      for (int c = 0; c < held; c++) value[c] = sum[c / 2][2 * half + c % 2] + bias[c];
      if (job.moments != nullptr && tile == 0 && half == 0) moments.begin(value);
      const int h = h0 + row, w = w0 + column + 8 * half + (lane() >> 2);
      if (d >= job.result[0] || h >= job.result[1] || w >= job.result[2]) continue;
      const std::int64_t voxel = ((static_cast<std::int64_t>(sample) * job.result[0] + d) * job.result[1] + h) * job.result[2] + w;
      store_row(static_cast<element*>(job.result_data) + voxel * channels + channel, value);
      if (job.moments != nullptr) moments.add(value);
    }
  }
  if (job.moments == nullptr) return;
  moments.gather(table[warp()], channel);
  barrier();
  const int c = static_cast<int>(threadIdx.x);
  if (c < channels)
    job.moments[(static_cast<std::int64_t>(sample) * gridDim.x + blockIdx.x) * channels + c] =
        join_moments(first_threads / 32, [&](int w) { return table[w][c]; });
}

}  // namespace cuda
}  // namespace versemi

#endif
