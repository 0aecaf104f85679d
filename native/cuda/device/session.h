// The CUDA device: buffers with ids, their memory and formats, the kernel table, transfers, captured graphs. Knows tensors and
// ops; no Node, no model. One per createDevice, used by one thread (what another thread may call says so).
//
// Lazy memory. `allocate` reserves an id and a size in float32 elements. Memory is taken when something first fills the
// buffer: a kernel, in the format that its plan chose, or the host, as float32. An input that is stored in another format
// than a kernel wants is converted into scratch; so is an output that has memory already.
#ifndef VERSEMI_CUDA_SESSION_H
#define VERSEMI_CUDA_SESSION_H

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "device/blocks.h"
#include "device/graphs.h"
#include "device/transfers.h"

namespace versemi {
namespace cuda {

using buffer_id = std::int64_t;

struct session_settings {
  precision operands = precision::bfloat16;
  std::int64_t memory_limit_bytes = std::int64_t{1} << 50;
  bool poison = false;    // fills new memory with NaN and checks 64 bytes behind each buffer on release
  bool blocking = false;  // waits after each kernel, so that a fault is reported by the op that caused it
};

// Bytes unless said otherwise.
struct session_memory {
  std::int64_t buffers = 0;  // live
  std::int64_t in_use = 0;
  std::int64_t pooled = 0;   // kept for reuse: free blocks, scratch, and what captured graphs hold
  std::int64_t scratch = 0;  // of these, what kernels asked for besides their tensors
  std::int64_t peak = 0;     // of in_use and scratch together, since the last trim
};

// An upload on a stream of its own, beside the kernels; see prefetch.
struct upload {
  buffer_id target = 0;
  memory_block* shadow = nullptr;
  const void* host = nullptr;
  std::int64_t bytes = 0;
  cudaEvent_t arrived = nullptr;   // recorded by run_upload
  cudaEvent_t consumed = nullptr;  // the last commit of this buffer; nullptr before the first
};

class session final : public context {
 public:
  // nullptr where no device can be used; `status` says why and what to do.
  static std::unique_ptr<session> create(const session_settings& settings, versemi_status* status);
  ~session() override;
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  const device_properties& properties() const override { return properties_; }
  precision operands() const override { return settings_.operands; }
  cudaStream_t stream() const override { return stream_; }
  void* scratch(int slot, std::size_t bytes) override;

  versemi_status allocate(std::int64_t bytes, buffer_id* id);
  versemi_status release(buffer_id id);
  // false for an id that is stale or never was; 0 gives 0 bytes.
  bool find(buffer_id id, std::int64_t* bytes) const;

  // Host bytes to the start of the buffer. The host memory may change as soon as it returns.
  versemi_status write(buffer_id id, const void* host, std::int64_t bytes);
  // Waits.
  versemi_status read(buffer_id id, void* host, std::int64_t bytes);
  // The same in three parts: begin and end on the session's thread, wait on any. Buffer 0, 0 bytes: waits for the kernels.
  versemi_status begin_read(buffer_id id, std::int64_t bytes, host_read* read);
  versemi_status wait_read(const host_read& read, void* host) const;
  void end_read(const host_read& read);

  // Uploads what the buffer will hold next, while kernels still use what it holds now. begin, end and commit on the session's
  // thread; run_upload on any: the host memory must not change before it returns. commit, after it, makes the values those of
  // the buffer, in order with the kernels.
  versemi_status begin_upload(buffer_id id, const void* host, std::int64_t bytes, upload* job);
  versemi_status run_upload(const upload& job);
  void end_upload(const upload& job, bool arrived);
  versemi_status commit(buffer_id id);

  // VERSEMI_OK if a kernel takes this call, else the reasons of all. The attributes were checked.
  versemi_status refuses(std::int32_t op, const double* attributes, std::int32_t attribute_count) const;
  // elements[i]: what the op needs of buffer i. Everything was checked against the sizes of the buffers.
  versemi_status run(std::int32_t op, const buffer_id* ids, const std::int64_t* elements, std::int32_t count,
                     const double* attributes, std::int32_t attribute_count);

