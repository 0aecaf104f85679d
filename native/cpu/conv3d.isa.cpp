// Rows of the table: conv3d_forward, conv3d_grad_input, conv3d_norm_relu, each by minimal filtering and as a direct sum.
#include "conv3d_call.h"
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
versemi_status run_forward(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                           const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_forward(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  conv_operation operation;
  if (!forward_operation(context, call.problem, call.input, call.weight, call.bias, call.output, &operation))
    return out_of_memory(sizeof(conv_pass));
  return method(context, operation, nullptr);
}

template <conv_method method>
versemi_status run_grad_input(versemi_context* context, const versemi_buffer* buffers, int32_t buffer_count,
                              const double* attributes, int32_t attribute_count) {
  conv3d_call call;
  const versemi_status status = read_conv3d_grad_input(&call, buffers, buffer_count, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  conv_operation operation;
  if (!grad_input_operation(context, call.problem, call.output, call.weight, call.bias, call.input, &operation))
    return out_of_memory(sizeof(conv_pass));
  return method(context, operation, nullptr);
}

template <conv_method method>
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

  // Mean and deviation in double, then as floats.
  const int64_t count = call.problem.n * call.channels();
  const std::size_t bytes = (std::size_t)(count * 2) * (sizeof(double) + sizeof(float));
  double* mean = static_cast<double*>(scratch(context, scratch_slot::moments, bytes));
  if (mean == nullptr) return out_of_memory(bytes);
  const conv_moments moments{call.epsilon, mean, mean + count};
  status = method(context, operation, &moments);
  if (status.code != VERSEMI_OK) return status;
  float* spare = reinterpret_cast<float*>(mean + 2 * count);
  float* mean_out = call.mean != nullptr ? call.mean : spare;
  float* rstd_out = call.rstd != nullptr ? call.rstd : spare + count;
  for (int64_t i = 0; i < count; i++) {
    mean_out[i] = (float)moments.mean[i];
    rstd_out[i] = (float)moments.rstd[i];
  }
  return normalize_relu(context, raw, mean_out, rstd_out, call.skip, call.result, call.problem.n, call.voxels(),
                        call.channels(), call.relu);
}

// Why minimal filtering does not serve a call; nullptr where it does.
const char* filtering_refuses(versemi_context* context, const double* attributes, int32_t attribute_count,
                              bool transposed) {
  versemi_conv_problem problem;
  const char* reason = versemi_read_conv_problem(&problem, attributes, attribute_count);
  if (reason != nullptr) return reason;
  conv_operation operation;
  const bool made = transposed
                        ? grad_input_operation(context, problem, nullptr, nullptr, nullptr, nullptr, &operation)
                        : forward_operation(context, problem, nullptr, nullptr, nullptr, nullptr, &operation);
  winograd_plan plan;
  return made ? plan_winograd(context, operation, &plan) : "no memory for the passes";
}
const char* forward_refuses(versemi_context* context, const double* attributes, int32_t attribute_count) {
  return filtering_refuses(context, attributes, attribute_count, false);
}
const char* grad_input_refuses(versemi_context* context, const double* attributes, int32_t attribute_count) {
  return filtering_refuses(context, attributes, attribute_count, true);
}
const char* norm_relu_refuses(versemi_context* context, const double* attributes, int32_t attribute_count) {
  return filtering_refuses(context, attributes, attribute_count, attributes[VERSEMI_CONV_ATTRIBUTES] != 0);
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
