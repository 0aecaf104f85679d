#include "device/pinned.h"

#include <algorithm>
#include <cstring>

namespace versemi {
namespace cuda {

pinned_ring::~pinned_ring() {
  for (segment& each : ring_) {
    if (each.pending) cudaEventSynchronize(each.free);
    if (each.free != nullptr) cudaEventDestroy(each.free);
    if (each.memory != nullptr) cudaFreeHost(each.memory);
  }
}

// Closes the current segment and opens the one after it, as soon as the copies out of that are done.
versemi_status pinned_ring::next(cudaStream_t stream) {
  segment& last = ring_[current_];
  if (last.used > 0) {
    const versemi_status status = check(cudaEventRecord(last.free, stream), "cudaEventRecord");
    if (status.code != VERSEMI_OK) return status;
    last.pending = true;
  }
  current_ = (current_ + 1) % segments;
  segment& open = ring_[current_];
  if (open.pending) {
    const versemi_status status = check(cudaEventSynchronize(open.free), "waiting for an upload");
    if (status.code != VERSEMI_OK) return status;
    open.pending = false;
  }
  open.used = 0;
  return ok();
}

versemi_status pinned_ring::copy(void* device, const void* host, std::size_t bytes, cudaStream_t stream) {
  constexpr std::size_t alignment = 256;
  const std::lock_guard<std::mutex> lock(mutex_);
  const unsigned char* from = static_cast<const unsigned char*>(host);
  unsigned char* to = static_cast<unsigned char*>(device);
  while (bytes > 0) {
    if (ring_[current_].used == segment_bytes_) {
      const versemi_status status = next(stream);
      if (status.code != VERSEMI_OK) return status;
    }
    segment& open = ring_[current_];
    if (open.memory == nullptr) {
      void* memory = nullptr;
      versemi_status status = check(cudaMallocHost(&memory, segment_bytes_), "pinned memory");
      if (status.code == VERSEMI_OK)
        status = check(cudaEventCreateWithFlags(&open.free, cudaEventDisableTiming), "cudaEventCreate");
      if (status.code != VERSEMI_OK) {
        if (memory != nullptr) cudaFreeHost(memory);
        return status;
      }
      open.memory = static_cast<unsigned char*>(memory);
    }
    const std::size_t piece = std::min(bytes, segment_bytes_ - open.used);
    std::memcpy(open.memory + open.used, from, piece);
    const versemi_status status =
        check(cudaMemcpyAsync(to, open.memory + open.used, piece, cudaMemcpyHostToDevice, stream), "upload");
    if (status.code != VERSEMI_OK) return status;
    open.used = std::min(segment_bytes_, round_up(open.used + piece, alignment));
    from += piece;
    to += piece;
    bytes -= piece;
  }
  return ok();
}

read_cache::~read_cache() {
  for (const host_read& read : free_) {
    cudaEventDestroy(read.arrived);
    cudaFreeHost(read.pinned);
  }
}

versemi_status read_cache::take(std::int64_t bytes, host_read* read) {
  const std::size_t wanted = static_cast<std::size_t>(std::max<std::int64_t>(bytes, 4096));
  const auto fits = std::find_if(free_.begin(), free_.end(), [&](const host_read& each) {
    return each.capacity >= wanted && each.capacity <= 4 * wanted;
  });
  if (fits != free_.end()) {
    *read = *fits;
    read->bytes = bytes;
    free_bytes_ -= fits->capacity;
    free_.erase(fits);
    return ok();
  }
  *read = host_read();
  versemi_status status = check(cudaMallocHost(&read->pinned, wanted), "pinned memory");
  if (status.code == VERSEMI_OK)
    status = check(cudaEventCreateWithFlags(&read->arrived, cudaEventDisableTiming | cudaEventBlockingSync), "cudaEventCreate");
  if (status.code != VERSEMI_OK && read->pinned != nullptr) cudaFreeHost(read->pinned);
  read->capacity = wanted;
  read->bytes = bytes;
  return status;
}

void read_cache::give(const host_read& read) {
  if (read.capacity > kept_bytes - std::min(kept_bytes, free_bytes_)) {
    cudaEventDestroy(read.arrived);
    cudaFreeHost(read.pinned);
    return;
  }
  free_bytes_ += read.capacity;
  free_.push_back(read);
}

}  // namespace cuda
}  // namespace versemi
