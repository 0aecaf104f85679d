// State, order of work, device, launches.
#include "emulator/runtime_state.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "emulator/emulator.h"

using namespace versemi::cuda::emulator;

namespace versemi {
namespace cuda {
namespace emulator {

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
    work_item item = std::move(stream->queue.front());
    stream->queue.pop_front();
    const cudaError_t error = item();
    if (error == cudaErrorNotReady) stream->queue.push_front(std::move(item));
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

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

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
  return until_ready([] {
    const cudaError_t error = begin_call(false);
    return error != cudaSuccess ? error : run_everything();
  });
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
