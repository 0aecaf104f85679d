// A device as the addon sees it: buffers, threads and the kernel table. One per createDevice, used by one thread.
#ifndef VERSEMI_ADDON_SESSION_H
#define VERSEMI_ADDON_SESSION_H

#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"
#include "versemi/kernel_table.h"

namespace versemi {

class session {
 public:
  // threads <= 0: one per core this process may use. Throws std::bad_alloc when there is no memory for a thread pool.
  // A precision that the CPU does not offer: std::invalid_argument, whose message says what there is.
  session(int threads, int64_t memory_limit_bytes, bool poison, bool exact, const std::string& precision);
  ~session();
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  buffer_pool& buffers() { return buffers_; }
  // Copies between the start of a buffer and `bytes` bytes of host memory.
  versemi_status transfer(buffer_pool::buffer_id id, void* host, int64_t bytes, bool to_device);
  versemi_status run(int32_t op, const double* ids, int32_t buffer_count, const double* attributes,
                     int32_t attribute_count);
  // VERSEMI_OK if a kernel takes this call, else the reasons of all.
  versemi_status refuses(int32_t op, const double* attributes, int32_t attribute_count);
  void trim();

  const char* isa() const;
  int threads() const;
  std::string description() const;
  static const char* compiler();

 private:
  versemi_context* context_;
  buffer_pool buffers_;
  std::vector<versemi_buffer> call_;  // buffers of the call being made; kept for its capacity
};

}  // namespace versemi

#endif
