// Runs the blocks of a grid: fibres, who waits where, barriers, collective instructions, cp.async.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "emulator.h"
#include "fibers.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

constexpr int largest_block = 1024, barriers = 16, guard_bytes = 4096, group_sizes = 2;
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

machine& device() {
  static machine* const state = [] {
    auto* made = new machine;
    made->shared = static_cast<unsigned char*>(std::aligned_alloc(4096, largest_shared + guard_bytes));
    return made;
  }();
  return *state;
}

void make_ready(int thread) {
  machine& m = device();
  m.ready[(m.first_ready + m.ready_count++) % largest_block] = thread;
}

thread_state& self() {
  machine& m = device();
  return m.threads[static_cast<std::size_t>(m.current)];
}

// Number i of n in the order that was asked for.
std::vector<int> start_order(int n, unsigned order) {
  std::vector<int> result(static_cast<std::size_t>(n));
  for (int i = 0; i < n; i++) result[static_cast<std::size_t>(i)] = order == 1 ? n - 1 - i : i;
  std::uint32_t state = order;
  if (order > 1)
    for (int i = n - 1; i > 0; i--) {
      state = state * 1664525u + 1013904223u;
      std::swap(result[static_cast<std::size_t>(i)], result[(state >> 8) % static_cast<unsigned>(i + 1)]);
    }
  return result;
}

std::string place(int thread) {
  const uint3 t = device().threads[static_cast<std::size_t>(thread)].index;
  char text[96];
  std::snprintf(text, sizeof text, "thread %u", t.x);
  std::string result = text;
  if (blockDim.y > 1 || blockDim.z > 1) {
    std::snprintf(text, sizeof text, ",%u,%u", t.y, t.z);
    result += text;
  }
  std::snprintf(text, sizeof text, " of block %u,%u,%u", blockIdx.x, blockIdx.y, blockIdx.z);
  return result + text;
}

// Every thread that is not at its end, joined to ranges of threads that wait for the same.
void report_deadlock() {
  machine& m = device();
  std::string text;
  const auto same = [](const thread_state& a, const thread_state& b) {
    return a.ended == b.ended && a.waits_for == b.waits_for && a.waits_for_id == b.waits_for_id;
  };
  for (int i = 0; i < m.count;) {
    const thread_state& first = m.threads[static_cast<std::size_t>(i)];
    int last = i;
    while (last + 1 < m.count && same(first, m.threads[static_cast<std::size_t>(last + 1)])) last++;
    char part[128];
    if (first.ended)
      std::snprintf(part, sizeof part, "; %d-%d have ended", i, last);
    else if (first.waits_for_id >= 0)
      std::snprintf(part, sizeof part, "; %d-%d wait for %s %d", i, last, first.waits_for, first.waits_for_id);
    else
      std::snprintf(part, sizeof part, "; %d-%d wait for %s", i, last, first.waits_for);
    text += part;
    i = last + 1;
  }
  std::snprintf(m.error, sizeof m.error, "%s: no thread of block %u,%u,%u can go on%s", m.kernel, blockIdx.x, blockIdx.y,
                blockIdx.z, text.c_str());
}

void run_copies(thread_state& t, std::size_t groups) {
  for (; t.done_groups < groups; t.done_groups++)
    for (; t.done_copies < t.groups[t.done_groups]; t.done_copies++) {
      const pending_copy& c = t.copies[t.done_copies];
      if (c.valid)
        std::memcpy(c.to, c.from, static_cast<std::size_t>(c.bytes));
      else
        std::memset(c.to, 0, static_cast<std::size_t>(c.bytes));
    }
  if (t.done_copies == t.copies.size() && t.done_groups == t.groups.size()) {
    t.copies.clear();
    t.groups.clear();
    t.done_copies = t.done_groups = 0;
  }
}

// Which thread goes on next; -1: none can, or all have ended. Work beside the threads and conditions come last.
int next_thread() {
  machine& m = device();
  while (m.ready_count == 0 && (m.ended < m.count || !m.deferred.empty()) && m.error[0] == 0) {
    if (!m.deferred.empty()) {
      const std::function<void()> work = std::move(m.deferred.front());
      m.deferred.pop_front();
      work();
    }
    std::vector<int> still;
    for (int i : m.conditional) {
      thread_state& t = m.threads[static_cast<std::size_t>(i)];
      if (t.condition(t.argument)) {
        t.waits_for = nullptr;
        make_ready(i);
      } else {
        still.push_back(i);
      }
    }
    m.conditional.swap(still);
    if (m.ready_count == 0 && m.deferred.empty() && m.ended < m.count) {
      report_deadlock();
      return -1;
    }
  }
  if (m.ready_count == 0 || m.error[0] != 0) return -1;
  const int next = m.ready[m.first_ready];
  m.first_ready = (m.first_ready + 1) % largest_block;
  m.ready_count--;
  return next;
}

