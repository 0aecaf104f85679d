// What the parts of the emulated runtime share: streams, events, graphs, the state, and how work gets into a stream. Functions
// are those of runtime.cpp; callers hold the lock.
#ifndef VERSEMI_CUDA_EMULATOR_RUNTIME_STATE_H
#define VERSEMI_CUDA_EMULATOR_RUNTIME_STATE_H

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "emulator/memory.h"
#include "emulator/runtime.h"

using work_item = std::function<cudaError_t()>;

// One record of an event in a stream.
struct event_record {
  bool done = false;
  std::chrono::steady_clock::time_point time;
  versemi_emulated_stream* stream = nullptr;
};

struct versemi_emulated_graph {
  std::vector<work_item> items;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  versemi_emulated_stream* origin = nullptr;
  bool invalid = false;
};
struct versemi_emulated_graph_program {
  std::shared_ptr<std::vector<work_item>> items;
};
struct versemi_emulated_stream {
  std::deque<work_item> queue;
  bool non_blocking = false;
  versemi_emulated_graph* capture = nullptr;
};
struct versemi_emulated_event {
  std::shared_ptr<event_record> record;
  versemi_emulated_graph* captured = nullptr;  // recorded in a capture: orders nothing outside of it
};

namespace versemi {
namespace cuda {
namespace emulator {

using lock = std::lock_guard<std::mutex>;

struct runtime_state {
  std::mutex mutex;
  cudaError_t last = cudaSuccess, sticky = cudaSuccess;
  std::string failure;
  int capability = 90;
  std::size_t memory_bytes = std::size_t{24} << 30;
  memory_pieces memory, pinned;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  versemi_emulated_stream standard;  // stream nullptr
  std::set<versemi_emulated_graph*> captures;  // under way
  std::map<const void*, int> allowed_shared;
};

runtime_state& state();
// Remembers the error as the last one.
cudaError_t give(cudaError_t error);
// A kernel failed: like a device after an illegal access, nothing goes on.
cudaError_t die(cudaError_t error, const char* words);
int shared_limit(int capability);
// The stream of a handle; nullptr: there is none such.
cudaStream_t resolve(cudaStream_t stream);
// cudaErrorNotReady: the next item waits for something outside of this process, and is still in the queue.
cudaError_t run_until(cudaStream_t stream, const std::function<bool()>& done);
cudaError_t run_all(cudaStream_t stream);
cudaError_t run_everything();
// A call that a capture does not allow: it fails, and so does every capture that forbids it.
bool forbidden_by_capture();
cudaError_t begin_call(bool allowed_in_capture);
// Puts work into the stream, or into the graph that it is captured to.
cudaError_t enqueue(cudaStream_t stream, work_item item);
bool capturing(cudaStream_t stream);

// Calls `run` with the lock held, again and again as long as what it runs waits for something outside of this process; the lock is free
// in between.
template <typename Run>
cudaError_t until_ready(Run run) {
  for (;;) {
    {
      const lock held(state().mutex);
      const cudaError_t error = run();
      if (error != cudaErrorNotReady) return error;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

#endif
