// Rows of the table: conv3d_forward, conv3d_grad_input, conv3d_norm_relu, each by minimal filtering and as a direct sum.
#include "conv_pass.h"
#include "dispatch.h"
#include "kernel_row.h"
#include "norm.h"
#include "winograd.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// How an operation is computed: run_direct or run_winograd.
using conv_method = versemi_status (*)(versemi_context*, const conv_operation&, const conv_moments*);

template <conv_method method>
versemi_status run_forward(versemi_context* context, const versemi_buffer* buffers, int32_t, const double* attributes, int32_t) {
  namespace buffer = conv3d_forward_buffer;
  conv_operation operation;
  if (!forward_operation(context, conv_problem_of(conv3d_forward_attributes(attributes)), input(buffers[buffer::input]),
                         input(buffers[buffer::weight]), input(buffers[buffer::bias]), output(buffers[buffer::output]),
                         &operation))
    return out_of_memory(sizeof(conv_pass));
  return method(context, operation, nullptr);
}

template <conv_method method>
versemi_status run_grad_input(versemi_context* context, const versemi_buffer* buffers, int32_t, const double* attributes,
                              int32_t) {
  namespace buffer = conv3d_grad_input_buffer;
  conv_operation operation;
  if (!grad_input_operation(context, conv_problem_of(conv3d_grad_input_attributes(attributes)),
                            input(buffers[buffer::grad_output]), input(buffers[buffer::weight]), input(buffers[buffer::bias]),
                            output(buffers[buffer::grad_input]), &operation))
    return out_of_memory(sizeof(conv_pass));
  return method(context, operation, nullptr);
}

template <conv_method method>
versemi_status run_norm_relu(versemi_context* context, const versemi_buffer* buffers, int32_t, const double* attributes,
                             int32_t) {
  namespace buffer = conv3d_norm_relu_buffer;
  const conv3d_norm_relu_attributes a(attributes);
  const versemi_conv_problem problem = conv_problem_of(a);
  const float *source = input(buffers[buffer::input]), *weight = input(buffers[buffer::weight]);
  float *const result = output(buffers[buffer::output]), *raw = output(buffers[buffer::raw]);
  if (raw == nullptr) raw = result;
  conv_operation operation;
  const bool made = a.transposed ? grad_input_operation(context, problem, source, weight, nullptr, raw, &operation)
                                 : forward_operation(context, problem, source, weight, nullptr, raw, &operation);
  if (!made) return out_of_memory(sizeof(conv_pass));

  // Mean and deviation in double, then as floats.
  const int64_t channels = a.transposed ? a.in_c : a.out_c, count = a.n * channels;
  const std::size_t bytes = (std::size_t)(count * 2) * (sizeof(double) + sizeof(float));
  double* mean = static_cast<double*>(scratch(context, scratch_slot::moments, bytes));
  if (mean == nullptr) return out_of_memory(bytes);
  const conv_moments moments{a.epsilon, mean, mean + count};
  const versemi_status status = method(context, operation, &moments);
  if (status.code != VERSEMI_OK) return status;
  float* spare = reinterpret_cast<float*>(mean + 2 * count);
  float *mean_out = output(buffers[buffer::mean]), *rstd_out = output(buffers[buffer::rstd]);
  if (mean_out == nullptr) mean_out = spare;
  if (rstd_out == nullptr) rstd_out = spare + count;
  for (int64_t i = 0; i < count; i++) {
    mean_out[i] = (float)moments.mean[i];
    rstd_out[i] = (float)moments.rstd[i];
  }
  const int64_t voxels = a.transposed ? a.in_d * a.in_h * a.in_w : a.out_d * a.out_h * a.out_w;
  return normalize_relu(context, raw, mean_out, rstd_out, input(buffers[buffer::skip]), result, a.n, voxels, channels, a.relu);
}

// Why minimal filtering does not serve a problem; nullptr where it does.
const char* filtering_refuses(versemi_context* context, const convolution_attributes& attributes, bool transposed) {
  const versemi_conv_problem problem = conv_problem_of(attributes);
  conv_operation operation;
  const bool made = transposed
                        ? grad_input_operation(context, problem, nullptr, nullptr, nullptr, nullptr, &operation)
                        : forward_operation(context, problem, nullptr, nullptr, nullptr, nullptr, &operation);
  winograd_plan plan;
  return made ? plan_winograd(context, operation, &plan) : "no memory for the passes";
}
const char* forward_refuses(versemi_context* context, const double* attributes, int32_t) {
  return filtering_refuses(context, conv3d_forward_attributes(attributes), false);
}
const char* grad_input_refuses(versemi_context* context, const double* attributes, int32_t) {
  return filtering_refuses(context, conv3d_grad_input_attributes(attributes), true);
}
const char* norm_relu_refuses(versemi_context* context, const double* attributes, int32_t) {
  const conv3d_norm_relu_attributes a(attributes);
  return filtering_refuses(context, a, a.transposed);
}

const versemi_kernel rows[] = {
    {VERSEMI_CONV3D_FORWARD, VERSEMI_ROW_NAME("winograd"), forward_refuses, run_forward<run_winograd>},
    {VERSEMI_CONV3D_FORWARD, VERSEMI_ROW_NAME("direct"), takes_all, run_forward<run_direct>},
    {VERSEMI_CONV3D_GRAD_INPUT, VERSEMI_ROW_NAME("winograd"), grad_input_refuses, run_grad_input<run_winograd>},
    {VERSEMI_CONV3D_GRAD_INPUT, VERSEMI_ROW_NAME("direct"), takes_all, run_grad_input<run_direct>},
    {VERSEMI_CONV3D_NORM_RELU, VERSEMI_ROW_NAME("winograd"), norm_relu_refuses, run_norm_relu<run_winograd>},
    {VERSEMI_CONV3D_NORM_RELU, VERSEMI_ROW_NAME("direct"), takes_all, run_norm_relu<run_direct>},
};

}  // namespace

kernel_rows conv3d_kernels() { return kernel_rows{rows, sizeof rows / sizeof rows[0]}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
