// CUDA C++ for the host's compiler: the words of the language, the vector types, and the block that a __global__ function
// runs in. Threads of a block are fibres that run until they must wait; blocks run one after the other, under one lock, so
// nothing here is thread-local. See README.md.
#ifndef VERSEMI_CUDA_EMULATOR_EMULATOR_H
#define VERSEMI_CUDA_EMULATOR_EMULATOR_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include "emulator/runtime.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// Of the thread that runs now.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline int __float_as_int(float value) { return static_cast<int>(__float_as_uint(value)); }
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __expf(float value) { return std::exp(value); }
inline float __logf(float value) { return std::log(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value)); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((std::uint64_t{a} * b) >> 32); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
// Only integers: sums of floats in the order of arrival would not repeat.
inline int atomicAdd(int* at, int value) { return *at += value, *at - value; }
inline unsigned atomicAdd(unsigned* at, unsigned value) { return *at += value, *at - value; }
inline void __threadfence() {}

namespace versemi {
namespace cuda {
namespace emulator {

// --- what intrinsics are made of --------------------------------------------------------------------------------------

// Number of the current thread in its block (x fastest), threads of the block, a number that differs between any two blocks
// that ever ran (for state that must start anew with each block).
int thread_rank();
int block_threads();
std::uint64_t block_serial();

// Ends the launch: it fails with this text (and where the thread is). Does not return.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// One instruction that `participants` consecutive threads (32: a warp, 128: a warpgroup) execute together. Each gives a
// pointer to its own operands; the last to arrive calls work(operands of all in order), then all go on. Threads of one group
// that meet in different instructions, or a group that the block has only a part of, fail the launch.
using collective_work = void (*)(void* const* operands, int participants);
void collective(const char* instruction, int participants, void* operands, collective_work work);

// bar.sync and bar.arrive: id 0..15, threads a multiple of 32. barrier_all is id 0 with all threads of the block.
void barrier_all();
void barrier_sync(int id, int threads);
void barrier_arrive_only(int id, int threads);

// Waits until condition(argument) holds. It is looked at only when no other thread can go on, after the work of `defer`.
using wait_condition = bool (*)(void* argument);
void wait_until(const char* what, wait_condition condition, void* argument);

// Work that goes on beside the threads (a bulk copy): done as late as possible, when no thread can go on, in order.
// What is left when the block ends is done then.
void defer(std::function<void()> work);

// cp.async of the current thread: happens in wait; until then `shared` holds NaN.
void copy_async(void* shared, const void* global, int bytes, bool valid);
void copy_async_commit_group();
void copy_async_wait_group(int in_flight);

unsigned char* dynamic_shared_memory();
std::size_t dynamic_shared_bytes();
// Fails the launch unless [pointer, + bytes) lies in memory that cudaMalloc gave / does not run past the end of the dynamic
// shared memory. `what` names the instruction.
void check_global(const void* pointer, std::size_t bytes, const char* what);
void check_shared(const void* pointer, std::size_t bytes, const char* what);

// Shared-memory wavefronts of ldmatrix since the last launch began: `needed` when no banks conflict, `taken` with them.
struct wavefronts {
  std::uint64_t needed = 0, taken = 0;
};
wavefronts& ldmatrix_wavefronts();

// --- launches ---------------------------------------------------------------------------------------------------------

// Enqueues (or records, in a capture) a kernel; `body` is one thread of it. function: identity for cudaFuncSetAttribute.
cudaError_t launch(const char* name, const void* function, dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, std::function<void()> body);

// Runs all blocks now. Empty when all went well, else what failed.
const char* run_grid(const char* name, dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

// In which order the threads of a block and the blocks of a grid start: 0 ascending, 1 descending, others shuffled. In 0 and
// others warps take turns; in 1 a warp goes on alone until it waits for another, so that it meets memory that the others have
// not read yet. A kernel must give the same bits in all of them.
void set_order(unsigned order);

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi

#endif
