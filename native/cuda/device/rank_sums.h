// Sums over the GPUs of several processes, one each, through NCCL. They run on a stream of their own, beside the kernels, and the two meet
// by events: nothing here waits for a sum.
#ifndef VERSEMI_CUDA_RANK_SUMS_H
#define VERSEMI_CUDA_RANK_SUMS_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "core/context.h"
#include "device/nccl.h"

namespace versemi {
namespace cuda {

// The thread of the session, unless said otherwise.
class rank_sums {
 public:
  rank_sums(const device_properties& properties, const cudaStream_t& kernels) : properties_(properties), kernels_(kernels) {}
  ~rank_sums() { leave(true); }
  rank_sums(const rank_sums&) = delete;
  rank_sums& operator=(const rank_sums&) = delete;

  // The library that the sums go through from now on. Its version; "": `found` says what is there instead.
  std::string use_library(const std::string& file, std::string* found);
  // What rank 0 makes and every rank joins with.
  versemi_status make_id(nccl_unique_id* id);
  // Meets the other ranks; waits for them; any thread. alarm: a rank of them is lost once it is not 0, and the sums that wait for it are
  // given up; it must stay until `leave`.
  versemi_status join(const nccl_unique_id& id, int rank, int ranks, const std::int32_t* alarm);
  bool joined() const { return communicator_ != nullptr; }

  // values[i] = sum over the ranks, float32, in place, after the kernels called so far. Every rank calls it with as many elements in the
  // same order. *summed: an event that kernels which need the sum wait for; the caller destroys it.
  versemi_status start(float* values, std::int64_t elements, cudaEvent_t* summed);
  // ok(), or why sums were given up: what was read since then is no result. Any thread.
  versemi_status state() const;
  // Ends it. at_once: gives up what is under way, as no other rank comes to it any more. Otherwise every rank must have come here, with
  // its sums done.
  void leave(bool at_once);

 private:
  void watch();

  const device_properties& properties_;
  const cudaStream_t& kernels_;
  const nccl_functions* nccl_ = nullptr;
  nccl_communicator communicator_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t ready_ = nullptr;
  const std::int32_t* alarm_ = nullptr;

  // Held during a call of NCCL, which waits for other ranks where it connects with them.
  std::timed_mutex calls_;
  std::atomic<bool> given_up_{false};
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable wake_;
  bool leaving_ = false;
  std::string reason_;
  std::thread watcher_;
};

}  // namespace cuda
}  // namespace versemi

#endif
