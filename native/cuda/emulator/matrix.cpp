// mma.sync and ldmatrix on the operands of a warp. Layouts: PTX ISA, section "Matrix Fragments", with g = lane / 4 and
// t = lane % 4 (its groupID and threadID_in_group).
#include "emulator/intrinsics.h"

namespace versemi {
namespace cuda {
namespace emulator {
namespace {

// Row and column of d[i]: both shapes have the same accumulators.
int d_row(int lane, int i) { return lane / 4 + (i >= 2 ? 8 : 0); }
int d_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

// Products of two such numbers are exact in float32; the sum is rounded after each of them, in the order of k. Hardware adds
// several at a time and rounds differently, not better.
template <int k>
void multiply(void* const* operands, const float (&a)[16][k], const float (&b)[k][8]) {
  float sum[16][8];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) sum[d_row(lane, i)][d_column(lane, i)] = static_cast<mma_operands*>(operands[lane])->d[i];
  for (int row = 0; row < 16; row++)
    for (int j = 0; j < k; j++)
      for (int column = 0; column < 8; column++) sum[row][column] += a[row][j] * b[j][column];
  for (int lane = 0; lane < 32; lane++)
    for (int i = 0; i < 4; i++) static_cast<mma_operands*>(operands[lane])->d[i] = sum[d_row(lane, i)][d_column(lane, i)];
}

}  // namespace

void mma_bf16_work(void* const* operands, int) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const auto* own = static_cast<const mma_operands*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {  // a[1], a[3]: eight rows further down; a[2], a[3]: eight columns further right
      const float2 pair = unpack_bf16(own->a[i]);
      float* at = a[g + i % 2 * 8] + t * 2 + i / 2 * 8;
      at[0] = pair.x;
      at[1] = pair.y;
    }
    for (int i = 0; i < 2; i++) {
      const float2 pair = unpack_bf16(own->b[i]);
      b[t * 2 + i * 8][g] = pair.x;
      b[t * 2 + i * 8 + 1][g] = pair.y;
    }
  }
  multiply<16>(operands, a, b);
}

void mma_tf32_work(void* const* operands, int) {
  float a[16][8], b[8][8];
  const auto tf32 = [](std::uint32_t bits) { return __uint_as_float(bits & 0xffffe000u); };  // what is below is not read
  for (int lane = 0; lane < 32; lane++) {
    const auto* own = static_cast<const mma_operands*>(operands[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = tf32(own->a[i]);
    for (int i = 0; i < 2; i++) b[t + i * 4][g] = tf32(own->b[i]);
  }
  multiply<8>(operands, a, b);
}

template <int matrices, bool transposed>
void ldmatrix_work(void* const* operands, int) {
  wavefronts& count = ldmatrix_wavefronts();
  for (int m = 0; m < matrices; m++) {
    std::uint16_t value[8][8];
    int rows_in_bank[8] = {0};
    const void* rows[8];
    for (int row = 0; row < 8; row++) {
      rows[row] = static_cast<const ldmatrix_operands*>(operands[m * 8 + row])->row;
      const auto address = reinterpret_cast<std::uintptr_t>(rows[row]);
      if (address % 16 != 0) fail("ldmatrix: the address of row %d of matrix %d is not a multiple of 16", row, m);
      check_shared(rows[row], 16, "ldmatrix");
      std::memcpy(value[row], rows[row], 16);
      bool again = false;  // the same 16 bytes are read once
      for (int before = 0; before < row; before++) again = again || rows[before] == rows[row];
      if (!again) rows_in_bank[address / 16 % 8]++;
    }
    int taken = 1;
    for (int rows_there : rows_in_bank) taken = rows_there > taken ? rows_there : taken;
    count.needed += 1;
    count.taken += static_cast<std::uint64_t>(taken);
    for (int lane = 0; lane < 32; lane++) {
      const int row = lane / 4, column = lane % 4 * 2;
      const std::uint32_t low = transposed ? value[column][row] : value[row][column];
      const std::uint32_t high = transposed ? value[column + 1][row] : value[row][column + 1];
      static_cast<ldmatrix_operands*>(operands[lane])->r[m] = low | high << 16;
    }
  }
}

template void ldmatrix_work<2, false>(void* const*, int);
template void ldmatrix_work<2, true>(void* const*, int);
template void ldmatrix_work<4, false>(void* const*, int);
template void ldmatrix_work<4, true>(void* const*, int);

}  // namespace emulator
}  // namespace cuda
}  // namespace versemi
