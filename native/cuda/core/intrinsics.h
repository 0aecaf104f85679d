// Device functions that kernels are written with: numbers in bfloat16 and TF32, tensor core instructions, copies past the
// registers, barriers, warp exchanges. One definition per target: inline PTX (intrinsics_cuda.h), or the emulator
// (emulator/intrinsics.h), which follows the fragment layouts of the PTX ISA. Only .cu files include this.
//
//   float to_float(bf16)            bf16 to_bf16(float)           nearest even; NaN stays NaN
//   uint32 pack_bf16(low, high)     float2 unpack_bf16(uint32)    two in a register, `low` in the low half
//   uint32 to_tf32(float)                                         nearest, ties away from zero
//   mma_bf16(d, a, b)   m16n8k16    mma_tf32(d, a, b)   m16n8k8   d += a b, d float32; the whole warp
//   ldmatrix_x4 / _x2 (+ _trans)                                  8x8 matrices of 16 bits; lane i gives the address of row i
//   copy_async_16 / _8 / _4(shared, global, valid)                zeros where !valid, and global is not read then
//   copy_async_commit(), copy_async_wait<N>()                     at most N groups of this thread still in flight afterwards
//   barrier(), barrier_named(id, threads), barrier_arrive(id, threads)
//   lane(), warp(), shuffle, shuffle_xor, shuffle_down, ballot, warp_barrier
//   load_once(pointer)                                            through the read-only path: memory no kernel writes meanwhile
//   shared_memory()                                               dynamic shared memory, 1024-byte aligned
#ifndef VERSEMI_CUDA_INTRINSICS_H
#define VERSEMI_CUDA_INTRINSICS_H

#include <cstdint>

#include "core/target.h"

namespace versemi {
namespace cuda {

// The upper half of a float32.
struct bf16 {
  std::uint16_t bits;
};

}  // namespace cuda
}  // namespace versemi

#if defined(VERSEMI_CUDA_EMULATED)
#include "emulator/intrinsics.h"
#else
#include "core/intrinsics_cuda.h"
#endif

#endif
