#include "emulator/fibers.h"

#include <cstdint>
#include <cstdlib>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define VERSEMI_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VERSEMI_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(VERSEMI_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the registers that a called function must keep, and the stack pointer to *first; takes those that `second` points to.
extern "C" void versemi_fiber_switch(void** first, void* second) asm("versemi_fiber_switch");

#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
versemi_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
)");
namespace {
// Six registers, the address to return to, and what the ABI wants at the entry of a function: 8 modulo 16.
constexpr int saved_words = 8, return_word = 6;
}  // namespace
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
versemi_fiber_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
namespace {
constexpr int saved_words = 20, return_word = 11;
}  // namespace
#else
#error "the CUDA emulator switches stacks on x86-64 and on aarch64 only"
#endif

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

#if defined(VERSEMI_ADDRESS_SANITIZER)
constexpr std::size_t stack_bytes = 512 * 1024;
#else
constexpr std::size_t stack_bytes = 128 * 1024;
#endif
constexpr std::uint64_t end_mark = 0x5ac5ac5ac5ac5ac5u;

std::vector<void*>& stacks() {
  static std::vector<void*> all;
  return all;
}

}  // namespace

std::size_t fiber_stack_bytes() { return stack_bytes; }

void* fiber_stack(int index) {
  std::vector<void*>& all = stacks();
  while (static_cast<int>(all.size()) <= index) {
    void* stack = std::aligned_alloc(4096, stack_bytes);
    if (stack == nullptr) return nullptr;
    all.push_back(stack);
  }
  return all[static_cast<std::size_t>(index)];
}

bool make_fiber(fiber_state* state, int index, void (*entry)()) {
  void* stack = fiber_stack(index);
  if (stack == nullptr) return false;
#if defined(VERSEMI_ADDRESS_SANITIZER)
  ASAN_UNPOISON_MEMORY_REGION(stack, stack_bytes);
#endif
  *static_cast<std::uint64_t*>(stack) = end_mark;
  // The tops of the stacks are spread: at equal places of a page they would all want the same lines of the cache.
  const std::size_t shift = static_cast<std::size_t>(index % 32) * 192;
  auto* words = reinterpret_cast<std::uint64_t*>(static_cast<char*>(stack) + stack_bytes - shift) - saved_words;
  for (int i = 0; i < saved_words; i++) words[i] = 0;
  words[return_word] = reinterpret_cast<std::uint64_t>(entry);
  *state = fiber_state{words, stack, stack_bytes, nullptr};
  return true;
}

void switch_fiber(fiber_state* from, fiber_state* to, bool ends) {
#if defined(VERSEMI_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from->sanitizer, to->stack, to->bytes);
#else
  (void)ends;
#endif
  versemi_fiber_switch(&from->stack_pointer, to->stack_pointer);
#if defined(VERSEMI_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(from->sanitizer, nullptr, nullptr);
#endif
}

void fiber_begins(fiber_state* self, fiber_state* came_from) {
#if defined(VERSEMI_ADDRESS_SANITIZER)
  const void* stack = nullptr;
  std::size_t bytes = 0;
  __sanitizer_finish_switch_fiber(self->sanitizer, &stack, &bytes);
  if (came_from->stack == nullptr) {  // the stack of the program, known only now
    came_from->stack = const_cast<void*>(stack);
    came_from->bytes = bytes;
  }
#else
  (void)self;
  (void)came_from;
#endif
}

bool fiber_overflowed(const fiber_state& state) { return *static_cast<const std::uint64_t*>(state.stack) != end_mark; }

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
