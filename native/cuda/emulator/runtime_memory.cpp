// Memory of the emulated runtime: allocations, copies, pools.
#include <cstring>

#include "emulator/emulator.h"
#include "emulator/runtime_state.h"

namespace emulator = versemi::cuda::emulator;
using namespace versemi::cuda::emulator;

namespace {

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

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  const lock held(state().mutex);
  const cudaError_t error = begin_call(false);
  return error != cudaSuccess ? error : allocate(pointer, bytes);
}

cudaError_t cudaFree(void* pointer) {
  return until_ready([pointer] {
    cudaError_t error = begin_call(false);
    if (error == cudaSuccess) error = run_everything();
    return error != cudaSuccess ? error : release(pointer);
  });
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t stream) {
  return until_ready([pointer, bytes, stream] {
    cudaStream_t to = resolve(stream);
    cudaError_t error = begin_call(!capturing(to));
    if (error != cudaSuccess) return error;
    if (to == nullptr) return give(cudaErrorInvalidResourceHandle);
    // Memory whose release waits in a stream is there again once that has run.
    if (state().memory.bytes() + bytes > state().memory_bytes) error = run_everything();
    return error != cudaSuccess ? error : allocate(pointer, bytes);
  });
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
  return until_ready([pointer] {
    cudaError_t error = begin_call(false);
    if (error == cudaSuccess) error = run_everything();
    if (error != cudaSuccess || pointer == nullptr) return error;
    return state().pinned.release(pointer) ? cudaSuccess : give(cudaErrorInvalidValue);
  });
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  const lock held(state().mutex);
  *total = state().memory_bytes;
  *free = state().memory_bytes - state().memory.bytes();
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  return until_ready([=] {
    cudaError_t error = begin_call(false);
    if (error != cudaSuccess) return error;
    if (!copy_fits(to, from, bytes, kind)) return give(cudaErrorInvalidValue);
    error = enqueue(nullptr, [] { return cudaSuccess; });  // after all blocking streams
    if (error == cudaSuccess) error = run_all(&state().standard);
    if (error == cudaSuccess && bytes != 0) std::memcpy(to, from, bytes);
    return error;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  std::unique_lock<std::mutex> held(state().mutex);
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
  held.unlock();
  return error == cudaSuccess && pageable ? until_ready([stream] { return run_all(resolve(stream)); }) : error;
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
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return until_ready(run_everything); }
