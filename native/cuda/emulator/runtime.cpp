#include "runtime.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "emulator.h"
#include "memory.h"

namespace emulator = versemi::cuda::emulator;

using work_item = std::function<cudaError_t()>;
using lock = std::lock_guard<std::mutex>;

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

namespace {

struct runtime_state {
  std::mutex mutex;
  cudaError_t last = cudaSuccess, sticky = cudaSuccess;
  std::string failure;
  int capability = 90;
  std::size_t memory_bytes = std::size_t{24} << 30;
  emulator::memory_pieces memory, pinned;
  std::set<cudaStream_t> streams;
  std::set<cudaEvent_t> events;
  versemi_emulated_stream standard;  // stream nullptr
  std::set<versemi_emulated_graph*> captures;  // under way
  std::map<const void*, int> allowed_shared;
};

runtime_state& state() {
  static auto* const s = new runtime_state;
  return *s;
}

cudaError_t give(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) state().last = error;
  return error;
}

// A kernel failed: like a device after an illegal access, nothing goes on.
cudaError_t die(cudaError_t error, const char* words) {
  runtime_state& s = state();
  s.sticky = error;
  s.failure = words;
  s.standard.queue.clear();
  for (cudaStream_t stream : s.streams) stream->queue.clear();
  return give(error);
}

int shared_limit(int capability) { return (capability == 80 ? 163 : capability >= 90 ? 227 : 99) * 1024; }

cudaStream_t resolve(cudaStream_t stream) {
  runtime_state& s = state();
  if (stream == nullptr) return &s.standard;
  return s.streams.count(stream) != 0 ? stream : nullptr;
}

cudaError_t run_until(cudaStream_t stream, const std::function<bool()>& done) {
  while (!stream->queue.empty() && !done()) {
    const work_item item = std::move(stream->queue.front());
    stream->queue.pop_front();
    const cudaError_t error = item();
    if (error != cudaSuccess) return error;
  }
  return state().sticky;
}
cudaError_t run_all(cudaStream_t stream) {
  return run_until(stream, [] { return false; });
}
cudaError_t run_everything() {
  runtime_state& s = state();
  cudaError_t error = run_all(&s.standard);
  for (cudaStream_t stream : s.streams)
    if (error == cudaSuccess) error = run_all(stream);
  return error;
}

// A call that a capture does not allow: it fails, and so does every capture that forbids it.
bool forbidden_by_capture() {
  bool forbidden = false;
  for (versemi_emulated_graph* graph : state().captures)
    if (graph->mode == cudaStreamCaptureModeGlobal ||
        (graph->mode == cudaStreamCaptureModeThreadLocal && graph->thread == std::this_thread::get_id()))
      forbidden = graph->invalid = true;
  return forbidden;
}

cudaError_t begin_call(bool allowed_in_capture) {
  if (state().sticky != cudaSuccess) return give(state().sticky);
  if (!allowed_in_capture && forbidden_by_capture()) return give(cudaErrorStreamCaptureUnsupported);
  return cudaSuccess;
}

// Puts work into the stream, or into the graph that it is captured to.
cudaError_t enqueue(cudaStream_t stream, work_item item) {
  if (state().sticky != cudaSuccess) return give(state().sticky);
  cudaStream_t to = resolve(stream);
  if (to == nullptr) return give(cudaErrorInvalidResourceHandle);
  if (to == &state().standard && forbidden_by_capture()) return give(cudaErrorStreamCaptureImplicit);
  if (to->capture != nullptr) {
    if (to->capture->invalid) return give(cudaErrorStreamCaptureInvalidated);
    to->capture->items.push_back(std::move(item));
    return cudaSuccess;
  }
  if (to == &state().standard) {
    // Work of the standard stream comes after that of all blocking ones.
    for (cudaStream_t other : state().streams)
      if (!other->non_blocking && run_all(other) != cudaSuccess) return state().sticky;
  } else if (!to->non_blocking && run_all(&state().standard) != cudaSuccess) {
    return state().sticky;
  }
  to->queue.push_back(std::move(item));
  return cudaSuccess;
}

bool capturing(cudaStream_t stream) { return stream != nullptr && stream->capture != nullptr; }

// Whether the device side of a copy is device memory.
bool copy_fits(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const emulator::memory_pieces& memory = state().memory;
  if (bytes == 0) return true;
  if ((kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) && !memory.holds(to, bytes)) return false;
  return (kind != cudaMemcpyDeviceToHost && kind != cudaMemcpyDeviceToDevice) || memory.holds(from, bytes);
}

