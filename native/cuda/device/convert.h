// Between the two formats in which a buffer may lie in memory.
#ifndef VERSEMI_CUDA_CONVERT_H
#define VERSEMI_CUDA_CONVERT_H

#include <cstdint>

#include "core/context.h"

namespace versemi {
namespace cuda {

constexpr std::int64_t bytes_per_element(storage format) { return format == storage::bfloat16 ? 2 : 4; }

// to[i] = from[i] for i < elements; asynchronous on the context's stream. Both 16-byte aligned; formats differ.
// float32 -> bfloat16 rounds to nearest even; the way back is exact.
versemi_status convert(context& device, const void* from, storage from_format, void* to, std::int64_t elements);

// cudaSuccess if the device can run the kernels of this build, else what the runtime says.
cudaError_t kernels_load();

}  // namespace cuda
}  // namespace versemi

#endif
