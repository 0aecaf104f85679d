// The CPU device: buffers, threads and the kernel table.
#ifndef VERSEMI_ADDON_SESSION_H
#define VERSEMI_ADDON_SESSION_H

#include <cstdint>
#include <string>
#include <vector>

#include "buffers.h"
#include "device.h"
#include "versemi/kernel_table.h"

namespace versemi {

class session final : public device {
 public:
  // threads <= 0: one per core this process may use. forbidden_rows: see row_filter. Throws std::bad_alloc when there is no
  // memory for a thread pool.
  session(int threads, int64_t memory_limit_bytes, bool poison, bool exact, const std::string& forbidden_rows);
  ~session() override;
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  versemi_status allocate(int64_t bytes, buffer_pool::buffer_id* id) override { return buffers_.allocate(bytes, id); }
  versemi_status release(buffer_pool::buffer_id id) override { return buffers_.release(id); }
  versemi_status transfer(buffer_pool::buffer_id id, void* host, int64_t bytes, bool to_device) override;
  versemi_status run(int32_t op, const double* ids, int32_t buffer_count, const double* attributes,
                     int32_t attribute_count) override;
  versemi_status refuses(int32_t op, const double* attributes, int32_t attribute_count) override;
  versemi_status rows(int32_t op, const double* attributes, int32_t attribute_count, std::vector<row_answer>* answers) override;
  void use_row(const std::string& name) override { filter_.use(name); }
  std::vector<std::string> row_names() const override;
  memory_use use() const override { return buffers_.use(); }
  void trim() override {
    buffers_.trim();
    buffers_.restart_peak();
  }

  std::string isa() const override;
  int threads() const override;
  std::string description() const override;
  static const char* compiler();

 private:
  versemi_context* context_;
  buffer_pool buffers_;
  row_filter filter_;
  // Of the call being made; kept for their capacity.
  std::vector<versemi_buffer> call_;
  std::vector<int64_t> elements_;  // that each buffer must hold
};

}  // namespace versemi

#endif
