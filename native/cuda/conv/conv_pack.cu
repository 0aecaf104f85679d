// See conv_pack.h. One thread makes one word.
#include "conv/conv_pack.h"

#include "conv/conv_first_order.h"
#include "conv/conv_tiles.h"
#include "core/intrinsics.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256;

struct pack_job {
  conv_view view;
  pack_order order;
  int tiles, steps, depth;  // depth: rows per step, 16 or 8
};

__device__ __forceinline__ float weight_at(const pack_job& job, const float* weight, int step, int row, int column) {
  const conv_view& v = job.view;
  int tap = 0, source_channel = 0, result_channel = column;
  if (job.order == pack_order::halo) {
    const int channel_steps = divide_up(v.source_channels, job.depth);
    const int kh = step % 3, channel_step = step / 3 % channel_steps, kw = step / 3 / channel_steps % 3, kd = step / 9 / channel_steps;
    tap = (kd * 3 + kh) * 3 + kw;
    source_channel = channel_step * job.depth + row;
  } else if (job.order == pack_order::first) {
    tap = first_layer_tap(step * job.depth + row);
  } else if (v.form == conv_form::scatter) {
    source_channel = step * job.depth + row;
    tap = column / v.result_channels;
    result_channel = column % v.result_channels;
  } else {
    const int k = step * job.depth + row;
    tap = k / v.source_channels;
    source_channel = k % v.source_channels;
  }
  const bool inside = tap >= 0 && tap < v.taps() && source_channel < v.source_channels && result_channel < v.result_channels;
  return inside ? weight[v.weight_index(tap, source_channel, result_channel)] : 0.0f;
}

template <bool narrow>
__global__ void __launch_bounds__(threads) pack_fragments(pack_job job, const float* weight, std::uint32_t* packed,
                                                          std::int64_t words) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= words) return;
  const int per_step = step_words(job.tiles);
  const int step = static_cast<int>(i / per_step % job.steps), group = static_cast<int>(i / per_step / job.steps);
  const packed_place place = place_of_word(job.tiles, static_cast<int>(i % per_step));
  const int column = group * 8 * job.tiles + channel_of_column(job.tiles, place.tile, place.lane >> 2);
  const int quad = place.lane & 3;
  if (narrow) {
    const int row = place.part * 8 + 2 * quad;
    packed[i] = pack_bf16(weight_at(job, weight, step, row, column), weight_at(job, weight, step, row + 1, column));
  } else {
    packed[i] = to_tf32(weight_at(job, weight, step, place.part * 4 + quad, column));
  }
}

__global__ void __launch_bounds__(threads) pack_rows(conv_view view, const float* weight, float* packed, std::int64_t count,
                                                     bool narrow) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= count) return;
  const int result_channel = static_cast<int>(i % view.result_channels);
  const std::int64_t row = i / view.result_channels;
  const float value = weight[view.weight_index(static_cast<int>(row / view.source_channels),
                                               static_cast<int>(row % view.source_channels), result_channel)];
  packed[i] = narrow ? to_float(to_bf16(value)) : value;
}

}  // namespace

versemi_status pack_weights(context& device, const conv_job& job, pack_order order, int tiles, bool narrow,
                            packed_weights* packed) {
  const conv_view& v = job.view;
  pack_job pack = {v, order, tiles, 0, narrow ? 16 : 8};
  int columns = v.result_channels;
  if (order == pack_order::halo) {
    pack.steps = v.taps() * static_cast<int>(divide_up(v.source_channels, pack.depth));
  } else if (order == pack_order::first) {
    pack.steps = 32 / pack.depth;
  } else if (v.form == conv_form::scatter) {
    pack.steps = static_cast<int>(divide_up(v.source_channels, pack.depth));
    columns *= v.taps();
  } else {
    pack.steps = static_cast<int>(divide_up(std::int64_t{v.taps()} * v.source_channels, pack.depth));
  }
  // Kernels take two steps at a time.
  if (order == pack_order::flat) pack.steps += pack.steps % 2;
  packed->steps = pack.steps;
  packed->groups = static_cast<int>(divide_up(columns, 8 * tiles));
  const std::int64_t words = std::int64_t{packed->groups} * pack.steps * step_words(tiles);
  packed->words = device.scratch_of<std::uint32_t>(scratch_slot::weights, static_cast<std::size_t>(words));
  if (packed->words == nullptr) return out_of_memory(static_cast<std::size_t>(words) * 4);
  const dim3 grid(static_cast<unsigned>(divide_up(words, threads)));
  return launch(device, "pack weights", narrow ? pack_fragments<true> : pack_fragments<false>, grid, dim3(threads), 0, pack,
                job.weight, packed->words, words);
}

versemi_status pack_plain_weights(context& device, const conv_job& job, bool narrow, const float** packed) {
  *packed = job.weight;
  if (!narrow && !job.view.transposed) return ok();
  const std::int64_t count = std::int64_t{job.view.taps()} * job.view.source_channels * job.view.result_channels;
  float* words = device.scratch_of<float>(scratch_slot::weights, static_cast<std::size_t>(count));
  if (words == nullptr) return out_of_memory(static_cast<std::size_t>(count) * 4);
  *packed = words;
  return launch(device, "pack weights", pack_rows, dim3(static_cast<unsigned>(divide_up(count, threads))), dim3(threads), 0,
                job.view, job.weight, words, count, narrow);
}

}  // namespace cuda
}  // namespace versemi
