// The device functions of intrinsics.h for the emulator. Fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16",
// "... mma.m16n8k8", "ldmatrix".
#ifndef VERSEMI_CUDA_EMULATOR_INTRINSICS_H
#define VERSEMI_CUDA_EMULATOR_INTRINSICS_H

#include "core/intrinsics.h"

namespace versemi {
namespace cuda {

// --- numbers ----------------------------------------------------------------------------------------------------------

inline float to_float(bf16 value) { return __uint_as_float(static_cast<std::uint32_t>(value.bits) << 16); }

inline bf16 to_bf16(float value) {
  if (value != value) return bf16{0x7fff};
  const std::uint32_t bits = __float_as_uint(value);
  return bf16{static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline std::uint32_t pack_bf16(float low, float high) {
  return to_bf16(low).bits | static_cast<std::uint32_t>(to_bf16(high).bits) << 16;
}

inline float2 unpack_bf16(std::uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

inline std::uint32_t to_tf32(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value != value ? 0x7fffffffu : bits;
  return (bits + 0x1000u) & 0xffffe000u;
}

// --- tensor cores -----------------------------------------------------------------------------------------------------

namespace emulator {

struct mma_operands {
  float* d;
  const std::uint32_t *a, *b;
};
void mma_bf16_work(void* const* operands, int participants);
void mma_tf32_work(void* const* operands, int participants);

struct ldmatrix_operands {
  std::uint32_t* r;
  const void* row;
};
template <int matrices, bool transposed>
void ldmatrix_work(void* const* operands, int participants);
extern template void ldmatrix_work<2, false>(void* const*, int);
extern template void ldmatrix_work<2, true>(void* const*, int);
extern template void ldmatrix_work<4, false>(void* const*, int);
extern template void ldmatrix_work<4, true>(void* const*, int);

}  // namespace emulator

inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulator::mma_operands operands = {d, a, b};
  emulator::collective("mma m16n8k16 bf16", 32, &operands, emulator::mma_bf16_work);
}

inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulator::mma_operands operands = {d, a, b};
  emulator::collective("mma m16n8k8 tf32", 32, &operands, emulator::mma_tf32_work);
}

// --- shared memory ----------------------------------------------------------------------------------------------------

inline unsigned char* shared_memory() { return emulator::dynamic_shared_memory(); }

inline void ldmatrix_x4(std::uint32_t (&r)[4], const void* shared_row) {
  emulator::ldmatrix_operands operands = {r, shared_row};
  emulator::collective("ldmatrix x4", 32, &operands, emulator::ldmatrix_work<4, false>);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* shared_row) {
  emulator::ldmatrix_operands operands = {r, shared_row};
  emulator::collective("ldmatrix x4 trans", 32, &operands, emulator::ldmatrix_work<4, true>);
}
inline void ldmatrix_x2(std::uint32_t (&r)[2], const void* shared_row) {
  emulator::ldmatrix_operands operands = {r, shared_row};
  emulator::collective("ldmatrix x2", 32, &operands, emulator::ldmatrix_work<2, false>);
}
inline void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* shared_row) {
  emulator::ldmatrix_operands operands = {r, shared_row};
  emulator::collective("ldmatrix x2 trans", 32, &operands, emulator::ldmatrix_work<2, true>);
}

// --- asynchronous copies ----------------------------------------------------------------------------------------------

inline void copy_async_16(void* shared, const void* global, bool valid) { emulator::copy_async(shared, global, 16, valid); }
inline void copy_async_8(void* shared, const void* global, bool valid) { emulator::copy_async(shared, global, 8, valid); }
inline void copy_async_4(void* shared, const void* global, bool valid) { emulator::copy_async(shared, global, 4, valid); }
inline void copy_async_commit() { emulator::copy_async_commit_group(); }
template <int N>
inline void copy_async_wait() {
  emulator::copy_async_wait_group(N);
}

// --- barriers ---------------------------------------------------------------------------------------------------------

inline void barrier() { emulator::barrier_all(); }
inline void barrier_named(int id, int threads) { emulator::barrier_sync(id, threads); }
inline void barrier_arrive(int id, int threads) { emulator::barrier_arrive_only(id, threads); }
inline void warp_barrier() {
  emulator::collective("warp_barrier", 32, nullptr, [](void* const*, int) {});
}

// --- warps ------------------------------------------------------------------------------------------------------------

inline int lane() { return static_cast<int>(threadIdx.x & 31u); }
inline int warp() { return static_cast<int>(threadIdx.x >> 5); }

namespace emulator {

template <typename T>
struct shuffle_operands {
  T given, taken;
  int from;  // lane
};

template <typename T>
T exchange(const char* instruction, T value, int from) {
  shuffle_operands<T> own = {value, value, from};
  collective(instruction, 32, &own, [](void* const* operands, int) {
    for (int i = 0; i < 32; i++) {
      auto* taker = static_cast<shuffle_operands<T>*>(operands[i]);
      taker->taken = static_cast<shuffle_operands<T>*>(operands[taker->from])->given;
    }
  });
  return own.taken;
}

}  // namespace emulator

template <typename T>
inline T shuffle_xor(T value, int mask) {
  return emulator::exchange("shuffle_xor", value, (lane() ^ mask) & 31);
}
template <typename T>
inline T shuffle_down(T value, int delta) {
  return emulator::exchange("shuffle_down", value, lane() + delta > 31 ? lane() : lane() + delta);
}
template <typename T>
inline T shuffle(T value, int source) {
  return emulator::exchange("shuffle", value, source & 31);
}

inline unsigned ballot(bool predicate) {
  struct vote {
    bool predicate;
    unsigned mask;
  } own = {predicate, 0};
  emulator::collective("ballot", 32, &own, [](void* const* operands, int) {
    unsigned mask = 0;
    for (int i = 0; i < 32; i++) mask |= static_cast<unsigned>(static_cast<vote*>(operands[i])->predicate) << i;
    for (int i = 0; i < 32; i++) static_cast<vote*>(operands[i])->mask = mask;
  });
  return own.mask;
}

template <typename T>
inline T load_once(const T* global) {
  return *global;
}

}  // namespace cuda
}  // namespace versemi

#endif
