// What a CPU kernel may use besides its buffers: threads and scratch memory, both kept across calls.
//
// Results never depend on the number of threads: a task writes its own part of the output, and reductions are cut into
// chunks whose number follows from the problem alone, summed in chunk order. `thread` serves for choosing scratch only.
#ifndef VERSEMI_CPU_CONTEXT_H
#define VERSEMI_CPU_CONTEXT_H

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "versemi/kernel_table.h"

namespace versemi {

constexpr std::size_t alignment = 64;

// Aligned memory, of huge pages where the system offers them and the block is large; contents undefined.
// nullptr when there is none left. Serves scratch as well as the buffers of the device.
void* allocate_aligned(std::size_t bytes) noexcept;
void free_aligned(void* memory, std::size_t bytes) noexcept;

// A context belongs to one caller at a time. threads <= 0: one per available core. nullptr when out of memory.
versemi_context* create_context(int threads) noexcept;
void destroy_context(versemi_context* context) noexcept;
int thread_count(const versemi_context* context) noexcept;

// Exact: the convolutions of the context take plain sums, no minimal filtering (winograd.h). Off at first.
void set_exact(versemi_context* context, bool exact) noexcept;
bool is_exact(const versemi_context* context) noexcept;

// Scratch memory of at least `bytes`, aligned, kept until the context ends; contents undefined. Each slot is one buffer,
// shared by all threads: ask before parallel_for, for all threads at once where each needs its own. A later call with the
// same slot gives the same memory. nullptr when there is none left (return out_of_memory()).
enum class scratch_slot {
  per_thread,  // working memory of each thread
  passes,      // passes of a convolution (conv_pass.h)
  bias,        // bias filled up to whole vectors; sums of a gradient for it
  statistics,  // sums of the values that each chunk of a convolution wrote
  moments,     // mean and deviation made of them
  slices,      // sums over slices of the voxels, or of each thread, that are added up later
  partials,    // sums in double of pieces of a tensor, added up in order
  repeated,    // short operands, repeated until they fill vectors
  packed,      // a matrix or weights, in the order in which they are read
  mapped,      // blocks mapped for minimal filtering; the image of a first layer
  starts,      // where each parameter begins in the arena of an optimiser
  count
};
void* scratch(versemi_context* context, scratch_slot slot, std::size_t bytes) noexcept;
inline float* scratch_floats(versemi_context* context, scratch_slot slot, std::size_t count) noexcept {
  return static_cast<float*>(scratch(context, slot, count * sizeof(float)));
}

using task_function = void (*)(void* closure, std::int64_t begin, std::int64_t end, int thread);
void run_tasks(versemi_context* context, std::int64_t tasks, task_function function, void* closure) noexcept;

// Calls body(begin, end, thread) so that [0, tasks) is covered once; the caller takes part. Each thread starts on a contiguous
// part of equal size, cut into a few pieces (one call of body each); a thread that is done takes pieces of the others, as
// another process may hold a core. body must not throw. Inside a body it runs everything at once on the calling thread.
template <typename Body>
void parallel_for(versemi_context* context, std::int64_t tasks, Body&& body) {
  using plain_body = typename std::remove_reference<Body>::type;
  run_tasks(
      context, tasks,
      [](void* closure, std::int64_t begin, std::int64_t end, int thread) {
        (*static_cast<plain_body*>(closure))(begin, end, thread);
      },
      const_cast<void*>(static_cast<const void*>(&body)));
}

// Statuses.
inline versemi_status ok() noexcept { return versemi_status{VERSEMI_OK, {0}}; }
versemi_status failure(versemi_status_code code, const char* format, ...) noexcept
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
inline versemi_status out_of_memory(std::size_t bytes) noexcept {
  return failure(VERSEMI_OUT_OF_MEMORY, "no memory for %zu bytes of scratch", bytes);
}

}  // namespace versemi

#endif
