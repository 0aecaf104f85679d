// Rows of the table: conv3d_forward, conv3d_grad_input, conv3d_norm_relu.
#include "conv3d_call.h"
#include "conv_pass.h"
#include "dispatch.h"
#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

versemi_status run_forward(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                           const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_forward(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  conv_operation operation;
  if (!forward_operation(context, call.problem, call.input, call.weight, call.bias, call.output, &operation))
    return out_of_memory(sizeof(conv_pass));
  operation.inference = true;
  return run_conv(context, operation);
}

versemi_status run_grad_input(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                              const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_grad_input(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  conv_operation operation;
  if (!grad_input_operation(context, call.problem, call.output, call.weight, call.bias, call.input, &operation))
    return out_of_memory(sizeof(conv_pass));
  return run_conv(context, operation);
}

// result = relu((raw - mean) * rstd) + skip for `count` voxels of one sample. mean and rstd are [period] floats, the
// channels repeated until they fill whole vectors.
template <bool relu_wanted, bool skip_wanted>
void normalize(const float* raw, const float* skip, float* result, int64_t floats, const float* mean, const float* rstd,
               int64_t period) {
  const auto value = [&](vfloat x, int64_t j) {
    const vfloat y = (x - load(mean + j)) * load(rstd + j);
    return relu_wanted ? relu(y) : y;
  };
  int64_t i = 0;
  for (; i + period <= floats; i += period)
    for (int64_t j = 0; j < period; j += lanes) {
      const vfloat y = value(load(raw + i + j), j);
      store(result + i + j, skip_wanted ? y + load(skip + i + j) : y);
    }
  for (int64_t j = 0; i + j < floats; j += lanes) {
    const int left = (int)smaller<int64_t>(lanes, floats - i - j);
    const vfloat y = value(load_first(raw + i + j, left), j);
    store_first(result + i + j, skip_wanted ? y + load_first(skip + i + j, left) : y, left);
  }
}

versemi_status run_norm_relu(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                             const double* attributes, int32_t attribute_count) {
  conv3d_norm_call call;
  versemi_status status = read_conv3d_norm_relu(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  float* raw = call.raw != nullptr ? call.raw : call.result;
  conv_operation operation;
  const bool made =
      call.transposed ? grad_input_operation(context, call.problem, call.source, call.weight, nullptr, raw, &operation)
                      : forward_operation(context, call.problem, call.source, call.weight, nullptr, raw, &operation);
  if (!made) return out_of_memory(sizeof(conv_pass));
  operation.inference = true;

  const int64_t samples = call.problem.n, channels = call.channels(), voxels = call.voxels();
  const int64_t period = channels % lanes == 0 ? channels : channels * lanes;
  const int64_t moments = samples * channels;
  // Doubles first (mean, rstd), then floats (mean, rstd, repeated) of every sample.
  const std::size_t bytes =
      (std::size_t)(moments * 2) * sizeof(double) + (std::size_t)(samples * 2 * period) * sizeof(float);
  double* mean = static_cast<double*>(scratch(context, conv_scratch_moments, bytes));
  if (mean == nullptr) return out_of_memory(bytes);
  double* rstd = mean + moments;
  float* repeated = reinterpret_cast<float*>(rstd + moments);
  status = run_conv_with_moments(context, operation, call.epsilon, mean, rstd);
  if (status.code != VERSEMI_OK) return status;
  for (int64_t sample = 0; sample < samples; sample++)
    for (int64_t j = 0; j < period; j++) {
      repeated[sample * 2 * period + j] = (float)mean[sample * channels + j % channels];
      repeated[(sample * 2 + 1) * period + j] = (float)rstd[sample * channels + j % channels];
    }
  for (int64_t i = 0; i < moments; i++) {
    if (call.mean != nullptr) call.mean[i] = (float)mean[i];
    if (call.rstd != nullptr) call.rstd[i] = (float)rstd[i];
  }

  // Blocks of whole periods, 64 KiB or so.
  const int64_t block_voxels = larger<int64_t>(1, (16384 + period - 1) / period) * (period / channels);
  const int64_t blocks = (voxels + block_voxels - 1) / block_voxels;
  const auto pass = call.relu ? (call.skip != nullptr ? normalize<true, true> : normalize<true, false>)
                              : (call.skip != nullptr ? normalize<false, true> : normalize<false, false>);
  parallel_for(context, samples * blocks, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin; task < end; task++) {
      const int64_t sample = task / blocks, first = task % blocks * block_voxels;
      const int64_t count = smaller(block_voxels, voxels - first), offset = (sample * voxels + first) * channels;
      const float* moment = repeated + sample * 2 * period;
      pass(raw + offset, call.skip == nullptr ? nullptr : call.skip + offset, call.result + offset, count * channels,
           moment, moment + period, period);
    }
  });
  return ok();
}

const versemi_kernel rows[] = {
    {VERSEMI_CONV3D_FORWARD, VERSEMI_ROW_NAME("conv3d-blocked"), refuses_conv3d, run_forward},
    {VERSEMI_CONV3D_GRAD_INPUT, VERSEMI_ROW_NAME("conv3d-blocked"), refuses_conv3d, run_grad_input},
    {VERSEMI_CONV3D_NORM_RELU, VERSEMI_ROW_NAME("conv3d-blocked"), refuses_conv3d, run_norm_relu},
};

}  // namespace

kernel_rows conv3d_kernels() { return kernel_rows{rows, sizeof rows / sizeof rows[0]}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
