// The template of context.h that launches a kernel; included by it.
#ifndef VERSEMI_CUDA_LAUNCH_H
#define VERSEMI_CUDA_LAUNCH_H

#include <tuple>
#include <type_traits>
#include <utility>

#include "core/context.h"

namespace versemi {
namespace cuda {
namespace detail {

// Asks for more than 48 KiB of dynamic shared memory where it is needed and has not been asked for before (context.cpp).
versemi_status allow_shared_memory(const context& device, const char* name, const void* function, std::size_t bytes) noexcept;

#if defined(VERSEMI_CUDA_EMULATED)
template <typename... Parameters>
cudaError_t start(const char* name, void (*function)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                  cudaStream_t stream, std::tuple<Parameters...>& arguments) {
  return emulator::launch(name, reinterpret_cast<const void*>(function), grid, block, shared_bytes, stream,
                          [function, arguments] { std::apply(function, arguments); });
}
#else
template <typename... Parameters, std::size_t... Index>
cudaError_t start(void (*function)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                  std::tuple<Parameters...>& arguments, std::index_sequence<Index...>) {
  void* pointers[sizeof...(Parameters) + 1] = {static_cast<void*>(&std::get<Index>(arguments))..., nullptr};
  return cudaLaunchKernel(reinterpret_cast<const void*>(function), grid, block, pointers, shared_bytes, stream);
}
template <typename... Parameters>
cudaError_t start(const char*, void (*function)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                  cudaStream_t stream, std::tuple<Parameters...>& arguments) {
  return start(function, grid, block, shared_bytes, stream, arguments, std::index_sequence_for<Parameters...>());
}
#endif

}  // namespace detail

template <typename... Parameters, typename... Arguments>
versemi_status launch(context& device, const char* name, void (*function)(Parameters...), dim3 grid, dim3 block,
                      std::size_t shared_bytes, Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "as many arguments as the kernel has parameters");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return ok();
  const versemi_status allowed =
      detail::allow_shared_memory(device, name, reinterpret_cast<const void*>(function), shared_bytes);
  if (allowed.code != VERSEMI_OK) return allowed;
  std::tuple<Parameters...> converted(static_cast<Parameters>(std::forward<Arguments>(arguments))...);
  return check(detail::start(name, function, grid, block, shared_bytes, device.stream(), converted), name);
}

}  // namespace cuda
}  // namespace versemi

#endif