cudaError_t allocate(void** pointer, std::size_t bytes) {
  runtime_state& s = state();
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  if (s.memory.bytes() + bytes > s.memory_bytes) return give(cudaErrorMemoryAllocation);
  *pointer = s.memory.allocate(bytes, true);
  return *pointer == nullptr ? give(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t release(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  const bool damaged = state().memory.damaged(pointer);
  if (!state().memory.release(pointer)) return give(cudaErrorInvalidValue);
  return damaged ? die(cudaErrorLaunchFailure, "memory that was freed had been written outside") : cudaSuccess;
}

}  // namespace

// --- device -----------------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : give(cudaErrorInvalidDevice); }
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return give(cudaErrorInvalidDevice);
  const lock held(state().mutex);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; break;  // few: persistent grids stay small
    case cudaDevAttrL2CacheSize: *value = 4 << 20; break;
    case cudaDevAttrComputeCapabilityMajor: *value = state().capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = state().capability % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = shared_limit(state().capability); break;
    case cudaDevAttrMemoryPoolsSupported: *value = 1; break;
    default: return give(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return give(cudaErrorInvalidDevice);
  std::memset(properties, 0, sizeof *properties);
  const auto value = [](cudaDeviceAttr attribute) {
    int result = 0;
    cudaDeviceGetAttribute(&result, attribute, 0);
    return result;
  };
  properties->major = value(cudaDevAttrComputeCapabilityMajor);
  properties->minor = value(cudaDevAttrComputeCapabilityMinor);
  properties->multiProcessorCount = value(cudaDevAttrMultiProcessorCount);
  properties->l2CacheSize = value(cudaDevAttrL2CacheSize);
  properties->sharedMemPerBlock = 48 * 1024;
  properties->sharedMemPerBlockOptin = static_cast<std::size_t>(value(cudaDevAttrMaxSharedMemoryPerBlockOptin));
  properties->maxThreadsPerBlock = 1024;
  properties->totalGlobalMem = state().memory_bytes;
  std::snprintf(properties->name, sizeof properties->name, "emulated device of capability %d.%d", properties->major,
                properties->minor);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  return error != cudaSuccess ? error : run_everything();
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

cudaError_t cudaGetLastError() {
  const lock held(state().mutex);
  const cudaError_t error = state().last;
  state().last = state().sticky;
  return error;
}
cudaError_t cudaPeekAtLastError() {
  const lock held(state().mutex);
  return state().last;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidDevicePointer: return "cudaErrorInvalidDevicePointer";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle: return "cudaErrorInvalidResourceHandle";
    case cudaErrorIllegalState: return "cudaErrorIllegalState";
    case cudaErrorNotReady: return "cudaErrorNotReady";
    case cudaErrorLaunchOutOfResources: return "cudaErrorLaunchOutOfResources";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported: return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnmatched: return "cudaErrorStreamCaptureUnmatched";
    case cudaErrorStreamCaptureIsolation: return "cudaErrorStreamCaptureIsolation";
    case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
    case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
  }
  return "unknown error";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? state().failure.c_str() : cudaGetErrorName(error);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const lock held(state().mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || value > shared_limit(state().capability)) return give(cudaErrorInvalidValue);
  state().allowed_shared[function] = value;
  return cudaSuccess;
}

// --- memory -----------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  return error != cudaSuccess ? error : allocate(pointer, bytes);
}

cudaError_t cudaFree(void* pointer) {
  const lock held(state().mutex);
  cudaError_t error = begin_call(false);
  if (error == cudaSuccess) error = run_everything();
  return error != cudaSuccess ? error : release(pointer);
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  const lock held(state().mutex);
  cudaStream_t to = resolve(stream);
  const cudaError_t error = begin_call(!capturing(to));
  if (error != cudaSuccess) return error;
  if (to == nullptr) return give(cudaErrorInvalidResourceHandle);
  // Memory whose release waits in a stream is there again once that has run.
  if (state().memory.bytes() + bytes > state().memory_bytes && run_everything() != cudaSuccess) return state().sticky;
  return allocate(pointer, bytes);
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const lock held(state().mutex);
  if (pointer != nullptr && !state().memory.holds(pointer, 1)) return give(cudaErrorInvalidValue);
  return enqueue(stream, [pointer] { return release(pointer); });
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes) {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  *pointer = state().pinned.allocate(bytes, false);
  return *pointer == nullptr ? give(cudaErrorMemoryAllocation) : cudaSuccess;
}
cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }

