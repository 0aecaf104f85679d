// The convolution family written down plainly, sums in double: the specification of the fast rows, and what runs when
// those refuse.
#include <cmath>

#include "conv3d_call.h"
#include "dispatch.h"

namespace versemi {
namespace {

// Element offsets of a voxel.
int64_t in_at(const versemi_conv_problem& p, int64_t n, int64_t d, int64_t h, int64_t w) {
  return (((n * p.in[0] + d) * p.in[1] + h) * p.in[2] + w) * p.in_channels;
}
int64_t out_at(const versemi_conv_problem& p, int64_t n, int64_t d, int64_t h, int64_t w) {
  return (((n * p.out[0] + d) * p.out[1] + h) * p.out[2] + w) * p.out_channels;
}
int64_t weight_at(const versemi_conv_problem& p, int64_t d, int64_t h, int64_t w) {
  return ((d * p.kernel[1] + h) * p.kernel[2] + w) * p.in_channels * p.out_channels;
}

// Calls visit(kd, kh, kw, id, ih, iw) for every tap of an output voxel that falls inside the input.
template <typename Visit>
void for_taps_of_output(const versemi_conv_problem& p, int64_t od, int64_t oh, int64_t ow, Visit&& visit) {
  for (int64_t kd = 0; kd < p.kernel[0]; kd++)
    for (int64_t kh = 0; kh < p.kernel[1]; kh++)
      for (int64_t kw = 0; kw < p.kernel[2]; kw++) {
        const int64_t id = od * p.stride[0] + kd - p.pad[0], ih = oh * p.stride[1] + kh - p.pad[1],
                      iw = ow * p.stride[2] + kw - p.pad[2];
        if (id >= 0 && id < p.in[0] && ih >= 0 && ih < p.in[1] && iw >= 0 && iw < p.in[2])
          visit(kd, kh, kw, id, ih, iw);
      }
}

// Calls visit(kd, kh, kw, od, oh, ow) for every tap that connects an input voxel with an output voxel.
template <typename Visit>
void for_taps_of_input(const versemi_conv_problem& p, int64_t id, int64_t ih, int64_t iw, Visit&& visit) {
  for (int64_t kd = 0; kd < p.kernel[0]; kd++)
    for (int64_t kh = 0; kh < p.kernel[1]; kh++)
      for (int64_t kw = 0; kw < p.kernel[2]; kw++) {
        const int64_t d = id + p.pad[0] - kd, h = ih + p.pad[1] - kh, w = iw + p.pad[2] - kw;
        if (d < 0 || h < 0 || w < 0 || d % p.stride[0] != 0 || h % p.stride[1] != 0 || w % p.stride[2] != 0) continue;
        const int64_t od = d / p.stride[0], oh = h / p.stride[1], ow = w / p.stride[2];
        if (od < p.out[0] && oh < p.out[1] && ow < p.out[2]) visit(kd, kh, kw, od, oh, ow);
      }
}

void forward(versemi_context* context, const versemi_conv_problem& p, const float* input, const float* weight,
             const float* bias, float* output) {
  parallel_for(context, p.n * p.out[0] * p.out[1], [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t oh = row % p.out[1], od = row / p.out[1] % p.out[0], n = row / p.out[1] / p.out[0];
      for (int64_t ow = 0; ow < p.out[2]; ow++)
        for (int64_t co = 0; co < p.out_channels; co++) {
          double sum = bias == nullptr ? 0.0 : bias[co];
          for_taps_of_output(p, od, oh, ow,
                             [&](int64_t kd, int64_t kh, int64_t kw, int64_t id, int64_t ih, int64_t iw) {
                               const float* x = input + in_at(p, n, id, ih, iw);
                               const float* w = weight + weight_at(p, kd, kh, kw) + co;
                               for (int64_t ci = 0; ci < p.in_channels; ci++)
                                 sum += static_cast<double>(x[ci]) * w[ci * p.out_channels];
                             });
          output[out_at(p, n, od, oh, ow) + co] = static_cast<float>(sum);
        }
    }
  });
}

void grad_input(versemi_context* context, const versemi_conv_problem& p, const float* grad_output, const float* weight,
                const float* bias, float* grad_input) {
  parallel_for(context, p.n * p.in[0] * p.in[1], [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t ih = row % p.in[1], id = row / p.in[1] % p.in[0], n = row / p.in[1] / p.in[0];
      for (int64_t iw = 0; iw < p.in[2]; iw++)
        for (int64_t ci = 0; ci < p.in_channels; ci++) {
          double sum = bias == nullptr ? 0.0 : bias[ci];
          for_taps_of_input(p, id, ih, iw, [&](int64_t kd, int64_t kh, int64_t kw, int64_t od, int64_t oh, int64_t ow) {
            const float* g = grad_output + out_at(p, n, od, oh, ow);
            const float* w = weight + weight_at(p, kd, kh, kw) + ci * p.out_channels;
            for (int64_t co = 0; co < p.out_channels; co++) sum += static_cast<double>(g[co]) * w[co];
          });
          grad_input[in_at(p, n, id, ih, iw) + ci] = static_cast<float>(sum);
        }
    }
  });
}

