// Convolutions with 3 x 3 x 3 kernels and stride 1 by minimal filtering (winograd_maps.h) along all three axes: forward and
// grad-input, as one pass of conv_pass.h. A block is a box of output voxels, 2 or 4 along each axis; it reads a box that is
// two voxels longer. Mapped, both become as many values ("planes") as the box of inputs has voxels, and the sum over taps and
// channels becomes one small product of matrices per plane: [block, channel] x [channel, column].
#ifndef VERSEMI_CPU_WINOGRAD_H
#define VERSEMI_CPU_WINOGRAD_H

#include "conv_pass.h"

namespace versemi {
namespace VERSEMI_ISA {

struct winograd_plan {
  int out[3];     // size of a block
  int in[3];      // of what it reads: out + 2
  int planes;     // in[0] * in[1] * in[2]
  int64_t grid[3];
  int64_t blocks;           // of a sample
  int64_t depth;            // input channels, filled up to whole vectors
  int64_t vectors;          // of output columns
  int64_t column_blocks;    // of as many vectors as one tile of conv_tile.h holds; of fewer in groups
  int64_t slice;            // channels of mapped inputs that lie together
  // A chunk is a run of blocks of one sample: what goes through the cache at once, and what one partial sum of the
  // statistics covers. chunk i of a sample begins at block blocks * i / chunks.
  int64_t chunks;
  int64_t chunk_blocks;  // the most blocks of a chunk
  // 0: the weights are mapped first, and a thread takes a chunk through all other steps while it is in its cache. Else the
  // steps follow each other over this many blocks (whole chunks, of any samples), each step spread over the threads: where
  // the mapped weights are too large to be kept, or to be read for every chunk.
  int64_t group_blocks;
};

// nullptr, or why the direct sum serves: another kernel or stride, too few channels or voxels for filtering to pay, an exact
// context. The choice follows from the operation alone, not from the threads.
const char* plan_winograd(const versemi_context* context, const conv_operation& operation, winograd_plan* plan);

// As run_direct; VERSEMI_UNSUPPORTED where plan_winograd refuses.
versemi_status run_winograd(versemi_context* context, const conv_operation& operation, const conv_moments* moments);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
