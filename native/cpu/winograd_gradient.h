// Gradient of the weights of convolutions with 3 x 3 x 3 kernels and stride 1 by minimal filtering (winograd_maps.h) along all
// three axes. Blocks and planes are those of winograd.h; per plane the sum over voxels becomes a sum over blocks,
//   sums[plane][channel][column] = sum over blocks of inputs[plane][block][channel] * gradients[plane][block][column],
// and one map at the end makes the 27 taps of it.
#ifndef VERSEMI_CPU_WINOGRAD_GRADIENT_H
#define VERSEMI_CPU_WINOGRAD_GRADIENT_H

#include "conv_grad_call.h"

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
  // The blocks are taken in parts, one after the other. Chunks of a part are mapped by all threads. Then a task is a pair of
  // slices, or a segment of the planes of one, whose sums go on from part to part.
  int64_t parts, chunks, segments;
};

// nullptr, or why the direct sum serves: another kernel or stride, too few channels or voxels for filtering to pay, an exact
// context. The choice follows from the problem alone, not from the threads.
const char* plan_winograd_gradient(const versemi_context* context, const versemi_conv_problem& problem,
                                   winograd_gradient_plan* plan);

// VERSEMI_UNSUPPORTED where plan_winograd_gradient refuses.
versemi_status run_winograd_gradient(versemi_context* context, const grad_weight_call& call);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