void grad_weight(versemi_context* context, const versemi_conv_problem& p, const float* input, const float* grad_output,
                 float* grad_weight, float* grad_bias) {
  const int64_t rows = p.kernel[0] * p.kernel[1] * p.kernel[2] * p.in_channels;
  parallel_for(context, rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t ci = row % p.in_channels, tap = row / p.in_channels;
      const int64_t kw = tap % p.kernel[2], kh = tap / p.kernel[2] % p.kernel[1], kd = tap / p.kernel[2] / p.kernel[1];
      for (int64_t co = 0; co < p.out_channels; co++) {
        double sum = 0;
        for (int64_t n = 0; n < p.n; n++)
          for (int64_t od = 0; od < p.out[0]; od++)
            for (int64_t oh = 0; oh < p.out[1]; oh++)
              for (int64_t ow = 0; ow < p.out[2]; ow++) {
                const int64_t id = od * p.stride[0] + kd - p.pad[0], ih = oh * p.stride[1] + kh - p.pad[1],
                              iw = ow * p.stride[2] + kw - p.pad[2];
                if (id < 0 || id >= p.in[0] || ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2]) continue;
                sum += static_cast<double>(input[in_at(p, n, id, ih, iw) + ci]) *
                       grad_output[out_at(p, n, od, oh, ow) + co];
              }
        grad_weight[row * p.out_channels + co] = static_cast<float>(sum);
      }
    }
  });
  if (grad_bias == nullptr) return;
  const int64_t voxels = p.n * p.out[0] * p.out[1] * p.out[2];
  for (int64_t co = 0; co < p.out_channels; co++) {
    double sum = 0;
    for (int64_t i = 0; i < voxels; i++) sum += grad_output[i * p.out_channels + co];
    grad_bias[co] = static_cast<float>(sum);
  }
}

// --- rows ---------------------------------------------------------------------------------------------------------------

versemi_status run_forward(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                           const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_forward(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code == VERSEMI_OK) forward(context, call.problem, call.input, call.weight, call.bias, call.output);
  return status;
}

versemi_status run_grad_input(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                              const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_grad_input(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code == VERSEMI_OK) grad_input(context, call.problem, call.output, call.weight, call.bias, call.input);
  return status;
}

versemi_status run_grad_weight(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                               const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_grad_weight(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code == VERSEMI_OK) grad_weight(context, call.problem, call.input, call.output, call.weight, call.bias);
  return status;
}

versemi_status run_norm_relu(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                             const double* attributes, int32_t attribute_count) {
  conv3d_norm_call call;
  const versemi_status status = read_conv3d_norm_relu(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  const versemi_conv_problem& p = call.problem;
  float* raw = call.raw != nullptr ? call.raw : call.result;
  if (call.transposed)
    grad_input(context, p, call.source, call.weight, nullptr, raw);
  else
    forward(context, p, call.source, call.weight, nullptr, raw);
  const int64_t voxels = call.voxels(), channels = call.channels();
  parallel_for(context, p.n * channels, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t offset = i / channels * voxels * channels + i % channels;
      double sum = 0, squares = 0;
      for (int64_t v = 0; v < voxels; v++) sum += raw[offset + v * channels];
      const double mean = sum / static_cast<double>(voxels);
      for (int64_t v = 0; v < voxels; v++) {
        const double deviation = raw[offset + v * channels] - mean;
        squares += deviation * deviation;
      }
      const double rstd = 1.0 / std::sqrt(squares / static_cast<double>(voxels) + call.epsilon);
      for (int64_t v = 0; v < voxels; v++) {
        const int64_t at = offset + v * channels;
        double value = (raw[at] - mean) * rstd;
        if (call.relu && value <= 0) value = 0;
        call.result[at] = static_cast<float>(value + (call.skip == nullptr ? 0.0 : call.skip[at]));
      }
      if (call.mean != nullptr) call.mean[i] = static_cast<float>(mean);
      if (call.rstd != nullptr) call.rstd[i] = static_cast<float>(rstd);
    }
  });
  return status;
}

const versemi_kernel rows[] = {
    {VERSEMI_CONV3D_FORWARD, "conv3d-reference", refuses_conv3d, run_forward},
    {VERSEMI_CONV3D_GRAD_INPUT, "conv3d-reference", refuses_conv3d, run_grad_input},
    {VERSEMI_CONV3D_GRAD_WEIGHT, "conv3d-reference", refuses_conv3d, run_grad_weight},
    {VERSEMI_CONV3D_NORM_RELU, "conv3d-reference", refuses_conv3d, run_norm_relu},
};

}  // namespace

kernel_rows conv3d_reference_kernels() { return kernel_rows{rows, sizeof rows / sizeof rows[0]}; }

}  // namespace versemi
