// What the parts of the emulated multiprocessor share: threads and who waits where. Functions are those of block.cpp.
#ifndef VERSEMI_CUDA_EMULATOR_BLOCK_STATE_H
#define VERSEMI_CUDA_EMULATOR_BLOCK_STATE_H

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "emulator/emulator.h"
#include "emulator/fibers.h"

namespace versemi {
namespace cuda {
namespace emulator {

constexpr int largest_block = 1024, barriers = 16, guard_bytes = 4096;
constexpr std::size_t largest_shared = 256 * 1024;
constexpr unsigned char poison = 0xff, guard = 0xa7;  // 0xff...: NaN as float32, bfloat16 and double

struct pending_copy {
  unsigned char* to;
  const unsigned char* from;
  int bytes;
  bool valid;
};

struct thread_state {
  fiber_state fiber;
  uint3 index = {0, 0, 0};
  const char* waits_for = nullptr;  // nullptr: runs, can run or has ended
  int waits_for_id = -1;
  bool ended = false;
  wait_condition condition = nullptr;
  void* argument = nullptr;
  std::vector<pending_copy> copies;
  std::vector<std::size_t> groups;  // committed: where each ends in `copies`
  std::size_t done_copies = 0, done_groups = 0;
};

struct barrier_state {
  int expected = 0, arrived = 0;
  std::vector<int> waiting;
};

struct group_state {
  const char* instruction = nullptr;
  int arrived = 0;
  void* operands[128] = {nullptr};
};

struct machine {
  std::vector<thread_state> threads{static_cast<std::size_t>(largest_block)};
  int count = 0, current = 0, ended = 0;
  fiber_state main;
  fiber_state* came_from = nullptr;
  int ready[largest_block] = {0};  // ring: each thread stands in it once at most
  int first_ready = 0, ready_count = 0;
  std::vector<int> conditional;
  std::deque<std::function<void()>> deferred;
  barrier_state barrier[barriers];
  group_state warps[largest_block / 32], warpgroups[largest_block / 128];
  unsigned char* shared = nullptr;
  std::size_t shared_bytes = 0;
  const std::function<void()>* body = nullptr;
  const char* kernel = "";
  char error[512] = {0};
  std::uint64_t serial = 0;
  unsigned order = 0;
  wavefronts ldmatrix;
};

machine& device();
// The thread that runs.
thread_state& self();
// Leaves the current thread for the next that can go on; `ends`: for good.
void leave(fiber_state* from, bool ends);
// The current thread waits until somebody wakes it.
void suspend(const char* what, int id);
void wake(int thread);
// Those of `count` threads from `first` on that wait for the current one: it made the last of a collective instruction.
void wake_group(int first, int count);
// "thread 3 of block 0,0,0", for messages.
std::string place(int thread);

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

#endif
