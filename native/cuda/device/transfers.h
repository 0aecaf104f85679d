// Values between host and device: writes, reads, and uploads beside the kernels.
#ifndef VERSEMI_CUDA_TRANSFERS_H
#define VERSEMI_CUDA_TRANSFERS_H

#include <cstdint>

#include "core/context.h"
#include "device/buffers.h"
#include "device/formats.h"
#include "device/pinned.h"

namespace versemi {
namespace cuda {

// An upload on the stream of the copies.
struct upload {
  buffer_id target = 0;
  memory_block* shadow = nullptr;
  const void* host = nullptr;
  std::int64_t bytes = 0;
  cudaEvent_t arrived = nullptr;   // recorded by run_upload
  cudaEvent_t consumed = nullptr;  // the last commit of this buffer; before the first: the kernels that used the shadow's memory
};

// Everything on the session's thread, unless said otherwise.
class transfer_queue {
 public:
  transfer_queue(context& device, const device_streams& streams, block_pool& pool, graph_table& graphs, buffer_table& buffers,
                 buffer_formats& formats);

  // Host bytes to the start of the buffer. The host memory may change as soon as it returns.
  versemi_status write(buffer_id id, const void* host, std::int64_t bytes);
  // Waits.
  versemi_status read(buffer_id id, void* host, std::int64_t bytes);
  // The same in three parts; wait_read on any thread. Buffer 0, 0 bytes: waits for the kernels.
  versemi_status begin_read(buffer_id id, std::int64_t bytes, host_read* read);
  versemi_status wait_read(const host_read& read, void* host) const;
  void end_read(const host_read& read) { reads_.give(read); }

  // Uploads what the buffer will hold next, while kernels still use what it holds now. run_upload on any thread: the host
  // memory must not change before it returns. commit, after end_upload, makes the values those of the buffer, in order with
  // the kernels.
  versemi_status begin_upload(buffer_id id, const void* host, std::int64_t bytes, upload* job);
  versemi_status run_upload(const upload& job);
  void end_upload(const upload& job, bool arrived);
  versemi_status commit(buffer_id id);
  // The buffer is about to go: its shadow is free, or belongs to the upload that is under way.
  void abandon(buffer& slot);

 private:
  versemi_status use_device() const { return check(cudaSetDevice(device_.properties().ordinal), "cudaSetDevice"); }

  context& device_;
  const device_streams& streams_;
  block_pool& pool_;
  graph_table& graphs_;
  buffer_table& buffers_;
  buffer_formats& formats_;
  pinned_ring writes_, uploads_;
  read_cache reads_;
};

}  // namespace cuda
}  // namespace versemi

#endif
