// The second half of a normalisation, for the convolution that gathers the moments itself.
#ifndef VERSEMI_CPU_NORM_H
#define VERSEMI_CPU_NORM_H

#include <cstdint>

#include "context.h"
#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

// output = relu((input - mean) * rstd) + skip for tensors [n, voxels, channels] and mean, rstd [n, channels]; without the
// ReLU where relu is false, without skip where it is nullptr. output may be input. NaN comes through.
versemi_status normalize_relu(versemi_context* context, const float* input, const float* mean, const float* rstd,
                              const float* skip, float* output, std::int64_t n, std::int64_t voxels,
                              std::int64_t channels, bool relu);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
