// What a kernel family may use besides its tensors: the stream, scratch memory, the properties of the device, and launches
// with their errors as statuses. Implemented in context.cpp over the CUDA runtime or over the emulator.
#ifndef VERSEMI_CUDA_CONTEXT_H
#define VERSEMI_CUDA_CONTEXT_H

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/kernel.h"
#include "core/rounding.h"
#include "core/target.h"

namespace versemi {
namespace cuda {

struct device_properties {
  int ordinal = 0;
  int compute_capability = 0;       // 80, 86, 89, 90, ...
  int multiprocessors = 0;
  int shared_bytes_per_block = 0;   // with the opt-in
  std::int64_t memory_bytes = 0;
  std::int64_t level2_bytes = 0;
  char name[256] = {0};
};

// What scratch memory is used for. What one call needs at the same time stands in slots of different names; calls that follow
// one another share them.
enum class scratch_slot {
  weights,      // of a convolution, packed in the order in which its kernel reads them
  moments,      // of a convolution's result, before they are joined
  statistics,   // per channel: means and deviations that no output asks for, averages of a gradient
  partials,     // partial sums of blocks
  sums_of_partials,  // of a second pass, which reads the partials
  count
};
constexpr int scratch_slots = static_cast<int>(scratch_slot::count);

class context {
 public:
  virtual ~context() = default;

  virtual const device_properties& properties() const = 0;
  virtual precision operands() const = 0;
  virtual cudaStream_t stream() const = 0;

  // Scratch of the device, at least `bytes`, 256-byte aligned, contents undefined; kept and reused: valid until the next call
  // of a kernel's run asks for the same slot. Work that uses it is ordered by the stream. nullptr when there is none left
  // (return out_of_memory(bytes)).
  virtual void* scratch(scratch_slot slot, std::size_t bytes) = 0;
  template <typename T>
  T* scratch_of(scratch_slot slot, std::size_t count) {
    return static_cast<T*>(scratch(slot, count * sizeof(T)));
  }
};

// Statuses (context.cpp).
versemi_status ok() noexcept;
versemi_status failure(versemi_status_code code, const char* format, ...) noexcept;
versemi_status out_of_memory(std::size_t bytes) noexcept;
// VERSEMI_OK, or VERSEMI_DEVICE_FAILED / VERSEMI_OUT_OF_MEMORY with the runtime's own words.
versemi_status check(cudaError_t error, const char* what) noexcept;

// Launches `function` on the context's stream with `shared_bytes` of dynamic shared memory (more than 48 KiB is asked for as
// the runtime wants it, once per function). Arguments are converted to the types of its parameters. An empty grid is ok().
//   launch(device, "name for messages", kernel_function, grid, block, shared_bytes, arguments...)
template <typename... Parameters, typename... Arguments>
versemi_status launch(context& device, const char* name, void (*function)(Parameters...), dim3 grid, dim3 block,
                      std::size_t shared_bytes, Arguments&&... arguments);

// Blocks of `threads` that cover `elements` with grid-stride loops: at most a few waves of the device.
unsigned grid_for(const context& device, std::int64_t elements, int threads);

}  // namespace cuda
}  // namespace versemi

#include "core/launch.h"  // the template above, for the runtime or the emulator

#endif
