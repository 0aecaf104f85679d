// What threads of a block call: collective instructions, barriers, conditions, asynchronous copies.
#include <cstdio>
#include <cstring>
#include <utility>

#include "emulator/block_state.h"

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

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

}  // namespace

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
  wake_group(index * participants, participants);
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

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
