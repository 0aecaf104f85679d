// Device functions for what only compute capability 9.0 has, beside those of intrinsics.h; one definition per target: inline
// PTX (intrinsics_hopper_cuda.h), or the emulator (emulator/hopper.h). Only .cu files of kernels for sm_90a include this.
//
//   mbarrier_init(barrier, arrivals), mbarrier_init_done()   by one thread; then barrier() before others use it
//   mbarrier_arrive(barrier)                                 one arrival
//   mbarrier_arrive_expect(barrier, bytes)                   one arrival, and `bytes` more to come from copies
//   mbarrier_wait(barrier, parity)                           until the phase of that parity (0 first) is complete
//   bulk_copy(shared, global, bytes, barrier)                16-byte aligned; completes bytes on the barrier
//   tensor_copy(shared, map, c0..c4, barrier)                the box of the map whose first element is at these coordinates;
//                                                            zeros outside the tensor; completes the bytes of the whole box
//   tensor_store(map, shared, c0..c4)                        the other way; nothing is written outside the tensor
//   bulk_commit(), bulk_wait_read<N>()                       stores of this thread: at most N groups still read shared memory
//   fence_proxy_async()                                      what this thread stored to shared memory is seen by the engines
//   store_matrix_x4_trans(shared_row, r)                     stmatrix: four 8x8 matrices of 16 bits, transposed; lane i gives
//                                                            the address of row i % 8 of matrix i / 8
//   wgmma_fence(), wgmma_commit(), wgmma_wait<N>()           at most N groups of the warpgroup still run
//   wgmma_bf16<N>(d, a, b)                                   m64nNk16: d += a b; a, b: matrix_descriptor of K-major tiles
//                                                            [64, 16] and [N, 16]; d belongs to the engine until wgmma_wait
//   wgmma_bf16_mn<N>(d, a, b)                                d += a b; a, b: matrix_descriptor_mn
#ifndef VERSEMI_CUDA_INTRINSICS_HOPPER_H
#define VERSEMI_CUDA_INTRINSICS_HOPPER_H

#include "conv/hopper/hopper_layout.h"
#include "conv/hopper/tensor_map.h"
#include "core/intrinsics.h"

// wgmma is in sm_90a only; other architectures get empty kernels, which `refuses` keeps from being launched.
#if defined(VERSEMI_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define VERSEMI_HOPPER 1
#endif

#if defined(VERSEMI_CUDA_EMULATED)
#include "emulator/hopper.h"
#else
#include "conv/hopper/intrinsics_hopper_cuda.h"
#endif

#endif
