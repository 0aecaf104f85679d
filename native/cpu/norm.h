// Normalisation shared with the convolution that is followed by one. Namespaced per instruction set like simd.h.
#ifndef VERSEMI_CPU_NORM_H
#define VERSEMI_CPU_NORM_H

#include <cstdint>

#include "context.h"
#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

// Scratch slots that the functions below use.
constexpr int norm_scratch_partials = 6;
constexpr int norm_scratch_constants = 7;

// mean and rstd = 1 / sqrt(biased variance + epsilon), both [n, channels], of input [n, voxels, channels]. Sums are
// accumulated in double over fixed chunks. VERSEMI_OUT_OF_MEMORY when there is no scratch.
versemi_status instance_statistics(versemi_context* context, const float* input, std::int64_t n, std::int64_t voxels,
                                   std::int64_t channels, double epsilon, float* mean, float* rstd);

// output = relu((input - mean) * rstd) + skip for tensors [n, voxels, channels] and mean, rstd [n, channels]; without the
// ReLU where relu is false, without skip where it is nullptr. output may be input. NaN comes through.
versemi_status normalize_relu(versemi_context* context, const float* input, const float* mean, const float* rstd,
                              const float* skip, float* output, std::int64_t n, std::int64_t voxels,
                              std::int64_t channels, bool relu);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