// Leaves the current thread (-1: the program's own stack) for the next that can go on.
void leave(fiber_state* from, bool ends) {
  machine& m = device();
  const int mine = m.current, next = next_thread();
  if (next == mine && !ends) return;
  fiber_state* to = &m.main;
  if (next >= 0) {
    m.current = next;
    threadIdx = self().index;
    to = &self().fiber;
  }
  m.came_from = from;
  if (from == to) return;
  switch_fiber(from, to, ends);
}

void suspend(const char* what, int id) {
  thread_state& t = self();
  t.waits_for = what;
  t.waits_for_id = id;
  leave(&t.fiber, false);
}

void wake(int thread) {
  device().threads[static_cast<std::size_t>(thread)].waits_for = nullptr;
  make_ready(thread);
}

void run_thread() {
  machine& m = device();
  fiber_begins(&self().fiber, m.came_from);
  (*m.body)();
  thread_state& t = self();
  t.ended = true;
  m.ended++;
  if (fiber_overflowed(t.fiber) && m.error[0] == 0)
    std::snprintf(m.error, sizeof m.error, "%s: %s ran over its stack of %zu bytes", m.kernel, place(m.current).c_str(),
                  fiber_stack_bytes());
  leave(&t.fiber, true);
}

barrier_state& barrier_of(int id, int threads) {
  machine& m = device();
  if (id < 0 || id >= barriers) fail("barrier %d: there are 0 to 15", id);
  if (threads < 1 || threads > (m.count + 31) / 32 * 32 || (threads % 32 != 0 && threads != m.count))
    fail("barrier %d for %d threads in a block of %d", id, threads, m.count);
  barrier_state& b = m.barrier[id];
  if (b.arrived > 0 && b.expected != threads)
    fail("barrier %d for %d threads, others wait there for %d", id, threads, b.expected);
  b.expected = threads;
  b.arrived++;
  if (b.arrived > b.expected) fail("barrier %d: more than %d threads", id, threads);
  return b;
}

void release(barrier_state& b) {
  b.arrived = 0;
  std::vector<int> waiting;
  waiting.swap(b.waiting);
  for (int i : waiting) wake(i);
}

bool run_block(const std::vector<int>& order) {
  machine& m = device();
  m.serial++;
  m.ended = 0;
  m.first_ready = m.ready_count = 0;
  m.conditional.clear();
  m.deferred.clear();
  for (barrier_state& b : m.barrier) b = barrier_state{};
  for (group_state& g : m.warps) g.arrived = 0;
  for (group_state& g : m.warpgroups) g.arrived = 0;
  std::memset(m.shared, poison, m.shared_bytes);
  std::memset(m.shared + m.shared_bytes, guard, guard_bytes);
  for (int i = 0; i < m.count; i++) {
    thread_state& t = m.threads[static_cast<std::size_t>(i)];
    if (!make_fiber(&t.fiber, i, run_thread)) {
      std::snprintf(m.error, sizeof m.error, "no memory for the stacks of the emulator");
      return false;
    }
    const unsigned u = static_cast<unsigned>(i);
    t.index = uint3{u % blockDim.x, u / blockDim.x % blockDim.y, u / (blockDim.x * blockDim.y)};
    t.ended = false;
    t.waits_for = nullptr;
    t.copies.clear();
    t.groups.clear();
    t.done_copies = t.done_groups = 0;
  }
  for (int i : order) make_ready(i);
  m.current = -1;
  leave(&m.main, false);
  if (m.error[0] != 0) return false;
  for (int i = 0; i < guard_bytes; i++)
    if (m.shared[m.shared_bytes + static_cast<std::size_t>(i)] != guard) {
      std::snprintf(m.error, sizeof m.error, "%s: block %u,%u,%u wrote %d bytes behind its %zu bytes of shared memory", m.kernel,
                    blockIdx.x, blockIdx.y, blockIdx.z, i, m.shared_bytes);
      return false;
    }
  return true;
}

}  // namespace

int thread_rank() { return device().current; }
int block_threads() { return device().count; }
std::uint64_t block_serial() { return device().serial; }
unsigned char* dynamic_shared_memory() { return device().shared; }
std::size_t dynamic_shared_bytes() { return device().shared_bytes; }
wavefronts& ldmatrix_wavefronts() { return device().ldmatrix; }
void set_order(unsigned order) { device().order = order; }

