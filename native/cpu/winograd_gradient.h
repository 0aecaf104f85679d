// Gradient of the weights of convolutions with 3 x 3 x 3 kernels and stride 1 by minimal filtering (winograd_maps.h) along all
// three axes. Blocks and planes are those of winograd.h; per plane the sum over voxels becomes a sum over blocks,
//   sums[plane][channel][column] = sum over blocks of inputs[plane][block][channel] * gradients[plane][block][column],
// and one map at the end makes the 27 taps of it.
#ifndef VERSEMI_CPU_WINOGRAD_GRADIENT_H
#define VERSEMI_CPU_WINOGRAD_GRADIENT_H

#include "conv3d_call.h"

namespace versemi {
namespace VERSEMI_ISA {

struct winograd_gradient_plan {
  int out[3];  // size of a block of gradients
  int planes;  // values of a mapped block: the product of out + 2
  int64_t grid[3];
  int64_t blocks;                 // of all samples
  int64_t depth, width;           // input and output channels, filled up to whole vectors
  int64_t rows, columns;          // channels of the mapped inputs and gradients that lie together: slices of them
  int64_t row_slices, column_slices;
  // The blocks are cut into parts, those into chunks: what is mapped at once. Where all sums of a thread stay in its cache
  // (one slice of rows, one of columns), a task is a part, which gives a partial result. Else (`grouped`) the parts follow each
  // other: their chunks are mapped by all threads, then a task is a pair of slices, whose sums go on from part to part.
  bool grouped;
  int64_t parts, chunks;
};

// False where the direct sum serves: other kernels and strides, too few channels or voxels for it to pay, an exact context.
// The choice follows from the problem alone, not from the threads.
bool plan_winograd_gradient(const versemi_context* context, const versemi_conv_problem& problem,
                            winograd_gradient_plan* plan);

versemi_status run_winograd_gradient(versemi_context* context, const conv3d_call& call, const winograd_gradient_plan& plan);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
