// Forward and grad-input (= transposed) convolution as one kind of pass over a source tensor: every output voxel is a
// matrix product of a window of the source with a matrix of weights.
//
// Forward is one pass. Grad-input with stride s is one pass for every residue of the output position modulo s per axis
// (eight for 2x2x2 stride 2), each a convolution of stride 1 whose taps are those that reach this residue, in reverse; where
// no tap reaches, the bias is written.
#ifndef VERSEMI_CPU_CONV_PASS_H
#define VERSEMI_CPU_CONV_PASS_H

#include "context.h"
#include "versemi/conv_problem.h"

namespace versemi {
namespace VERSEMI_ISA {

// One axis of a pass. For 0 <= t < count and 0 <= m < taps:
// output position out_first + out_step * t, source position x_first + x_step * t + m, tap tap_first + tap_step * m.
struct pass_axis {
  int64_t count;
  int64_t out_first, out_step;
  int64_t x_first, x_step;
  int64_t taps, tap_first, tap_step;
};

struct conv_pass {
  pass_axis axis[3];
};

struct conv_operation {
  int64_t n;
  const float* x;  // [n, x_size, x_channels]
  int64_t x_size[3];
  int64_t x_channels;
  float* out;  // [n, out_size, columns]
  int64_t out_size[3];
  int64_t columns;  // channels of the output, or those of `column_sets` neighbours along W computed at once
  int64_t column_sets;
  const float* weight;  // [kernel, x_channels, columns], or reversed [kernel, columns, x_channels]
  int64_t kernel[3];
  bool weight_reversed;
  const float* bias;  // [columns / column_sets] or nullptr
  conv_pass* passes;
  int64_t pass_count;
};

// The two operations of a problem; `passes` come from scratch. False when out of memory.
bool forward_operation(versemi_context* context, const versemi_conv_problem& problem, const float* input,
                       const float* weight, const float* bias, float* output, conv_operation* operation);
bool grad_input_operation(versemi_context* context, const versemi_conv_problem& problem, const float* grad_output,
                          const float* weight, const float* bias, float* grad_input, conv_operation* operation);

// Moments of what an operation writes, gathered on the way: both [n, channels], rstd = 1 / sqrt(biased variance + epsilon).
struct conv_moments {
  double epsilon;
  double* mean;
  double* rstd;
};

// Runs all passes as plain sums. moments: nullptr where nobody asks for them.
versemi_status run_direct(versemi_context* context, const conv_operation& operation, const conv_moments* moments);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
