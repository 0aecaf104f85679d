// The thread pool: every task once, for any number of tasks and threads, nested calls included; scratch is kept.
#include <atomic>
#include <chrono>
#include <thread>

#include "kernel_test.h"

using namespace versemi_test;

namespace {

void check_cover(int threads) {
  versemi_context* context = versemi::create_context(threads);
  check(versemi::thread_count(context) == threads, "number of threads");
  for (int64_t tasks : {0, 1, 2, 3, 7, 24, 25, 1000}) {
    std::vector<std::atomic<int>> seen(static_cast<std::size_t>(tasks));
    std::atomic<bool> sound{true};
    versemi::parallel_for(context, tasks, [&](int64_t begin, int64_t end, int thread) {
      if (begin >= end || begin < 0 || end > tasks || thread < 0 || thread >= threads) sound = false;
      for (int64_t i = begin; i < end; i++) seen[static_cast<std::size_t>(i)]++;
    });
    for (std::atomic<int>& count : seen) sound = sound && count == 1;
    check(sound, "every task once: " + std::to_string(tasks) + " tasks, " + std::to_string(threads) + " threads");
  }
  // A nested call runs on the thread that makes it.
  std::atomic<int64_t> sum{0};
  std::atomic<bool> same{true};
  versemi::parallel_for(context, 10, [&](int64_t begin, int64_t end, int outer) {
    for (int64_t i = begin; i < end; i++)
      versemi::parallel_for(context, 5, [&](int64_t from, int64_t to, int inner) {
        if (inner != outer) same = false;
        sum += to - from;
      });
  });
  check(same && sum == 50, "nested calls");
  versemi::destroy_context(context);
}

// A thread that is held up must not hold up the tasks that it has not begun.
void check_stealing() {
  versemi_context* context = versemi::create_context(2);
  std::atomic<int> others{0};
  versemi::parallel_for(context, 16, [&](int64_t begin, int64_t end, int) {
    if (begin > 0) {
      others += static_cast<int>(end - begin);
      return;
    }
    for (int wait = 0; wait < 5000 && others < 16 - (end - begin); wait++)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    check(others == 16 - (end - begin), "the other thread takes over what is left");
  });
  versemi::destroy_context(context);
}

void check_scratch() {
  versemi_context* context = versemi::create_context(1);
  const auto first = versemi::scratch_slot::per_thread, second = versemi::scratch_slot::packed, third = versemi::scratch_slot::mapped;
  void* small = versemi::scratch(context, first, 100);
  check(small != nullptr && reinterpret_cast<std::uintptr_t>(small) % versemi::alignment == 0, "scratch is aligned");
  check(versemi::scratch(context, first, 50) == small, "scratch is kept");
  check(versemi::scratch(context, second, 50) != small, "slots are separate");
  void* large = versemi::scratch(context, first, 5 << 20);
  check(large != nullptr && versemi::scratch(context, first, 100) == large, "scratch grows and stays");
  check(versemi::scratch(context, third, std::size_t{1} << 60) == nullptr, "no memory is told, not thrown");
  check(versemi::scratch(context, third, 100) != nullptr, "a slot works after a refusal");
  versemi::destroy_context(context);
  versemi::destroy_context(nullptr);
}

// Many calls in a row, with pauses long enough for the workers to fall asleep.
void check_many_calls() {
  versemi_context* context = versemi::create_context(3);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 20000; i++) {
    versemi::parallel_for(context, 3, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
    if (i % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  check(sum == 60000, "many calls");
  versemi::destroy_context(context);
}

}  // namespace

int main() {
  for (int threads : {1, 2, 3, 7}) check_cover(threads);
  check_stealing();
  check_scratch();
  check_many_calls();
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
