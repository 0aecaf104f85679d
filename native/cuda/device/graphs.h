// A captured graph: launches in order, replayed by one call. It has addresses baked in: of the blocks that were taken during
// the capture, which it holds, and of buffers that were there before, which it watches.
#ifndef VERSEMI_CUDA_GRAPHS_H
#define VERSEMI_CUDA_GRAPHS_H

#include <cstdint>
#include <vector>

#include "device/blocks.h"

namespace versemi {
namespace cuda {

struct graph {
  held_blocks blocks;
  std::vector<std::int64_t> outside;  // numbers of the buffers that it uses and did not make
  cudaGraphExec_t program = nullptr;  // nullptr once it is no longer valid
};

}  // namespace cuda
}  // namespace versemi

#endif
