// The convolution written plainly, for every shape, stride and channel count: what the faster rows are measured against, what
// runs where they refuse, and the path of precision::float32 (multiply and add in float32, in a fixed order). Weights are
// rounded to bfloat16 in that precision, so that every row computes with the same numbers.
#include "conv/conv_device.h"
#include "conv/conv_pack.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 128, row_voxels = 4, row_channels = 4;

// Position along one axis of the source that tap k of result position r reads; negative: none.
__device__ __forceinline__ int source_position(const conv_view& v, int axis, int r, int k) {
  if (v.form == conv_form::direct) {
    const int s = r * v.stride[axis] + k - v.pad[axis];
    return s < v.source[axis] ? s : -1;
  }
  const int moved = r + v.pad[axis] - k;
  if (moved < 0 || moved % v.stride[axis] != 0) return -1;
  const int s = moved / v.stride[axis];
  return s < v.source[axis] ? s : -1;
}

// A thread makes 4 voxels of a row times 4 channels: 16 products per 4 source values and 4 weights. Neighbouring threads have
// neighbouring channels. weight: [tap][source channel][result channel].
template <typename Source, typename Result>
__global__ void __launch_bounds__(threads) convolve_plainly(conv_view v, const Source* source, const float* weight,
                                                            const float* bias, Result* result, std::int64_t count) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= count) return;
  const int channel_parts = divide_up(v.result_channels, row_channels);
  const int row_parts = divide_up(v.result[2], row_voxels);
  const int channel = static_cast<int>(i % channel_parts) * row_channels;
  std::int64_t rest = i / channel_parts;
  const int w = static_cast<int>(rest % row_parts) * row_voxels;
  rest /= row_parts;
  const int h = static_cast<int>(rest % v.result[1]);
  rest /= v.result[1];
  const int d = static_cast<int>(rest % v.result[0]);
  const std::int64_t n = rest / v.result[0];
  const bool whole = v.result_channels % row_channels == 0;

  float sum[row_voxels][row_channels] = {};
  for (int kd = 0; kd < v.kernel[0]; kd++) {
    const int sd = source_position(v, 0, d, kd);
    if (sd < 0) continue;
    for (int kh = 0; kh < v.kernel[1]; kh++) {
      const int sh = source_position(v, 1, h, kh);
      if (sh < 0) continue;
      const Source* row = source + ((n * v.source[0] + sd) * v.source[1] + sh) * v.source[2] * v.source_channels;
      for (int kw = 0; kw < v.kernel[2]; kw++) {
        const Source* x[row_voxels];
        bool inside[row_voxels];
#pragma unroll
        for (int j = 0; j < row_voxels; j++) {
          const int sw = source_position(v, 2, w + j, kw);
          inside[j] = sw >= 0;
          x[j] = row + static_cast<std::int64_t>(sw < 0 ? 0 : sw) * v.source_channels;
        }
        const float* b = weight + static_cast<std::int64_t>((kd * v.kernel[1] + kh) * v.kernel[2] + kw) * v.source_channels * v.result_channels + channel;
#pragma unroll 4
        for (int c = 0; c < v.source_channels; c++) {
          float factor[row_channels] = {};
          if (whole) {
            const float4 four = *reinterpret_cast<const float4*>(b);
            factor[0] = four.x;
            factor[1] = four.y;
            factor[2] = four.z;
            factor[3] = four.w;
          } else {
#pragma unroll
            for (int k = 0; k < row_channels; k++)
              if (channel + k < v.result_channels) factor[k] = b[k];
          }
          b += v.result_channels;
#pragma unroll
          for (int j = 0; j < row_voxels; j++) {
            if (!inside[j]) continue;
            const float value = load_element(x[j] + c);
#pragma unroll
            for (int k = 0; k < row_channels; k++) sum[j][k] = fmaf(value, factor[k], sum[j][k]);
          }
        }
      }
    }
  }
  Result* out = result + (((n * v.result[0] + d) * v.result[1] + h) * v.result[2] + w) * v.result_channels + channel;
#pragma unroll
  for (int j = 0; j < row_voxels; j++)
#pragma unroll
    for (int k = 0; k < row_channels; k++)
      if (w + j < v.result[2] && channel + k < v.result_channels)
        store_element(out + static_cast<std::int64_t>(j) * v.result_channels + k,
                      sum[j][k] + (bias == nullptr ? 0.0f : bias[channel + k]));
}

template <typename Source, typename Result>
versemi_status run(context& device, const conv_job& job, const float* weight) {
  const conv_view& v = job.view;
  const std::int64_t count = std::int64_t{v.n} * v.result[0] * v.result[1] * divide_up(v.result[2], row_voxels) *
                             divide_up(v.result_channels, row_channels);
  return launch(device, "plain convolution", convolve_plainly<Source, Result>,
                dim3(static_cast<unsigned>(divide_up(count, threads))), dim3(threads), 0, v,
                static_cast<const Source*>(job.source), weight, job.bias, static_cast<Result*>(job.result), count);
}

const char* refuses(const context&, const conv_view&) { return nullptr; }

versemi_status convolve(context& device, const conv_job& job, conv_moment_slots* moments) {
  const float* weight = nullptr;
  versemi_status status = pack_plain_weights(device, job, device.operands() == precision::bfloat16, &weight);
  if (status.code != VERSEMI_OK) return status;
  if (job.source_format == storage::bfloat16)
    status = job.result_format == storage::bfloat16 ? run<bf16, bf16>(device, job, weight) : run<bf16, float>(device, job, weight);
  else
    status = job.result_format == storage::bfloat16 ? run<float, bf16>(device, job, weight) : run<float, float>(device, job, weight);
  if (status.code != VERSEMI_OK || moments == nullptr) return status;
  return finish_partials(device, job, nullptr, 0, moments);
}

constexpr conv_family family = {refuses, convolve, true};
constexpr kernel rows[] = {
    conv_row<family, VERSEMI_CONV3D_FORWARD>::row("conv3d-plain"),
    conv_row<family, VERSEMI_CONV3D_GRAD_INPUT>::row("conv3d-plain"),
    conv_row<family, VERSEMI_CONV3D_NORM_RELU>::row("conv3d-plain"),
};

}  // namespace

kernel_rows conv3d_plain_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
