// Sums the parts of a reduction that was split over blocks, and takes the sums for the normalisation of a result.
#include "conv/conv_device.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256, group_channels = 32, lanes_of_voxels = threads / group_channels;

// Grid (slots * groups of 32 channels, samples). Thread (voxel lane, channel) takes every eighth voxel of the slot; the lanes
// are joined in order.
template <typename T>
__global__ void __launch_bounds__(threads) sum_partials(const float* partials, int splits, std::int64_t elements,
                                                        const float* bias, T* result, conv_moments* moments, int slots,
                                                        std::int64_t voxels, std::int64_t slot_voxels, int channels) {
  __shared__ conv_moments table[lanes_of_voxels][group_channels];
  const int slot = static_cast<int>(blockIdx.x) % slots, group = static_cast<int>(blockIdx.x) / slots;
  const int part = static_cast<int>(threadIdx.x) / group_channels, column = static_cast<int>(threadIdx.x) % group_channels;
  const int channel = group * group_channels + column;
  const std::int64_t sample = blockIdx.y, first = slot * slot_voxels;
  const std::int64_t last = first + slot_voxels < voxels ? first + slot_voxels : voxels;
  conv_moments own = {0, 0, 0, 0};
  if (channel < channels) {
    const float plus = bias == nullptr ? 0.0f : bias[channel];
    for (std::int64_t voxel = first + part; voxel < last; voxel += lanes_of_voxels) {
      const std::int64_t at = (sample * voxels + voxel) * channels + channel;
      float value = 0;
      if (splits > 0) {
        for (int s = 0; s < splits; s++) value += partials[s * elements + at];
        value += plus;
        store_element(result + at, value);
      } else {
        value = load_element(result + at);
      }
      if (own.count == 0) own.shift = value;
      const float deviation = value - own.shift;
      own.sum += deviation;
      own.squares = fmaf(deviation, deviation, own.squares);
      own.count += 1;
    }
  }
  if (moments == nullptr) return;
  table[part][column] = own;
  barrier();
  if (part == 0 && channel < channels)
    moments[(sample * slots + slot) * channels + channel] = join_moments(lanes_of_voxels, [&](int p) { return table[p][column]; });
}

}  // namespace

versemi_status finish_partials(context& device, const conv_job& job, const float* partials, int splits,
                               conv_moment_slots* moments) {
  const conv_view& v = job.view;
  const std::int64_t voxels = v.result_voxels(), channels = v.result_channels;
  // Slots long enough to be worth a block, and enough of them to fill the device.
  const std::int64_t fair = divide_up(voxels, 256), slot_voxels = fair < 64 ? 64 : fair;
  const int slots = static_cast<int>(divide_up(voxels, slot_voxels));
  if (moments != nullptr && !take_moments(device, v, slots, moments))
    return out_of_memory(sizeof(conv_moments) * static_cast<std::size_t>(v.n * slots * channels));
  conv_moments* table = moments == nullptr ? nullptr : moments->moments;
  const dim3 grid(static_cast<unsigned>(slots * divide_up(channels, group_channels)), static_cast<unsigned>(v.n));
  const std::int64_t elements = v.n * voxels * channels;
  if (job.result_format == storage::bfloat16)
    return launch(device, "sum of partial results", sum_partials<bf16>, grid, dim3(threads), 0, partials, splits, elements,
                  job.bias, static_cast<bf16*>(job.result), table, slots, voxels, slot_voxels, v.result_channels);
  return launch(device, "sum of partial results", sum_partials<float>, grid, dim3(threads), 0, partials, splits, elements,
                job.bias, static_cast<float*>(job.result), table, slots, voxels, slot_voxels, v.result_channels);
}

}  // namespace cuda
}  // namespace versemi
