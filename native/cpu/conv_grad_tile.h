// The innermost kernel of grad-weight: `rows` input channels times `vectors` vectors of output channels, held in registers
// over the voxels of several lines. See conv3d_grad_weight.isa.cpp for what surrounds it.
#ifndef VERSEMI_CPU_CONV_GRAD_TILE_H
#define VERSEMI_CPU_CONV_GRAD_TILE_H

#include "conv_tile.h"

namespace versemi {
namespace VERSEMI_ISA {

// out[r * out_step + c] (+)= sum over lines s and voxels v < count of
//   x[x_offset[s] + v * x_step + r] * grad[grad_offset[s] + v * grad_step + c]
struct grad_tile_call {
  const float* x;
  const std::int64_t* x_offset;
  std::int64_t x_step;
  const float* grad;  // read in whole vectors
  const std::int64_t* grad_offset;
  std::int64_t grad_step;
  std::int64_t lines;
  std::int64_t count;
  float* out;
  std::int64_t out_step;
  std::int64_t columns;  // written: more than (vectors - 1) * lanes
  bool accumulate;       // add to `out` instead of overwriting it
};

using grad_tile_function = void (*)(const grad_tile_call& call);

// 1 <= vectors <= max_tile_vectors, 1 <= rows <= max_tile_voxels(vectors)
grad_tile_function grad_tile_for(int rows, int vectors);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
