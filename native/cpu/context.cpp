#include "context.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace {

// Small enough that starting a piece costs nothing beside it, large enough that a late thread loses little.
constexpr int pieces_per_thread = 8;
constexpr std::size_t huge_page = std::size_t{2} << 20;

std::size_t block_alignment(std::size_t bytes) { return bytes >= huge_page ? huge_page : versemi::alignment; }

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : static_cast<int>(cores);
}

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Number of the thread while it is inside run_tasks, else -1: a nested call runs in place, as the same thread.
thread_local int current_thread = -1;

}  // namespace

struct versemi_context {
  struct block {
    void* memory = nullptr;
    std::size_t bytes = 0;
  };
  block slots[static_cast<std::size_t>(versemi::scratch_slot::count)];
  int threads = 1;
  bool exact = false;

  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<std::uint64_t> generation{0};  // one more for each call of run_tasks; workers wait for the change
  std::atomic<bool> stop{false};
  // Workers inside the current call, + closed where none may enter any more. The caller closes the gate when no piece is
  // left, so that it never waits for a worker that has not woken yet. Guards what describes the call.
  static constexpr std::uint32_t closed = 0x80000000u;
  std::atomic<std::uint32_t> gate{closed};
  versemi::task_function function = nullptr;
  void* closure = nullptr;
  std::int64_t tasks = 0;
  std::int64_t pieces = 0;
  // Pieces of each thread that nobody has taken: [low half, high half). Its own thread takes the first, others the last.
  struct alignas(64) piece_range {
    std::atomic<std::uint64_t> range{0};
  };
  std::unique_ptr<piece_range[]> ranges;

  static std::uint64_t pack(std::int64_t begin, std::int64_t end) {
    return static_cast<std::uint64_t>(begin) | static_cast<std::uint64_t>(end) << 32;
  }

  // The number of a piece that is left in the range, or -1.
  static std::int64_t take(piece_range& of, bool first) {
    std::uint64_t range = of.range.load(std::memory_order_relaxed);
    for (;;) {
      const std::int64_t begin = static_cast<std::int64_t>(range & 0xffffffffu),
                         end = static_cast<std::int64_t>(range >> 32);
      if (begin >= end) return -1;
      const std::uint64_t rest = first ? pack(begin + 1, end) : pack(begin, end - 1);
      if (of.range.compare_exchange_weak(range, rest, std::memory_order_relaxed)) return first ? begin : end - 1;
    }
  }

  void cut_tasks() {
    pieces = std::min<std::int64_t>(tasks, static_cast<std::int64_t>(threads) * pieces_per_thread);
    for (int i = 0; i < threads; i++)
      ranges[i].range.store(pack(pieces * i / threads, pieces * (i + 1) / threads), std::memory_order_relaxed);
  }

  void part(int thread) {
    for (int i = 0; i < threads; i++) {
      piece_range& of = ranges[(thread + i) % threads];
      for (std::int64_t piece; (piece = take(of, i == 0)) >= 0;)
        function(closure, tasks * piece / pieces, tasks * (piece + 1) / pieces, thread);
    }
  }

  // Waits about 20 us for work before it sleeps: ops follow each other closely, and waking a thread costs more.
  std::uint64_t wait_for_change(std::uint64_t seen) {
    for (int i = 0; i < 600; i++) {
      const std::uint64_t now = generation.load(std::memory_order_acquire);
      if (now != seen) return now;
      pause_cpu();
    }
    std::unique_lock<std::mutex> lock(mutex);
    wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
    return generation.load(std::memory_order_acquire);
  }

  void announce() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
  }

  void work(int thread) {
    current_thread = thread;
    for (std::uint64_t seen = 0;;) {
      seen = wait_for_change(seen);
      if (stop) return;
      if (!enter()) continue;
      part(thread);
      gate.fetch_sub(1, std::memory_order_release);
    }
  }

  bool enter() {
    std::uint32_t inside = gate.load(std::memory_order_relaxed);
    while ((inside & closed) == 0)
      if (gate.compare_exchange_weak(inside, inside + 1, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    return false;
  }
};

namespace versemi {

void* allocate_aligned(std::size_t bytes) noexcept {
  if (bytes == 0) bytes = 1;
  void* memory = ::operator new(bytes, std::align_val_t(block_alignment(bytes)), std::nothrow);
#if defined(__linux__)
  if (memory != nullptr && bytes >= huge_page) madvise(memory, bytes & ~(huge_page - 1), MADV_HUGEPAGE);
#endif
  return memory;
}

void free_aligned(void* memory, std::size_t bytes) noexcept {
  if (bytes == 0) bytes = 1;
  ::operator delete(memory, std::align_val_t(block_alignment(bytes)));
}

versemi_context* create_context(int threads) noexcept {
  versemi_context* context = new (std::nothrow) versemi_context;
  if (context == nullptr) return nullptr;
  context->threads = threads > 0 ? threads : available_cores();
  try {
    context->ranges = std::make_unique<versemi_context::piece_range[]>(static_cast<std::size_t>(context->threads));
  } catch (...) {
    delete context;
    return nullptr;
  }
  try {
    for (int i = 1; i < context->threads; i++) context->workers.emplace_back(&versemi_context::work, context, i);
  } catch (...) {
    // The system gives fewer threads than asked for: go on with those it gave.
    context->threads = 1 + static_cast<int>(context->workers.size());
  }
  return context;
}

void destroy_context(versemi_context* context) noexcept {
  if (context == nullptr) return;
  context->stop = true;
  context->announce();
  for (std::thread& worker : context->workers) worker.join();
  for (versemi_context::block& slot : context->slots)
    if (slot.memory != nullptr) free_aligned(slot.memory, slot.bytes);
  delete context;
}

int thread_count(const versemi_context* context) noexcept { return context->threads; }

void set_exact(versemi_context* context, bool exact) noexcept { context->exact = exact; }

bool is_exact(const versemi_context* context) noexcept { return context->exact; }

void* scratch(versemi_context* context, scratch_slot slot, std::size_t bytes) noexcept {
  versemi_context::block& block = context->slots[static_cast<std::size_t>(slot)];
  if (block.bytes < bytes || block.memory == nullptr) {
    if (block.memory != nullptr) free_aligned(block.memory, block.bytes);
    block.memory = allocate_aligned(bytes);
    block.bytes = block.memory == nullptr ? 0 : bytes;
  }
  return block.memory;
}

void run_tasks(versemi_context* context, std::int64_t tasks, task_function function, void* closure) noexcept {
  if (tasks <= 0) return;
  if (current_thread >= 0 || context->threads == 1 || tasks == 1) {
    function(closure, 0, tasks, current_thread >= 0 ? current_thread : 0);
    return;
  }
  context->function = function;
  context->closure = closure;
  context->tasks = tasks;
  context->cut_tasks();
  context->gate.store(0, std::memory_order_release);
  context->announce();
  current_thread = 0;
  context->part(0);
  current_thread = -1;
  context->gate.fetch_or(versemi_context::closed, std::memory_order_relaxed);
  for (int spins = 0; context->gate.load(std::memory_order_acquire) != versemi_context::closed; spins++) {
    pause_cpu();
    // Another process may hold the core that the last worker needs.
    if (spins > 2000) std::this_thread::yield();
  }
}

versemi_status failure(versemi_status_code code, const char* format, ...) noexcept {
  versemi_status status{static_cast<std::int32_t>(code), {0}};
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(status.message, sizeof status.message, format, arguments);
  va_end(arguments);
  return status;
}

}  // namespace versemi