void fail(const char* format, ...) {
  machine& m = device();
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  std::snprintf(m.error, sizeof m.error, "%s: %s: %s", m.kernel, place(m.current).c_str(), text);
  leave(&self().fiber, true);
  std::abort();  // not reached: nothing of a launch that failed is continued
}

void collective(const char* instruction, int participants, void* operands, collective_work work) {
  machine& m = device();
  const int index = m.current / participants, rank = m.current % participants;
  if ((index + 1) * participants > m.count)
    fail("%s needs %d threads together, the block of %d has a part of them", instruction, participants, m.count);
  group_state& group = participants == 32 ? m.warps[index] : m.warpgroups[index];
  if (group.arrived == 0) {
    group.instruction = instruction;
  } else if (group.instruction != instruction && std::strcmp(group.instruction, instruction) != 0) {
    fail("%s, while others of the same %d threads are in %s", instruction, participants, group.instruction);
  }
  group.operands[rank] = operands;
  if (++group.arrived < participants) {
    suspend(instruction, index);
    return;
  }
  work(group.operands, participants);
  group.arrived = 0;
  for (int i = 0; i < participants; i++)
    if (i != rank) wake(index * participants + i);
}

void barrier_all() { barrier_sync(0, device().count); }

void barrier_sync(int id, int threads) {
  barrier_state& b = barrier_of(id, threads);
  if (b.arrived == b.expected) return release(b);
  b.waiting.push_back(device().current);
  suspend("barrier", id);
}

void barrier_arrive_only(int id, int threads) {
  barrier_state& b = barrier_of(id, threads);
  if (b.arrived == b.expected) release(b);
}

void wait_until(const char* what, wait_condition condition, void* argument) {
  machine& m = device();
  thread_state& t = self();
  t.condition = condition;
  t.argument = argument;
  m.conditional.push_back(m.current);
  suspend(what, -1);
}

void defer(std::function<void()> work) { device().deferred.push_back(std::move(work)); }

void copy_async(void* shared, const void* global, int bytes, bool valid) {
  const std::size_t size = static_cast<std::size_t>(bytes);
  if (reinterpret_cast<std::uintptr_t>(shared) % size != 0) fail("cp.async: the shared address is not a multiple of %d", bytes);
  if (valid && reinterpret_cast<std::uintptr_t>(global) % size != 0) fail("cp.async: the global address is not a multiple of %d", bytes);
  check_shared(shared, size, "cp.async");
  if (valid) check_global(global, size, "cp.async");
  std::memset(shared, poison, size);
  self().copies.push_back({static_cast<unsigned char*>(shared), static_cast<const unsigned char*>(global), bytes, valid});
}

void copy_async_commit_group() { self().groups.push_back(self().copies.size()); }

void copy_async_wait_group(int in_flight) {
  thread_state& t = self();
  const std::size_t keep = static_cast<std::size_t>(in_flight), outstanding = t.groups.size() - t.done_groups;
  if (outstanding > keep) run_copies(t, t.groups.size() - keep);
}

void check_shared(const void* pointer, std::size_t bytes, const char* what) {
  const machine& m = device();
  const auto* p = static_cast<const unsigned char*>(pointer);
  if (p < m.shared || p >= m.shared + largest_shared) return;  // static shared memory
  if (p + bytes > m.shared + m.shared_bytes)
    fail("%s at byte %td of %zu bytes of shared memory", what, p - m.shared, m.shared_bytes);
}

const char* run_grid(const char* name, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body) {
  machine& m = device();
  m.kernel = name;
  m.error[0] = 0;
  m.count = static_cast<int>(block.x * block.y * block.z);
  m.shared_bytes = shared_bytes;
  m.body = &body;
  m.ldmatrix = wavefronts{};
  if (m.shared == nullptr || m.count > largest_block || shared_bytes > largest_shared) {
    std::snprintf(m.error, sizeof m.error, "%s: a block that the emulator has no room for", name);
    return m.error;
  }
  blockDim = block;
  gridDim = grid;
  const std::vector<int> order = start_order(m.count, m.order);
  const std::int64_t blocks = std::int64_t{grid.x} * grid.y * grid.z;
  for (std::int64_t i = 0; i < blocks; i++) {
    const std::int64_t at = m.order % 2 == 1 ? blocks - 1 - i : i;
    blockIdx = uint3{static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                     static_cast<unsigned>(at / grid.x / grid.y)};
    if (!run_block(order)) break;
  }
  return m.error;
}

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
