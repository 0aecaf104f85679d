// Buffers of the device: ids, sizes, and the memory behind them.
//
// Lazy memory. A buffer begins as an id and a size in float32 elements. Memory is taken when something first fills the buffer:
// a kernel, in the format that its plan chose, or the host, as float32.
#ifndef VERSEMI_CUDA_BUFFERS_H
#define VERSEMI_CUDA_BUFFERS_H

#include <cstdint>
#include <vector>

#include "core/context.h"
#include "device/blocks.h"
#include "device/graphs.h"

namespace versemi {
namespace cuda {

using buffer_id = std::int64_t;

// Kernels run on one stream, in order; uploads run beside them on the other.
struct device_streams {
  cudaStream_t kernels = nullptr, copies = nullptr;

  device_streams() = default;
  device_streams(const device_streams&) = delete;
  device_streams& operator=(const device_streams&) = delete;
  ~device_streams() {
    for (cudaStream_t stream : {kernels, copies})
      if (stream != nullptr) cudaStreamDestroy(stream);
  }
};

struct buffer {
  std::int64_t bytes = 0;
  std::int64_t generation = 0;
  bool live = false;
  memory_block* memory = nullptr;  // none before it is filled
  storage format = storage::float32;

  // Of an upload (transfers.h): what the buffer will hold next. The events exist from the first upload on.
  memory_block* shadow = nullptr;
  cudaEvent_t arrived = nullptr, consumed = nullptr;
  bool uploading = false, uploaded = false, committed = false;

  // A sum over ranks is under way in the memory (rank_sums.h): the event after it, until something uses the buffer again.
  cudaEvent_t summed = nullptr;

  std::int64_t elements() const { return (bytes + 3) / 4; }
};

// Bytes unless said otherwise.
struct device_memory_use {
  std::int64_t buffers = 0;  // live
  std::int64_t in_use = 0;
  std::int64_t pooled = 0;   // kept for reuse: free blocks, scratch, and what captured graphs hold
  std::int64_t scratch = 0;  // of these, what kernels asked for besides their tensors
  std::int64_t peak = 0;     // of in_use and scratch together, since the last trim
};

class buffer_table {
 public:
  // limit_bytes: of all blocks. poison: new memory is filled with NaN, and 64 bytes behind each buffer are checked.
  buffer_table(const device_properties& properties, const device_streams& streams, block_pool& pool, graph_table& graphs,
               std::int64_t limit_bytes, bool poison);
  ~buffer_table();
  buffer_table(const buffer_table&) = delete;
  buffer_table& operator=(const buffer_table&) = delete;

  versemi_status allocate(std::int64_t bytes, buffer_id* id);
  // Uploads into it were abandoned before. The buffer goes in any case; the status tells what a kernel did to the guard.
  versemi_status release(buffer& slot);
  // nullptr for an id that is stale or never was. What is done with the buffer from now on comes after a sum that is under way in it.
  buffer* at(buffer_id id);
  static versemi_status not_live(buffer_id id);
  versemi_status check_range(const buffer& slot, std::int64_t bytes) const;

  // A buffer's number stays when the table grows; its address does not.
  std::int64_t number_of(const buffer& slot) const { return &slot - slots_.data(); }
  buffer& by_number(std::int64_t number) { return slots_[static_cast<std::size_t>(number)]; }

  // Gives memory to a buffer that has none. constant: the host fills it during a capture.
  versemi_status fill(buffer& slot, storage format, bool constant = false);
  // Scratch of kernels; nullptr when there is none left, and then refused_scratch() says how much was asked.
  void* scratch(scratch_slot slot, std::size_t bytes);
  std::int64_t refused_scratch() const { return refused_scratch_; }
  void forget_refused_scratch() { refused_scratch_ = 0; }

  // VERSEMI_OUT_OF_MEMORY with how much was asked, how much is free and who has the rest; the host adds which settings to lower.
  versemi_status no_memory(std::int64_t bytes) const;
  device_memory_use use() const;
  // Gives free memory back and begins to count the peak anew.
  void trim();

 private:
  void order_after_sum(buffer& slot) const;
  void poison(const memory_block& block, std::int64_t bytes, cudaStream_t stream) const;
  versemi_status check_guard(const buffer& slot) const;

  const device_properties& properties_;
  const device_streams& streams_;
  block_pool& pool_;
  graph_table& graphs_;
  std::int64_t limit_bytes_;
  bool poisoned_;
  std::vector<buffer> slots_;
  std::vector<std::int64_t> free_numbers_;
  std::int64_t live_ = 0;
  memory_block* scratch_[scratch_slots] = {};
  std::int64_t refused_scratch_ = 0;
};

}  // namespace cuda
}  // namespace versemi

#endif
