// Fibres: stacks of their own, and a switch between them that costs a few nanoseconds (registers that a call keeps, nothing
// of the kernel of the system).
#ifndef VERSEMI_CUDA_EMULATOR_FIBERS_H
#define VERSEMI_CUDA_EMULATOR_FIBERS_H

#include <cstddef>

namespace versemi {
namespace cuda {
namespace emulator {

// Where a stack was left. `stack` and `bytes` are for the address sanitizer, which must be told of each switch.
struct fiber_state {
  void* stack_pointer = nullptr;
  void* stack = nullptr;
  std::size_t bytes = 0;
  void* sanitizer = nullptr;
};

// Stacks for fibres number 0, 1, ...; kept until the program ends. nullptr when there is no memory.
void* fiber_stack(int index);
std::size_t fiber_stack_bytes();

// Makes `state` a fibre that calls entry() on stack number `index` when it is first switched to; entry must not return.
bool make_fiber(fiber_state* state, int index, void (*entry)());

// Leaves the current stack in `from`, continues `to`. `ends`: from will never be continued.
void switch_fiber(fiber_state* from, fiber_state* to, bool ends);
// First thing that a new fibre does.
void fiber_begins(fiber_state* self, fiber_state* came_from);

// Whether the stack has run over its end (looked at when a fibre ends).
bool fiber_overflowed(const fiber_state& state);

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

#endif
