// One convolution as the kernels see it: a source that is read, a result that is written, whatever its direction. Host code
// that makes it from a call of the table (forward, grad-input, fused with instance normalisation), and the rows' functions
// around a kernel family that can do one thing: convolve.
#ifndef VERSEMI_CUDA_CONV_VIEW_H
#define VERSEMI_CUDA_CONV_VIEW_H

#include <cstdint>

#include "core/context.h"
#include "versemi/conv_problem.h"

namespace versemi {
namespace cuda {

// How a result voxel r and a source voxel s belong to tap k, per axis:
//   direct   s = r * stride + k - pad   (forward; grad-input with stride 1, as a convolution with flipped weights)
//   scatter  r = s * stride + k         (grad-input where windows touch: stride = kernel, no padding, nothing left over)
//   gather   r = s * stride + k - pad   (grad-input in general)
enum class conv_form : std::uint8_t { direct, scatter, gather };

// Axes in the order D, H, W. Source [n, source..., source_channels], result [n, result..., result_channels].
struct conv_view {
  int n;
  int source[3], source_channels;
  int result[3], result_channels;
  int kernel[3], stride[3], pad[3];
  conv_form form;
  // Element (tap, source channel, result channel) of the weights [kernel..., inC, outC]: source channels are outC and result
  // channels inC where `transposed`; direct and transposed: taps are counted from the last.
  bool transposed;

  __host__ __device__ int taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  __host__ __device__ std::int64_t source_voxels() const {
    return static_cast<std::int64_t>(source[0]) * source[1] * source[2];
  }
  __host__ __device__ std::int64_t result_voxels() const {
    return static_cast<std::int64_t>(result[0]) * result[1] * result[2];
  }
  __host__ __device__ std::int64_t weight_index(int tap, int source_channel, int result_channel) const {
    const int at = form == conv_form::direct && transposed ? taps() - 1 - tap : tap;
    return transposed ? (static_cast<std::int64_t>(at) * result_channels + result_channel) * source_channels + source_channel
                      : (static_cast<std::int64_t>(at) * source_channels + source_channel) * result_channels + result_channel;
  }
  bool cube(int size, int step) const {
    for (int i = 0; i < 3; i++)
      if (kernel[i] != size || stride[i] != step) return false;
    return true;
  }
};

conv_view forward_view(const versemi_conv_problem& problem) noexcept;
conv_view grad_input_view(const versemi_conv_problem& problem) noexcept;

// Sums for the instance normalisation, of the result before it is rounded: entry [n][slot][channel] holds, of some voxels,
// their number and, relative to `shift` (one of the values), the sum and the sum of squares. Entries with count 0 say nothing.
struct conv_moments {
  float shift, sum, squares, count;
};

// One convolution to run. `moments` is wanted where slots != nullptr: the family takes scratch for it, fills it and says how
// many slots there are per sample.
struct conv_job {
  conv_view view;
  const void* source = nullptr;
  storage source_format = storage::float32;
  const float* weight = nullptr;
  const float* bias = nullptr;  // [result_channels]
  void* result = nullptr;
  storage result_format = storage::float32;
};
struct conv_moment_slots {
  conv_moments* moments = nullptr;
  int per_sample = 0;
};
// scratch for `per_sample` slots; false when there is none left.
bool take_moments(context& device, const conv_view& view, int per_sample, conv_moment_slots* slots);

// A family of kernels.
struct conv_family {
  const char* (*refuses)(const context& device, const conv_view& view);
  // `moments` may be nullptr.
  versemi_status (*convolve)(context& device, const conv_job& job, conv_moment_slots* moments);
  bool any_source_format;  // else as the results
};

// What the functions of a row do, for a family (conv_view.cpp).
const char* conv_refuses(const context& device, const conv_family& family, std::int32_t op, const double* attributes);
void conv_plan(const context& device, const conv_family& family, std::int32_t op, tensor* tensors,
               std::int32_t tensor_count, const double* attributes);
versemi_status conv_run(context& device, const conv_family& family, std::int32_t op, const tensor* tensors,
                        const double* attributes);

// The row of a family for one op.
template <const conv_family& family, std::int32_t op>
struct conv_row {
  static const char* refuses(const context& device, const double* attributes, std::int32_t) {
    return conv_refuses(device, family, op, attributes);
  }
  static void plan(const context& device, tensor* tensors, std::int32_t tensor_count, const double* attributes,
                   std::int32_t) {
    conv_plan(device, family, op, tensors, tensor_count, attributes);
  }
  static versemi_status run(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
    return conv_run(device, family, op, tensors, attributes);
  }
  static constexpr kernel row(const char* name) { return kernel{op, name, refuses, plan, run}; }
};

// result = sum of `splits` partial results [split][n, voxels, channels] in their order + bias, and its moments where they are
// wanted. splits = 0: the result is there already, and only the moments (of what is stored) are taken. conv_partials.cu.
versemi_status finish_partials(context& device, const conv_job& job, const float* partials, int splits,
                               conv_moment_slots* moments);

// Second and third pass of the normalisation (conv_norm.cu): mean and rstd [n, channels] from the moments, in double; then
// result = relu((raw - mean) * rstd) + skip. raw and result may be the same memory; skip has the format of both.
struct norm_job {
  std::int64_t n, voxels;
  int channels;
  bool relu;
  double epsilon;
  storage format;
  const void* raw;
  const void* skip;  // or nullptr
  void* result;
  float* mean;
  float* rstd;
};
versemi_status finish_norm(context& device, const norm_job& job, const conv_moment_slots& slots);

}  // namespace cuda
}  // namespace versemi

#endif
