// Unpacks and checks the calls of the convolution family, for the fast rows and the plain ones alike.
#ifndef VERSEMI_CPU_CONV3D_CALL_H
#define VERSEMI_CPU_CONV3D_CALL_H

#include "context.h"
#include "versemi/conv_problem.h"

namespace versemi {

// Buffers by name; nullptr where an optional one is absent. Shapes are those of conv_problem.h.
struct conv3d_call {
  versemi_conv_problem problem;
  // conv3d_forward: input, weight, bias -> output
  // conv3d_grad_input: output (= gradOutput), weight, bias [in_channels] -> input (= gradInput)
  // conv3d_grad_weight: input, output (= gradOutput) -> weight (= gradWeight), bias (= gradBias)
  float* input = nullptr;
  float* weight = nullptr;
  float* bias = nullptr;
  float* output = nullptr;
};

// conv3d_norm_relu: the source is read by the convolution, `result` has the shape of what it makes.
struct conv3d_norm_call {
  versemi_conv_problem problem;
  bool transposed = false;
  bool relu = false;
  double epsilon = 0;
  const float* source = nullptr;
  const float* weight = nullptr;
  const float* skip = nullptr;
  float* result = nullptr;
  float* raw = nullptr;
  float* mean = nullptr;
  float* rstd = nullptr;

  int64_t voxels() const {
    const int64_t* size = transposed ? problem.in : problem.out;
    return size[0] * size[1] * size[2];
  }
  int64_t channels() const { return transposed ? problem.in_channels : problem.out_channels; }
};

// Each returns VERSEMI_OK, or VERSEMI_INVALID_ARGUMENT saying what does not fit.
versemi_status read_conv3d_forward(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                   const double* attributes, int32_t attribute_count) noexcept;
versemi_status read_conv3d_grad_input(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                      const double* attributes, int32_t attribute_count) noexcept;
versemi_status read_conv3d_grad_weight(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                       const double* attributes, int32_t attribute_count) noexcept;
versemi_status read_conv3d_norm_relu(conv3d_norm_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                     const double* attributes, int32_t attribute_count) noexcept;

}  // namespace versemi

#endif
