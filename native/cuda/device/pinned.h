// Pinned memory of the host: through it, copies between host and device run beside the caller.
#ifndef VERSEMI_CUDA_PINNED_H
#define VERSEMI_CUDA_PINNED_H

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/context.h"

namespace versemi {
namespace cuda {

// Host to device: the bytes go through a ring of pinned segments, so that the caller may change its memory as soon as `copy`
// returns, while the copy itself waits for its turn on the stream. May be called by several threads.
class pinned_ring {
 public:
  explicit pinned_ring(std::size_t segment_bytes) : segment_bytes_(segment_bytes) {}
  ~pinned_ring();
  pinned_ring(const pinned_ring&) = delete;
  pinned_ring& operator=(const pinned_ring&) = delete;

  versemi_status copy(void* device, const void* host, std::size_t bytes, cudaStream_t stream);

 private:
  static constexpr int segments = 8;
  struct segment {
    unsigned char* memory = nullptr;
    std::size_t used = 0;
    cudaEvent_t free = nullptr;  // after the last copy out of it
    bool pending = false;
  };

  versemi_status next(cudaStream_t stream);

  std::mutex mutex_;
  std::size_t segment_bytes_;
  segment ring_[segments];
  int current_ = 0;
};

// A read that is under way: the bytes arrive in pinned memory when the event has passed.
struct host_read {
  void* pinned = nullptr;
  std::size_t capacity = 0;
  std::int64_t bytes = 0;
  cudaEvent_t arrived = nullptr;
};

// Pinned memory and events of reads, kept for the next ones. One thread.
class read_cache {
 public:
  ~read_cache();
  versemi_status take(std::int64_t bytes, host_read* read);
  void give(const host_read& read);

 private:
  static constexpr std::size_t kept_bytes = std::size_t{256} << 20;
  std::vector<host_read> free_;
  std::size_t free_bytes_ = 0;
};

}  // namespace cuda
}  // namespace versemi

#endif
