// Runs the blocks of a grid: fibres, and who waits where.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "emulator/block_state.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace versemi {
namespace cuda {
namespace emulator {

machine& device() {
  static machine* const state = [] {
    auto* made = new machine;
    made->shared = static_cast<unsigned char*>(std::aligned_alloc(4096, largest_shared + guard_bytes));
    return made;
  }();
  return *state;
}

static void make_ready(int thread) {
  machine& m = device();
  m.ready[(m.first_ready + m.ready_count++) % largest_block] = thread;
}

static void make_ready_first(int thread) {
  machine& m = device();
  m.first_ready = (m.first_ready + largest_block - 1) % largest_block;
  m.ready[m.first_ready] = thread;
  m.ready_count++;
}

thread_state& self() {
  machine& m = device();
  return m.threads[static_cast<std::size_t>(m.current)];
}

// Number i of n in the order that was asked for.
static std::vector<int> start_order(int n, unsigned order) {
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
static void report_deadlock() {
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

// Which thread goes on next; -1: none can, or all have ended. Work beside the threads and conditions come last.
static int next_thread() {
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

void wake_group(int first, int count) {
  machine& m = device();
  for (int i = 0; i < count; i++) {
    // In order 1 a warp goes on alone, as far as it can.
    const int thread = m.order == 1 ? first + count - 1 - i : first + i;
    if (thread == m.current) continue;
    m.threads[static_cast<std::size_t>(thread)].waits_for = nullptr;
    if (m.order == 1)
      make_ready_first(thread);
    else
      make_ready(thread);
  }
}

static void run_thread() {
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

static bool run_block(const std::vector<int>& order) {
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
