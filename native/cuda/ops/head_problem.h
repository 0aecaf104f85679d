// The dynamic head: sizes, and where its parameters and the sums of their gradients lie.
#ifndef VERSEMI_CUDA_HEAD_PROBLEM_H
#define VERSEMI_CUDA_HEAD_PROBLEM_H

#include <cstdint>

#include "core/context.h"

namespace versemi {
namespace cuda {

struct head_problem {
  std::int64_t n, voxels;
  int prompts, width;
};

// Offsets in one (sample, prompt)'s parameters: W1 at 0, then the others.
struct head_parameters {
  int w2, w3, b1, b2, b3, count;
  __host__ __device__ constexpr explicit head_parameters(int width)
      : w2(width * width), w3(2 * width * width), b1(w3 + 2 * width), b2(b1 + width), b3(b2 + width), count(b3 + 2) {}
};

// Sums over voxels that make their gradients: W1, W2, W3[1], b1, b2, b3[1]. The first rows of W3 and b3 get the negatives.
struct head_sums {
  int w2, w3, b1, b2, b3, count;
  __host__ __device__ constexpr explicit head_sums(int width)
      : w2(width * width), w3(2 * width * width), b1(w3 + width), b2(b1 + width), b3(b2 + width), count(b3 + 1) {}
};

// Which sum makes the gradient of a parameter, and its sign.
__host__ __device__ constexpr int sum_of_parameter(int width, int parameter, float* sign) {
  const head_parameters p(width);
  const head_sums s(width);
  const bool first_row = parameter >= p.w3 && parameter < p.w3 + width, first_bias = parameter == p.b3;
  *sign = first_row || first_bias ? -1.0f : 1.0f;
  if (parameter < p.w3) return parameter;
  if (parameter < p.b1) return s.w3 + (parameter - p.w3) % width;
  if (parameter < p.b3) return s.b1 + (parameter - p.b1);
  return s.b3;
}

// Width 8 with features as bfloat16, on tensor cores (head_mma.cu). partials [n][chunks][prompts][head_sums].
bool head_mma_fits(std::int64_t prompts);
versemi_status head_forward_mma(context& device, const head_problem& p, const void* features, const float* parameters, float* logits);
std::int64_t head_gradient_chunks(const context& device, const head_problem& p);
versemi_status head_gradient_mma(context& device, const head_problem& p, const float* grad_logits, const void* features,
                                 const float* parameters, void* grad_features, float* partials, std::int64_t chunks);

}  // namespace cuda
}  // namespace versemi

#endif
