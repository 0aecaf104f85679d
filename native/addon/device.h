// A device as the N-API boundary sees it: the CPU's session, or the CUDA device. One per createDevice, used by one thread.
#ifndef VERSEMI_ADDON_DEVICE_H
#define VERSEMI_ADDON_DEVICE_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "buffers.h"
#include "versemi/kernel_table.h"
#include "versemi/row_filter.h"

namespace versemi {

// Above every code of kernel_table.h.
constexpr int32_t largest_op = 63;

// Rows of several ops share a name.
inline void add_row_name(const char* name, std::vector<std::string>* names) {
  for (const std::string& each : *names)
    if (each == name) return;
  names->push_back(name);
}

// Something that goes on beside the thread of the device: waited for on any thread, then ended on the device's own.
class task {
 public:
  virtual ~task() = default;
  virtual versemi_status wait() = 0;
  virtual void end(bool done) = 0;
};

class device {
 public:
  virtual ~device() = default;

  virtual versemi_status allocate(int64_t bytes, buffer_pool::buffer_id* id) = 0;
  virtual versemi_status release(buffer_pool::buffer_id id) = 0;
  // Copies between the start of a buffer and `bytes` bytes of host memory, which may change as soon as it returns.
  virtual versemi_status transfer(buffer_pool::buffer_id id, void* host, int64_t bytes, bool to_device) = 0;
  // ids: numbers as JavaScript has them; they and the attributes are checked first.
  virtual versemi_status run(int32_t op, const double* ids, int32_t buffer_count, const double* attributes,
                             int32_t attribute_count) = 0;
  // VERSEMI_OK if a kernel takes this call, else the reasons of all.
  virtual versemi_status refuses(int32_t op, const double* attributes, int32_t attribute_count) = 0;
  // What each row of an op says to a call, best first; the device takes the first that does not refuse.
  virtual versemi_status rows(int32_t op, const double* attributes, int32_t attribute_count, std::vector<row_answer>* answers) = 0;
  // Takes only the row of this name from now on; "": any again.
  virtual void use_row(const std::string& name) = 0;
  // Names of all rows that the device has, each once.
  virtual std::vector<std::string> row_names() const = 0;
  virtual memory_use use() const = 0;
  // Gives free memory back and begins to count the peak anew.
  virtual void trim() = 0;

  // "" where a device has no instruction sets to choose from.
  virtual std::string isa() const = 0;
  virtual int threads() const = 0;
  virtual std::string description() const = 0;
  // Of the operands of convolutions, as src/tfjs/devices/device.ts has it.
  virtual std::string precision() const { return "float32"; }

  // --- asynchronous devices; the defaults are those of one whose calls are done when they return ------------------------
  virtual bool asynchronous() const { return false; }
  // Begin something. No task: done already, or `status` says why not. The host memory belongs to the task until it ends.
  virtual std::unique_ptr<task> begin_read(buffer_pool::buffer_id id, void* host, int64_t bytes, versemi_status* status) {
    *status = transfer(id, host, bytes, false);
    return nullptr;
  }
  // Uploads what `commit` then makes the contents of the buffer, while kernels still use what it holds.
  virtual std::unique_ptr<task> begin_upload(buffer_pool::buffer_id id, const void* host, int64_t bytes, versemi_status* status);
  virtual versemi_status commit(buffer_pool::buffer_id id);
  virtual std::unique_ptr<task> begin_synchronize(versemi_status* status);

  // Kernels between the two are recorded as a graph, not run; see native/cuda/device/session.h.
  virtual versemi_status begin_capture();
  virtual versemi_status end_capture(int64_t* graph);
  virtual versemi_status replay(int64_t graph);
  virtual void drop_graph(int64_t graph);

  // --- sums over the devices of several processes; see native/cuda/device/rank_sums.h --------------------------------------
  // The version of the library that the sums go through from now on; "": `found` says what is there instead.
  virtual std::string use_sum_library(const std::string& file, std::string* found);
  // So many bytes, which rank 0 makes and every rank joins with.
  static constexpr int64_t sum_id_bytes = 128;
  virtual versemi_status make_sum_id(unsigned char* id);
  virtual std::unique_ptr<task> begin_join(const unsigned char* id, int rank, int ranks, const int32_t* alarm, versemi_status* status);
  virtual versemi_status sum_over_ranks(buffer_pool::buffer_id id, int64_t elements);
  virtual void leave_ranks(bool at_once);
};

}  // namespace versemi

#endif
