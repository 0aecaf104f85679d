// Tensor maps of five dimensions: what a tensor copy of Hopper needs to know of a tensor in device memory and of the box that
// it moves. Host side; a kernel takes one as `const __grid_constant__ tensor_map`.
#ifndef VERSEMI_CUDA_TENSOR_MAP_H
#define VERSEMI_CUDA_TENSOR_MAP_H

#include <cstdint>

#include "core/context.h"
#include "core/target.h"

#if !defined(VERSEMI_CUDA_EMULATED)
#include <cuda.h>
#endif

namespace versemi {
namespace cuda {

// Dimension 0 is contiguous bfloat16; the others lie `stride` bytes apart, in any order of size. box: elements of each
// dimension that one copy moves; box[0] is 64 (128 bytes, swizzled as hopper_layout.h says).
struct tensor_shape {
  void* data;
  std::uint64_t size[5];
  std::uint64_t stride[4];  // of dimensions 1 to 4
  std::uint32_t box[5];
};

#if defined(VERSEMI_CUDA_EMULATED)
struct alignas(64) tensor_map {
  tensor_shape shape;
};
#else
using tensor_map = CUtensorMap;
#endif

// VERSEMI_DEVICE_FAILED where the driver refuses the shape or has no tensor maps.
versemi_status make_tensor_map(tensor_map* map, const tensor_shape& shape) noexcept;

}  // namespace cuda
}  // namespace versemi

#endif