cudaError_t cudaFreeHost(void* pointer) {
  const lock held(state().mutex);
  cudaError_t error = begin_call(false);
  if (error == cudaSuccess) error = run_everything();
  if (error != cudaSuccess || pointer == nullptr) return error;
  return state().pinned.release(pointer) ? cudaSuccess : give(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const lock held(state().mutex);
  *total = state().memory_bytes;
  *free = state().memory_bytes - state().memory.bytes();
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const lock held(state().mutex);
  cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  if (!copy_fits(to, from, bytes, kind)) return give(cudaErrorInvalidValue);
  error = enqueue(nullptr, [] { return cudaSuccess; });  // after all blocking streams
  if (error == cudaSuccess) error = run_all(&state().standard);
  if (error == cudaSuccess && bytes != 0) std::memcpy(to, from, bytes);
  return error;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const lock held(state().mutex);
  if (!copy_fits(to, from, bytes, kind)) return give(cudaErrorInvalidValue);
  const bool pageable = (kind == cudaMemcpyHostToDevice && !state().pinned.holds(from, bytes)) ||
                        (kind == cudaMemcpyDeviceToHost && !state().pinned.holds(to, bytes));
  if (pageable && capturing(resolve(stream))) {
    forbidden_by_capture();
    return give(cudaErrorStreamCaptureUnsupported);
  }
  if (bytes == 0) return cudaSuccess;
  if (pageable && kind == cudaMemcpyHostToDevice) {  // taken over before the call returns
    const auto* begin = static_cast<const unsigned char*>(from);
    return enqueue(stream, [to, held_bytes = std::vector<unsigned char>(begin, begin + bytes)] {
      std::memcpy(to, held_bytes.data(), held_bytes.size());
      return cudaSuccess;
    });
  }
  const cudaError_t error = enqueue(stream, [to, from, bytes] {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
  });
  return error == cudaSuccess && pageable ? run_all(resolve(stream)) : error;
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  const lock held(state().mutex);
  if (bytes != 0 && !state().memory.holds(pointer, bytes)) return give(cudaErrorInvalidValue);
  return enqueue(stream, [pointer, value, bytes] {
    if (bytes != 0) std::memset(pointer, value, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  const cudaError_t error = cudaMemsetAsync(pointer, value, bytes, nullptr);
  return error != cudaSuccess ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  if (device != 0) return give(cudaErrorInvalidDevice);
  *pool = reinterpret_cast<cudaMemPool_t>(&state().memory);
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  if (attribute == cudaMemPoolAttrReleaseThreshold) return give(cudaErrorNotSupported);
  const lock held(state().mutex);
  *static_cast<std::uint64_t*>(value) = state().memory.bytes();
  return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) {
  const lock held(state().mutex);
  return run_everything();
}

// --- streams and events -----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const lock held(state().mutex);
  *stream = new versemi_emulated_stream;
  (*stream)->non_blocking = (flags & cudaStreamNonBlocking) != 0;
  state().streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const lock held(state().mutex);
  if (stream == nullptr || resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
  const cudaError_t error = run_all(stream);
  state().streams.erase(stream);
  delete stream;
  return error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  cudaStream_t on = resolve(stream);
  return on == nullptr ? give(cudaErrorInvalidResourceHandle) : run_all(on);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const lock held(state().mutex);
  cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  cudaStream_t on = resolve(stream);
  if (on == nullptr) return give(cudaErrorInvalidResourceHandle);
  if (on->queue.empty()) return cudaSuccess;
  error = run_all(on);
  return error != cudaSuccess ? error : cudaErrorNotReady;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* argument) {
  const lock held(state().mutex);
  return enqueue(stream, [function, argument] {
    function(argument);
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const lock held(state().mutex);
  *event = new versemi_emulated_event;
  state().events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const lock held(state().mutex);
  if (state().events.erase(event) == 0) return give(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr || state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  event->captured = on->capture;
  if (on->capture != nullptr) return on->capture->invalid ? give(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
  const auto record = std::make_shared<event_record>();
  record->stream = on;
  const cudaError_t error = enqueue(stream, [record] {
    record->done = true;
    record->time = std::chrono::steady_clock::now();
    return cudaSuccess;
  });
  if (error == cudaSuccess) event->record = record;
  return error;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr || state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  if (event->captured != nullptr) {
    if (state().captures.count(event->captured) == 0) return give(cudaErrorCapturedEvent);
    if (on->capture != nullptr && on->capture != event->captured) return give(cudaErrorStreamCaptureIsolation);
    on->capture = event->captured;  // joins the capture; the order of recording is an order that all events allow
    return cudaSuccess;
  }
  if (on->capture != nullptr) {
    on->capture->invalid = true;
    return give(cudaErrorStreamCaptureIsolation);
  }
  const std::shared_ptr<event_record> record = event->record;
  if (record == nullptr || record->done) return cudaSuccess;
  return enqueue(stream, [record] {
    return record->done ? cudaSuccess : run_until(record->stream, [record] { return record->done; });
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  if (error != cudaSuccess) return error;
  if (state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
  if (event->captured != nullptr) return give(cudaErrorCapturedEvent);
  const std::shared_ptr<event_record> record = event->record;
  if (record == nullptr || record->done) return cudaSuccess;
  return run_until(record->stream, [record] { return record->done; });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  {
    const lock held(state().mutex);
    if (state().events.count(event) == 0) return give(cudaErrorInvalidResourceHandle);
    if (event->captured == nullptr && state().sticky == cudaSuccess && state().captures.empty() &&
        (event->record == nullptr || event->record->done))
      return cudaSuccess;
  }
  const cudaError_t error = cudaEventSynchronize(event);
  return error == cudaSuccess ? cudaErrorNotReady : error;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  const lock held(state().mutex);
  if (state().events.count(begin) == 0 || state().events.count(end) == 0 || begin->record == nullptr || end->record == nullptr)
    return give(cudaErrorInvalidResourceHandle);
  if (!begin->record->done || !end->record->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->record->time - begin->record->time).count();
  return cudaSuccess;
}

// --- graphs -----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const lock held(state().mutex);
  if (state().sticky != cudaSuccess) return give(state().sticky);
  if (stream == nullptr) return give(cudaErrorStreamCaptureUnsupported);
  if (resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return give(cudaErrorIllegalState);
  stream->capture = new versemi_emulated_graph;
  stream->capture->mode = mode;
  stream->capture->thread = std::this_thread::get_id();
  stream->capture->origin = stream;
  state().captures.insert(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const lock held(state().mutex);
  *graph = nullptr;
  if (stream == nullptr || resolve(stream) == nullptr) return give(cudaErrorInvalidResourceHandle);
  versemi_emulated_graph* captured = stream->capture;
  if (captured == nullptr) return give(cudaErrorIllegalState);
  if (captured->origin != stream) return give(cudaErrorStreamCaptureUnmatched);
  for (cudaStream_t other : state().streams)
    if (other->capture == captured) other->capture = nullptr;
  state().captures.erase(captured);
  if (captured->invalid) {
    delete captured;
    return give(cudaErrorStreamCaptureInvalidated);
  }
  *graph = captured;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const lock held(state().mutex);
  cudaStream_t on = resolve(stream);
  if (on == nullptr) return give(cudaErrorInvalidResourceHandle);
  *status = on->capture == nullptr    ? cudaStreamCaptureStatusNone
            : on->capture->invalid    ? cudaStreamCaptureStatusInvalidated
                                      : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* program, cudaGraph_t graph, unsigned long long) {
  const lock held(state().mutex);
  if (graph == nullptr) return give(cudaErrorInvalidValue);
  *program = new versemi_emulated_graph_program{std::make_shared<std::vector<work_item>>(graph->items)};
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t program, cudaStream_t) {
  return program == nullptr ? give(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t program, cudaStream_t stream) {
  const lock held(state().mutex);
  if (program == nullptr) return give(cudaErrorInvalidValue);
  return enqueue(stream, [items = program->items] {
    for (const work_item& item : *items) {
      const cudaError_t error = item();
      if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t program) {
  delete program;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

// --- launches and what tests set --------------------------------------------------------------------------------------

namespace versemi {
namespace cuda {
namespace emulator {

void check_global(const void* pointer, std::size_t bytes, const char* what) {
  // The lock is held: kernels run inside a call of the runtime.
  if (!state().memory.holds(pointer, bytes)) fail("%s reads outside of the memory of the device", what);
}

cudaError_t launch(const char* name, const void* function, dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, std::function<void()> body) {
  const lock held(state().mutex);
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu ||
      grid.y > 65535 || grid.z > 65535)
    return give(cudaErrorInvalidConfiguration);
  const auto allowed = state().allowed_shared.find(function);
  const int limit = allowed == state().allowed_shared.end() ? 48 * 1024 : std::max(allowed->second, 48 * 1024);
  if (shared_bytes > static_cast<std::size_t>(std::min(limit, shared_limit(state().capability))))
    return give(cudaErrorInvalidValue);
  return enqueue(stream, [name = std::string(name), grid, block, shared_bytes, body = std::move(body)] {
    const char* error = run_grid(name.c_str(), grid, block, shared_bytes, body);
    if (error[0] != 0) return die(cudaErrorLaunchFailure, error);
    if (state().memory.damaged())
      return die(cudaErrorLaunchFailure, (name + ": wrote outside of the memory of the device").c_str());
    return cudaSuccess;
  });
}

void set_device(int capability, std::size_t memory_bytes) {
  const lock held(state().mutex);
  state().capability = capability;
  state().memory_bytes = memory_bytes;
}
int compute_capability() { return state().capability; }

void reset() {
  const lock held(state().mutex);
  runtime_state& s = state();
  s.last = s.sticky = cudaSuccess;
  s.failure.clear();
  s.standard.queue.clear();
  for (cudaStream_t stream : s.streams) {
    stream->queue.clear();
    stream->capture = nullptr;
  }
  s.captures.clear();
}

std::size_t memory_in_use(int* pieces) {
  const lock held(state().mutex);
  if (pieces != nullptr) *pieces = state().memory.count();
  return state().memory.bytes();
}

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
