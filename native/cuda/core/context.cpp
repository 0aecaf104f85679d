// Statuses, and what launches need of the runtime.
#include "core/context.h"

#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

namespace versemi {
namespace cuda {

versemi_status ok() noexcept { return versemi_status{VERSEMI_OK, {0}}; }

versemi_status failure(versemi_status_code code, const char* format, ...) noexcept {
  versemi_status status = {code, {0}};
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(status.message, sizeof status.message, format, arguments);
  va_end(arguments);
  return status;
}

versemi_status out_of_memory(std::size_t bytes) noexcept {
  return failure(VERSEMI_OUT_OF_MEMORY, "no device memory for %zu bytes of scratch", bytes);
}

versemi_status check(cudaError_t error, const char* what) noexcept {
  if (error == cudaSuccess) return ok();
  // Forgets an error that does not stay, so that no later call reports it as its own.
  cudaGetLastError();
  const char* words = cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) return failure(VERSEMI_OUT_OF_MEMORY, "%s: %s", what, words);
  return failure(VERSEMI_DEVICE_FAILED, "%s: %s (%s)", what, words, cudaGetErrorName(error));
}

namespace detail {

versemi_status allow_shared_memory(const context& device, const char* name, const void* function,
                                   std::size_t bytes) noexcept {
  if (bytes <= 48 * 1024) return ok();
  const device_properties& properties = device.properties();
  if (bytes > static_cast<std::size_t>(properties.shared_bytes_per_block))
    return failure(VERSEMI_DEVICE_FAILED, "%s: %zu bytes of shared memory, the device has %d", name, bytes,
                   properties.shared_bytes_per_block);
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, std::size_t> allowed;
  const std::lock_guard<std::mutex> lock(mutex);
  std::size_t& most = allowed[{properties.ordinal, function}];
  if (bytes <= most) return ok();
  const versemi_status status =
      check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)), name);
  if (status.code == VERSEMI_OK) most = bytes;
  return status;
}

}  // namespace detail

unsigned grid_for(const context& device, std::int64_t elements, int threads) {
  // Eight blocks of 256 threads fill a multiprocessor; four waves even out what differs between them.
  const std::int64_t wanted = divide_up(elements, threads);
  const std::int64_t most = std::int64_t{device.properties().multiprocessors} * (2048 / threads) * 4;
  return static_cast<unsigned>(wanted < most ? wanted : most);
}

}  // namespace cuda
}  // namespace versemi
