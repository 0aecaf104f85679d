// The device functions of intrinsics_hopper.h for the emulator. What the hardware does beside the threads happens here at
// awkward moments: a copy at once or as late as possible, a product when it is waited for; accumulators that a product owns
// hold NaN until then.
#ifndef VERSEMI_CUDA_EMULATOR_HOPPER_H
#define VERSEMI_CUDA_EMULATOR_HOPPER_H

#include "conv/hopper/intrinsics_hopper.h"

namespace versemi {
namespace cuda {

namespace emulator {

void mbarrier_init(std::uint64_t* barrier, int arrivals);
void mbarrier_arrive(std::uint64_t* barrier, std::uint32_t expected_bytes);
void mbarrier_wait(std::uint64_t* barrier, unsigned parity);
void bulk_copy(void* shared, const void* global, std::uint32_t bytes, std::uint64_t* barrier);
void tensor_copy(void* shared, const tensor_shape& shape, const int (&at)[5], std::uint64_t* barrier);
void tensor_store(const tensor_shape& shape, const void* shared, const int (&at)[5]);
void bulk_commit();
void bulk_wait_read(int in_flight);
void fence_proxy_async();

struct store_matrix_operands {
  void* row;
  const std::uint32_t* r;
};
void store_matrix_work(void* const* operands, int participants);

struct wgmma_operands {
  float* d;
  std::uint64_t a, b;
  int columns;
  bool mn_major;
};
void wgmma_work(void* const* operands, int participants);
void wgmma_fence_work(void* const* operands, int participants);
void wgmma_commit_work(void* const* operands, int participants);
void wgmma_wait_work(void* const* operands, int participants);

}  // namespace emulator

// An offset into the dynamic shared memory: below 2^18, as descriptors want it.
inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(static_cast<const unsigned char*>(pointer) - emulator::dynamic_shared_memory());
}

inline void mbarrier_init(std::uint64_t* barrier, int arrivals) { emulator::mbarrier_init(barrier, arrivals); }
inline void mbarrier_init_done() {}
inline void mbarrier_arrive(std::uint64_t* barrier) { emulator::mbarrier_arrive(barrier, 0); }
inline void mbarrier_arrive_expect(std::uint64_t* barrier, std::uint32_t bytes) { emulator::mbarrier_arrive(barrier, bytes); }
inline void mbarrier_wait(std::uint64_t* barrier, unsigned parity) { emulator::mbarrier_wait(barrier, parity); }

inline void bulk_copy(void* shared, const void* global, std::uint32_t bytes, std::uint64_t* barrier) {
  emulator::bulk_copy(shared, global, bytes, barrier);
}
inline void tensor_copy(void* shared, const tensor_map* map, int c0, int c1, int c2, int c3, int c4, std::uint64_t* barrier) {
  const int at[5] = {c0, c1, c2, c3, c4};
  emulator::tensor_copy(shared, map->shape, at, barrier);
}
inline void tensor_store(const tensor_map* map, const void* shared, int c0, int c1, int c2, int c3, int c4) {
  const int at[5] = {c0, c1, c2, c3, c4};
  emulator::tensor_store(map->shape, shared, at);
}
inline void bulk_commit() { emulator::bulk_commit(); }
template <int N>
inline void bulk_wait_read() {
  emulator::bulk_wait_read(N);
}
inline void fence_proxy_async() { emulator::fence_proxy_async(); }

inline void store_matrix_x4_trans(void* shared_row, const std::uint32_t (&r)[4]) {
  emulator::store_matrix_operands operands = {shared_row, r};
  emulator::collective("stmatrix", 32, &operands, emulator::store_matrix_work);
}

inline void wgmma_fence() { emulator::collective("wgmma.fence", 128, nullptr, emulator::wgmma_fence_work); }
inline void wgmma_commit() { emulator::collective("wgmma.commit_group", 128, nullptr, emulator::wgmma_commit_work); }
template <int N>
inline void wgmma_wait() {
  int in_flight = N;
  emulator::collective("wgmma.wait_group", 128, &in_flight, emulator::wgmma_wait_work);
}
template <int N>
inline void wgmma_bf16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b) {
  static_assert(N % 8 == 0 && N >= 8 && N <= 256, "m64nNk16");
  emulator::wgmma_operands operands = {d, a, b, N, false};
  emulator::collective("wgmma.mma_async", 128, &operands, emulator::wgmma_work);
}
template <int N>
inline void wgmma_bf16_mn(float (&d)[N / 2], std::uint64_t a, std::uint64_t b) {
  static_assert(N % 8 == 0 && N >= 8 && N <= 256, "m64nNk16");
  emulator::wgmma_operands operands = {d, a, b, N, true};
  emulator::collective("wgmma.mma_async", 128, &operands, emulator::wgmma_work);
}

}  // namespace cuda
}  // namespace versemi

#endif
