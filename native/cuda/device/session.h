// The CUDA device: its parts, and calls of the kernel table over them. Knows tensors and ops; no Node, no model. One per
// createDevice, used by one thread (what another thread may call says so).
#ifndef VERSEMI_CUDA_SESSION_H
#define VERSEMI_CUDA_SESSION_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/context.h"
#include "device/blocks.h"
#include "device/buffers.h"
#include "device/formats.h"
#include "device/graphs.h"
#include "device/rank_sums.h"
#include "device/transfers.h"
#include "versemi/row_filter.h"

namespace versemi {
namespace cuda {

struct session_settings {
  precision operands = precision::bfloat16;
  std::int64_t memory_limit_bytes = std::int64_t{1} << 50;
  bool poison = false;    // fills new memory with NaN and checks 64 bytes behind each buffer on release
  bool blocking = false;  // waits after each kernel, so that a fault is reported by the op that caused it
  std::string forbidden_rows;  // see row_filter
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
  cudaStream_t stream() const override { return streams_.kernels; }
  void* scratch(scratch_slot slot, std::size_t bytes) override { return buffers_.scratch(slot, bytes); }
  std::string description() const;

  versemi_status allocate(std::int64_t bytes, buffer_id* id) { return buffers_.allocate(bytes, id); }
  versemi_status release(buffer_id id);
  // false for an id that is stale or never was; 0 gives 0 bytes.
  bool find(buffer_id id, std::int64_t* bytes);
  device_memory_use memory() const { return buffers_.use(); }
  void trim() { buffers_.trim(); }

  transfer_queue& transfers() { return transfers_; }
  graph_table& graphs() { return graphs_; }
  rank_sums& sums() { return sums_; }
  const rank_sums& sums() const { return sums_; }

  // Begins to replace the first elements of a buffer, as float32, by their sums over the ranks, beside the kernels that are called from
  // now on. Whatever uses the buffer next comes after the sum.
  versemi_status sum_over_ranks(buffer_id id, std::int64_t elements);

  // VERSEMI_OK if a kernel takes this call, else the reasons of all. The attributes were checked.
  versemi_status refuses(std::int32_t op, const double* attributes, std::int32_t attribute_count) const;
  // What each row of an op says to a call, best first.
  std::vector<row_answer> rows(std::int32_t op, const double* attributes, std::int32_t attribute_count) const;
  // Takes only the row of this name from now on; "": any again.
  void use_row(const std::string& name) { filter_.use(name); }
  // elements[i]: what the op needs of buffer i. Everything was checked against the sizes of the buffers. An input that is
  // stored in another format than the kernel wants is converted into scratch; so is an output that has memory already.
  versemi_status run(std::int32_t op, const buffer_id* ids, const std::int64_t* elements, std::int32_t count,
                     const double* attributes, std::int32_t attribute_count);

 private:
  session(const session_settings& settings, const device_properties& properties, std::unique_ptr<device_streams> streams,
          bool stream_ordered);

  // One buffer of the call being made.
  struct operand {
    std::int64_t number = -1;           // -1: absent
    memory_block* converted = nullptr;  // scratch in the format that the kernel wants
  };
  const kernel* choose(std::int32_t op, const double* attributes, std::int32_t attribute_count, versemi_status* status) const;

  session_settings settings_;
  row_filter filter_;
  device_properties properties_;
  std::unique_ptr<device_streams> owned_streams_;  // before the pool, whose end waits for them
  const device_streams& streams_;
  block_pool pool_;
  graph_table graphs_;
  buffer_table buffers_;
  buffer_formats formats_;
  transfer_queue transfers_;
  rank_sums sums_;
  std::vector<tensor> tensors_;  // of the call being made; kept for their capacity
  std::vector<operand> operands_;
};

// Whether a device can be used, and if not, why and what to do: "" or a sentence. Remembers nothing.
std::string unavailable_reason(int* device = nullptr);
// Architectures that the kernels were compiled for, or "emulated".
const char* architectures();

}  // namespace cuda
}  // namespace versemi

#endif
