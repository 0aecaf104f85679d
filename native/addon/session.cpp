#include "session.h"

#include <array>
#include <cstring>
#include <new>

#include "../cpu/context.h"
#include "../cpu/dispatch.h"
#include "check.h"

namespace versemi {
namespace {

versemi_context* make_context(int threads) {
  versemi_context* context = create_context(threads);
  if (context == nullptr) throw std::bad_alloc();
  return context;
}

struct row_range {
  const versemi_kernel* begin;
  const versemi_kernel* end;
};

// Rows of one op; they stand together. Looked up once per program.
row_range rows_of(int32_t op) {
  static const std::array<row_range, largest_op + 1> ranges = [] {
    std::array<row_range, largest_op + 1> result{};
    int32_t count = 0;
    const versemi_kernel* table = versemi_cpu_kernels(&count);
    for (const versemi_kernel* row = table; row < table + count; row++) {
      row_range& range = result[static_cast<std::size_t>(row->op)];
      if (range.begin == nullptr) range.begin = row;
      range.end = row + 1;
    }
    return result;
  }();
  return ranges[static_cast<std::size_t>(op)];
}

// The rows of an op, and what each of them says of a call.
struct asked_rows {
  row_range range;
  versemi_context* context;
  const double* attributes;
  int32_t attribute_count;

  int32_t count() const { return static_cast<int32_t>(range.end - range.begin); }
  const versemi_kernel& operator()(int32_t i) const { return range.begin[i]; }
  const char* operator()(const versemi_kernel& row) const { return row.refuses(context, attributes, attribute_count); }
};

// The first row that takes the call, or nullptr with every reason in `status`.
const versemi_kernel* choose(const row_filter& filter, const asked_rows& rows, versemi_status* status) {
  std::string reasons;
  const int32_t chosen = filter.choose(rows.count(), rows, rows, &reasons);
  if (chosen >= 0) return &rows(chosen);
  *status = failure(VERSEMI_UNSUPPORTED, "%s", reasons.c_str());
  return nullptr;
}

}  // namespace

session::session(int threads, int64_t memory_limit_bytes, bool poison, bool exact, const std::string& forbidden_rows)
    : context_(make_context(threads)), buffers_(memory_limit_bytes, poison), filter_(forbidden_rows) {
  set_exact(context_, exact);
}

session::~session() { destroy_context(context_); }

versemi_status session::transfer(buffer_pool::buffer_id id, void* host, int64_t bytes, bool to_device) {
  versemi_buffer buffer;
  if (id == 0 || !buffers_.find(id, &buffer)) {
    return failure(VERSEMI_INVALID_ARGUMENT, "buffer %lld is not live (released before?)", static_cast<long long>(id));
  }
  if (bytes > buffer.bytes) {
    return failure(VERSEMI_INVALID_ARGUMENT, "a buffer of %lld bytes does not hold %lld bytes",
                   static_cast<long long>(buffer.bytes), static_cast<long long>(bytes));
  }
  if (bytes == 0) return ok();  // the host pointer of an empty view may be null
  if (to_device) {
    std::memcpy(buffer.data, host, static_cast<std::size_t>(bytes));
  } else {
    std::memcpy(host, buffer.data, static_cast<std::size_t>(bytes));
  }
  return ok();
}

versemi_status session::run(int32_t op, const double* ids, int32_t buffer_count, const double* attributes,
                            int32_t attribute_count) {
  call_.resize(static_cast<std::size_t>(buffer_count));
  for (int32_t i = 0; i < buffer_count; i++) {
    const double id = ids[i];
    if (!(id >= 0 && id < 9007199254740992.0) ||
        !buffers_.find(static_cast<int64_t>(id), &call_[static_cast<std::size_t>(i)])) {
      return failure(VERSEMI_INVALID_ARGUMENT, "buffer %.0f, number %d of the call, is not live (released before?)", id, i);
    }
  }
  elements_.assign(static_cast<std::size_t>(buffer_count), 0);
  versemi_status status = check_call(op, call_.data(), buffer_count, attributes, attribute_count, elements_.data());
  if (status.code != VERSEMI_OK || !writes_anything(op, elements_.data(), buffer_count)) return status;
  const versemi_kernel* kernel = choose(filter_, {rows_of(op), context_, attributes, attribute_count}, &status);
  if (kernel == nullptr) return status;
  return kernel->run(context_, call_.data(), buffer_count, attributes, attribute_count);
}

versemi_status session::refuses(int32_t op, const double* attributes, int32_t attribute_count) {
  versemi_status status = check_attributes(op, attributes, attribute_count);
  if (status.code == VERSEMI_OK) choose(filter_, {rows_of(op), context_, attributes, attribute_count}, &status);
  return status;
}

versemi_status session::rows(int32_t op, const double* attributes, int32_t attribute_count, std::vector<row_answer>* answers) {
  const versemi_status status = check_attributes(op, attributes, attribute_count);
  if (status.code != VERSEMI_OK) return status;
  const asked_rows rows = {rows_of(op), context_, attributes, attribute_count};
  *answers = filter_.answers(rows.count(), rows, rows);
  return ok();
}

std::vector<std::string> session::row_names() const {
  int32_t count = 0;
  const versemi_kernel* table = versemi_cpu_kernels(&count);
  std::vector<std::string> names;
  for (const versemi_kernel* row = table; row < table + count; row++)
    add_row_name(row->name, &names);
  return names;
}

std::string session::isa() const { return instruction_set(); }

int session::threads() const { return thread_count(context_); }

std::string session::description() const {
  const int count = threads();
  std::string text =
      std::string("CPU, ") + isa() + ", " + std::to_string(count) + (count == 1 ? " thread" : " threads");
  if (is_exact(context_)) text += ", exact";
  return text;
}

const char* session::compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

}  // namespace versemi
