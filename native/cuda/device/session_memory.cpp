// The memory behind a buffer: taken when it is first filled, in one of two formats, guarded in poison mode.
#include <algorithm>

#include "device/convert.h"
#include "device/session.h"

namespace versemi {
namespace cuda {
namespace {

constexpr std::int64_t guard_bytes = 64;
constexpr unsigned char guard_value = 0xA5;

}  // namespace

// With how much was asked, how much is free and who has the rest; the host adds which settings to lower.
versemi_status session::no_memory(std::int64_t bytes) const {
  constexpr double mebibyte = 1048576.0;
  std::size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  const session_memory use = memory();
  const double limit = static_cast<double>(std::min(settings_.memory_limit_bytes, static_cast<std::int64_t>(total)));
  // What the pool keeps counts as free.
  const double reusable = static_cast<double>(use.pooled - use.scratch);
  const double available =
      std::min(limit - static_cast<double>(use.in_use + use.scratch), static_cast<double>(free) + reusable);
  return failure(VERSEMI_OUT_OF_MEMORY,
                 "%.1f MiB more, with %.1f of %.0f MiB free: %.1f MiB are in use by %lld tensors, %.1f MiB scratch of kernels",
                 static_cast<double>(bytes) / mebibyte, std::max(0.0, available) / mebibyte, limit / mebibyte,
                 static_cast<double>(use.in_use) / mebibyte, static_cast<long long>(use.buffers),
                 static_cast<double>(use.scratch) / mebibyte);
}

void session::poison(const memory_block& block, std::int64_t bytes, cudaStream_t stream) {
  unsigned char* data = static_cast<unsigned char*>(block.data);
  cudaMemsetAsync(data, 0xFF, static_cast<std::size_t>(bytes), stream);  // NaN in both formats
  cudaMemsetAsync(data + bytes, guard_value, guard_bytes, stream);
}

// constant: filled by the host during a capture.
versemi_status session::fill_memory(buffer& slot, storage format, bool constant) {
  const std::int64_t bytes = slot.elements() * bytes_per_element(format);
  slot.memory = pool_.take(bytes + (settings_.poison ? guard_bytes : 0), constant);
  if (slot.memory == nullptr) return no_memory(bytes);
  slot.format = format;
  if (settings_.poison) {
    // A constant is written now; the others when the kernels are.
    const cudaStream_t stream = constant ? copies_.stream : stream_.stream;
    poison(*slot.memory, bytes, stream);
    if (constant) return check(cudaStreamSynchronize(stream), "filling a buffer");
  }
  return ok();
}

// Changes the format of memory that holds something.
versemi_status session::store_as(buffer& slot, storage format) {
  if (slot.format == format) return ok();
  memory_block* before = slot.memory;
  const storage format_before = slot.format;
  // Graphs have the old address.
  if (before->holders > 0 || slot.graphs > 0) {
    if (capture_ != nullptr) return fail_capture("the format of a buffer that it uses changes");
    invalidate_users(number_of(slot));
  }
  versemi_status status = fill_memory(slot, format);
  if (status.code != VERSEMI_OK) {
    slot.memory = before;
    slot.format = format_before;
    return status;
  }
  status = convert(*this, before->data, format_before, slot.memory->data, slot.elements());
  pool_.give(before);
  return status;
}

versemi_status session::check_guard(const buffer& slot) {
  if (!settings_.poison || slot.memory == nullptr || capture_ != nullptr) return ok();
  const std::int64_t bytes = slot.elements() * bytes_per_element(slot.format);
  unsigned char guard[guard_bytes];
  versemi_status status = check(cudaMemcpyAsync(guard, static_cast<unsigned char*>(slot.memory->data) + bytes, guard_bytes,
                                                cudaMemcpyDeviceToHost, stream_),
                                "reading a guard");
  if (status.code == VERSEMI_OK) status = check(cudaStreamSynchronize(stream_), "reading a guard");
  if (status.code != VERSEMI_OK) return status;
  if (std::all_of(guard, guard + guard_bytes, [](unsigned char value) { return value == guard_value; })) return ok();
  return failure(VERSEMI_DEVICE_FAILED, "a kernel wrote behind the end of a buffer of %lld bytes",
                 static_cast<long long>(slot.bytes));
}

}  // namespace cuda
}  // namespace versemi
