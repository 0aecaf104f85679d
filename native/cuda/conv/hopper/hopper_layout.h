// Layouts that Hopper's matrix and copy engines fix, as plain functions: what is where in shared memory and in the
// accumulators. Sections are those of the PTX ISA.
#ifndef VERSEMI_CUDA_HOPPER_LAYOUT_H
#define VERSEMI_CUDA_HOPPER_LAYOUT_H

#include <cstdint>

#include "core/target.h"

namespace versemi {
namespace cuda {
namespace hopper {

// A swizzle atom: 8 rows of 128 bytes (64 bfloat16), its first byte at a multiple of 1024.
constexpr int atom_rows = 8, row_bytes = 128, atom_bytes = atom_rows * row_bytes;
constexpr int row_elements = row_bytes / 2;  // of bfloat16
// Elements along K of one wgmma, and bytes from one such step to the next in a row.
constexpr int step_elements = 16, step_bytes = 2 * step_elements;

// "Shared Memory Matrix Layout", 128B swizzling mode, which is also what tensor copies with CU_TENSOR_MAP_SWIZZLE_128B write:
// the 16-byte piece number p of row r of an atom lies at piece p xor r, so bits 4-6 of an offset from a 1024-byte boundary
// are xor'ed with bits 7-9.
__host__ __device__ constexpr std::uint32_t swizzled(std::uint32_t offset) { return offset ^ ((offset >> 3) & 0x70u); }

// "Matrix Descriptor Format" for a K-major operand in 128B swizzling mode: bits 0-13 start address, 16-29 leading dimension
// offset (not used by swizzled K-major operands; 1), 32-45 stride dimension offset (from eight rows to the next eight),
// 49-51 base offset (0: the pattern starts at multiples of 1024), 62-63 swizzling mode (1: 128 bytes). Addresses and offsets
// are given without their 4 low bits, of 18.
__host__ __device__ constexpr std::uint64_t encoded(std::uint32_t bytes) { return (bytes & 0x3ffffu) >> 4; }
__host__ __device__ constexpr std::uint64_t matrix_descriptor(std::uint32_t shared_address, std::uint32_t stride_bytes) {
  return encoded(shared_address) | std::uint64_t{1} << 16 | encoded(stride_bytes) << 32 | std::uint64_t{1} << 62;
}
// The same for an operand whose rows of 128 bytes run along M or N ("MN-major"; the rows themselves are numbers along K):
// leading is from 64 elements of M or N to the next 64, stride from eight numbers of K to the next eight.
__host__ __device__ constexpr std::uint64_t matrix_descriptor_mn(std::uint32_t shared_address, std::uint32_t leading_bytes,
                                                                 std::uint32_t stride_bytes) {
  return encoded(shared_address) | encoded(leading_bytes) << 16 | encoded(stride_bytes) << 32 | std::uint64_t{1} << 62;
}
// The same operand `bytes` further on. Start addresses stay below 2^18, so the sum does not leave its field.
__host__ __device__ constexpr std::uint64_t advanced(std::uint64_t descriptor, std::uint32_t bytes) {
  return descriptor + (bytes >> 4);
}

// "Matrix Fragments for wgmma.mma_async.m64nNk16", accumulator D: element i of thread 0..127 of the warpgroup.
__host__ __device__ constexpr int accumulator_row(int thread, int i) { return thread / 32 * 16 + thread % 32 / 4 + (i & 2) * 4; }
__host__ __device__ constexpr int accumulator_column(int thread, int i) { return i / 4 * 8 + thread % 4 * 2 + (i & 1); }

}  // namespace hopper
}  // namespace cuda
}  // namespace versemi

#endif
