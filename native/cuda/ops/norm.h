// Normalisation shared with the convolutions that are followed by one.
#ifndef VERSEMI_CUDA_NORM_H
#define VERSEMI_CUDA_NORM_H

#include <cstdint>

#include "core/context.h"
#include "core/kernel.h"

namespace versemi {
namespace cuda {

// Scratch slots that the functions below use; a convolution keeps to others.
constexpr int norm_scratch_partials = 6;
constexpr int norm_scratch_constants = 7;

// mean and rstd = 1 / sqrt(biased variance + epsilon), both [n, channels], of input [n, voxels, channels].
versemi_status instance_statistics(context& device, const void* input, storage format, std::int64_t n, std::int64_t voxels,
                                   std::int64_t channels, double epsilon, float* mean, float* rstd);

// output = relu((input - mean) * rstd) + skip for tensors [n, voxels, channels], all of one format, and mean, rstd
// [n, channels]; without the ReLU where relu is false, without skip where it is nullptr. output may be input or skip. NaN
// comes through.
versemi_status normalize_relu(context& device, const void* input, const float* mean, const float* rstd, const void* skip,
                              void* output, storage format, std::int64_t n, std::int64_t voxels, std::int64_t channels, bool relu);

}  // namespace cuda
}  // namespace versemi

#endif
