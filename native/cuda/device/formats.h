// In which format a buffer lies in memory, and what is converted for a kernel that wants another one.
#ifndef VERSEMI_CUDA_FORMATS_H
#define VERSEMI_CUDA_FORMATS_H

#include <cstdint>

#include "core/context.h"
#include "device/blocks.h"
#include "device/buffers.h"
#include "device/graphs.h"

namespace versemi {
namespace cuda {

constexpr std::int64_t bytes_per_element(storage format) { return format == storage::bfloat16 ? 2 : 4; }

// to[i] = from[i] for i < elements; asynchronous on the context's stream. Both 16-byte aligned; formats differ.
// float32 -> bfloat16 rounds to nearest even; the way back is exact. convert.cu.
versemi_status convert(context& device, const void* from, storage from_format, void* to, std::int64_t elements);

// cudaSuccess if the device can run the kernels of this build, else what the runtime says. convert.cu.
cudaError_t kernels_load();

class buffer_formats {
 public:
  // device: whose stream conversions run on; it is used by calls only, not by the constructor.
  buffer_formats(context& device, buffer_table& buffers, block_pool& pool, graph_table& graphs)
      : device_(device), buffers_(buffers), pool_(pool), graphs_(graphs) {}

  // Memory as float32, for what the host writes or a kernel changes in place: taken, or what is there converted.
  versemi_status store_as_float32(buffer& slot);

  // Memory of one tensor of a call, in the format that `wanted` says, which gets its address. *converted: scratch that holds
  // it where the buffer itself lies in another format, else nullptr. An output that is stored narrow and is wanted as float32
  // becomes float32, so that what is there keeps counting, at full precision.
  versemi_status borrow(buffer& slot, bool output, tensor* wanted, memory_block** converted);
  // After the call: `written` elements of an output go from scratch into the buffer (0: none), and the scratch is free.
  versemi_status give_back(buffer& slot, std::int64_t written, const tensor& used, memory_block* converted);

 private:
  context& device_;
  buffer_table& buffers_;
  block_pool& pool_;
  graph_table& graphs_;
};

}  // namespace cuda
}  // namespace versemi

#endif
