// The device functions of intrinsics_hopper.h as inline PTX, for sm_90a.
#ifndef VERSEMI_CUDA_INTRINSICS_HOPPER_CUDA_H
#define VERSEMI_CUDA_INTRINSICS_HOPPER_CUDA_H

#include "conv/hopper/intrinsics_hopper.h"

namespace versemi {
namespace cuda {

// --- mbarrier (PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier") ---------------------------

__device__ __forceinline__ void mbarrier_init(std::uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// The copy engine, too, must see the barriers as they were made.
__device__ __forceinline__ void mbarrier_init_done() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void mbarrier_arrive_expect(std::uint64_t* barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void mbarrier_wait(std::uint64_t* barrier, unsigned parity) {
  const std::uint32_t address = shared_address(barrier);
  std::uint32_t complete;
  do {  // try_wait sleeps a while by itself
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n"
        "}"
        : "=r"(complete)
        : "r"(address), "r"(parity)
        : "memory");
  } while (complete == 0);
}

// --- bulk copies (PTX ISA, "Data Movement and Conversion Instructions: cp.async.bulk, cp.async.bulk.tensor") -----------

__device__ __forceinline__ void bulk_copy(void* shared, const void* global, std::uint32_t bytes, std::uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(shared)),
               "l"(global), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}

__device__ __forceinline__ void tensor_copy(void* shared, const tensor_map* map, int c0, int c1, int c2, int c3, int c4,
                                            std::uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
      : "memory");
}

__device__ __forceinline__ void tensor_store(const tensor_map* map, const void* shared, int c0, int c1, int c2, int c3, int c4) {
  asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];" ::"l"(map),
               "r"(shared_address(shared)), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
               : "memory");
}

__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void store_matrix_x4_trans(void* shared_row, const std::uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(shared_row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// --- wgmma (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions") -----------------------------------------------

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// Eight accumulators as operands; their numbers are the text D of the instruction. scale-d, scale-a and scale-b are 1; T: both
// operands transposed ("MN-major") or not.
#define VERSEMI_WGMMA_D(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define VERSEMI_WGMMA(NAME, N, A, B, T, D, ...)                                                                          \
  template <>                                                                                                           \
  __device__ __forceinline__ void NAME<N>(float(&d)[N / 2], std::uint64_t a, std::uint64_t b) {                          \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" D "}, %" A ", %" B ", 1, 1, 1, " T ", " T ";" \
                 : __VA_ARGS__                                                                                          \
                 : "l"(a), "l"(b));                                                                                     \
  }

template <int N>
__device__ void wgmma_bf16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b);
template <int N>
__device__ void wgmma_bf16_mn(float (&d)[N / 2], std::uint64_t a, std::uint64_t b);

#define VERSEMI_D_24 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23"
#define VERSEMI_D_32 VERSEMI_D_24 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define VERSEMI_D_48 VERSEMI_D_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define VERSEMI_D_96                                                                                  \
  VERSEMI_D_48                                                                                        \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71" \
  ",%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"

VERSEMI_WGMMA(wgmma_bf16, 48, "24", "25", "0", VERSEMI_D_24, VERSEMI_WGMMA_D(0), VERSEMI_WGMMA_D(8), VERSEMI_WGMMA_D(16))
VERSEMI_WGMMA(wgmma_bf16, 64, "32", "33", "0", VERSEMI_D_32, VERSEMI_WGMMA_D(0), VERSEMI_WGMMA_D(8), VERSEMI_WGMMA_D(16),
              VERSEMI_WGMMA_D(24))
VERSEMI_WGMMA(wgmma_bf16, 96, "48", "49", "0", VERSEMI_D_48, VERSEMI_WGMMA_D(0), VERSEMI_WGMMA_D(8), VERSEMI_WGMMA_D(16),
              VERSEMI_WGMMA_D(24), VERSEMI_WGMMA_D(32), VERSEMI_WGMMA_D(40))
VERSEMI_WGMMA(wgmma_bf16_mn, 192, "96", "97", "1", VERSEMI_D_96, VERSEMI_WGMMA_D(0), VERSEMI_WGMMA_D(8), VERSEMI_WGMMA_D(16),
              VERSEMI_WGMMA_D(24), VERSEMI_WGMMA_D(32), VERSEMI_WGMMA_D(40), VERSEMI_WGMMA_D(48), VERSEMI_WGMMA_D(56),
              VERSEMI_WGMMA_D(64), VERSEMI_WGMMA_D(72), VERSEMI_WGMMA_D(80), VERSEMI_WGMMA_D(88))

#undef VERSEMI_D_96
#undef VERSEMI_D_48
#undef VERSEMI_D_32
#undef VERSEMI_D_24
#undef VERSEMI_WGMMA
#undef VERSEMI_WGMMA_D

}  // namespace cuda
}  // namespace versemi

#endif