  // Kernels between the two are recorded, not run. What the host writes meanwhile goes into new buffers only and is constant
  // for the graph. end gives an id > 0, or VERSEMI_UNSUPPORTED with the reason why this work cannot be a graph.
  versemi_status begin_capture();
  versemi_status end_capture(std::int64_t* graph);
  // VERSEMI_UNSUPPORTED: a buffer that the graph uses is gone, or its memory was needed elsewhere.
  versemi_status replay(std::int64_t graph);
  void drop_graph(std::int64_t graph);

  session_memory memory() const;
  // Gives free memory back and begins to count the peak anew.
  void trim();
  std::string description() const;

 private:
  struct buffer {
    std::int64_t bytes = 0;
    std::int64_t generation = 0;
    memory_block* memory = nullptr;  // none before it is filled
    memory_block* shadow = nullptr;  // of prefetch
    cudaEvent_t arrived = nullptr, consumed = nullptr;
    storage format = storage::float32;
    bool live = false;
    bool uploading = false, uploaded = false, committed = false;
    int graphs = 0;  // captured graphs that use it from outside

    std::int64_t elements() const { return (bytes + 3) / 4; }
  };

  session(const session_settings& settings, const device_properties& properties, cudaStream_t stream, cudaStream_t copies,
          bool stream_ordered);

  buffer* at(buffer_id id);
  static versemi_status not_live(double id);
  versemi_status check_range(const buffer& slot, std::int64_t bytes) const;
  std::int64_t number_of(const buffer& slot) const { return &slot - buffers_.data(); }

  // session_memory.cpp
  versemi_status fill_memory(buffer& slot, storage format, bool constant = false);
  versemi_status store_as(buffer& slot, storage format);
  void poison(const memory_block& block, std::int64_t bytes, cudaStream_t stream);
  versemi_status check_guard(const buffer& slot);
  versemi_status no_memory(std::int64_t bytes) const;

  // session_run.cpp: one buffer of the call being made
  struct operand {
    std::int64_t number = -1;  // -1: absent
    std::int64_t elements = 0;
    tensor* of_call = nullptr;
    memory_block* converted = nullptr;  // scratch in the format that the kernel wants
  };
  versemi_status prepare(operand& each, bool output);
  const kernel* choose(std::int32_t op, const double* attributes, std::int32_t attribute_count, versemi_status* status) const;

  // session_graphs.cpp
  versemi_status fail_capture(const char* reason);
  void touch_outside(buffer& slot);
  void invalidate(graph& each);
  void invalidate_users(std::int64_t number);
  bool drop_idle_graph();

  // Before the pool, whose end waits for it.
  struct stream_owner {
    cudaStream_t stream;
    ~stream_owner() { cudaStreamDestroy(stream); }
    operator cudaStream_t() const { return stream; }
  };

  session_settings settings_;
  device_properties properties_;
  stream_owner stream_, copies_;
  block_pool pool_;
  pinned_ring writes_, uploads_;
  read_cache reads_;
  std::vector<buffer> buffers_;
  std::vector<std::int64_t> free_numbers_;
  std::int64_t live_ = 0;
  std::vector<tensor> tensors_;    // of the call being made; kept for their capacity
  std::vector<operand> operands_;
  memory_block* scratch_[scratch_slots] = {};
  std::int64_t scratch_refused_ = 0;
  std::map<std::int64_t, std::unique_ptr<graph>> graphs_;
  std::unique_ptr<graph> capture_;
  std::string capture_failure_;
  std::int64_t next_graph_ = 1;
};

// Whether a device can be used, and if not, why and what to do: "" or a sentence. Remembers nothing.
std::string unavailable_reason(int* device = nullptr);
// Architectures that the kernels were compiled for, or "emulated".
const char* architectures();

}  // namespace cuda
}  // namespace versemi

#endif
