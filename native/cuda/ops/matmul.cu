// Batched matrix product in float32: output [batch, m, n] = op(a) op(b).
//
// These products are small here (controller: a few rows, 256 x 162), so a plain tile in shared memory does: a block computes
// Rows x Columns results, each thread 4 x 4 of them (2 x 2 in the small tile), over slices of 16 of k. The next slice is loaded
// to registers while the present one is multiplied. Sums run over k in order.
//
// Shared memory: a slice of a [16][Rows + 4] and one of b [16][Columns + 4], both with k outermost whatever is transposed.
#include "core/elements.h"

namespace versemi {
namespace cuda {
namespace {

struct product {
  std::int64_t batch, m, k, n;
  std::int64_t a_row, a_column, a_step;  // strides in elements
  std::int64_t b_row, b_column, b_step;
};

constexpr int slice = 16;

template <int Rows, int Columns, int Each, int Threads>
__global__ void __launch_bounds__(Threads)
    matmul_kernel(const float* a, const float* b, float* y, const __grid_constant__ product p) {
  static_assert(Rows * Columns == Threads * Each * Each, "every thread computes Each x Each results");
  constexpr int a_each = Rows * slice / Threads, b_each = Columns * slice / Threads;
  static_assert(a_each * Threads == Rows * slice && b_each * Threads == Columns * slice, "slices are loaded evenly");
  __shared__ float a_slice[slice][Rows + 4];
  __shared__ float b_slice[slice][Columns + 4];
  const int thread = static_cast<int>(threadIdx.x);
  const int row_of = thread / (Columns / Each), column_of = thread % (Columns / Each);
  const std::int64_t column_tiles = divide_up(p.n, Columns), row_tiles = divide_up(p.m, Rows);
  const std::int64_t tile = blockIdx.x % (column_tiles * row_tiles), batch = blockIdx.x / (column_tiles * row_tiles);
  const std::int64_t first_row = tile / column_tiles * Rows, first_column = tile % column_tiles * Columns;
  a += batch * p.a_step;
  b += batch * p.b_step;
  y += batch * p.m * p.n;
  float a_next[a_each], b_next[b_each];
  // Consecutive threads read along the axis that is contiguous in memory.
  const bool a_along_k = p.a_column == 1, b_along_n = p.b_column == 1;
  const auto a_place = [&](int i, int* row, int* l) {
    const int at = thread + i * Threads;
    *row = a_along_k ? at / slice : at % Rows;
    *l = a_along_k ? at % slice : at / Rows;
  };
  const auto b_place = [&](int i, int* column, int* l) {
    const int at = thread + i * Threads;
    *column = b_along_n ? at % Columns : at / slice;
    *l = b_along_n ? at / Columns : at % slice;
  };
  const auto load = [&](std::int64_t first) {
#pragma unroll
    for (int i = 0; i < a_each; i++) {
      int row, l;
      a_place(i, &row, &l);
      const bool inside = first_row + row < p.m && first + l < p.k;
      a_next[i] = inside ? load_once(a + (first_row + row) * p.a_row + (first + l) * p.a_column) : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < b_each; i++) {
      int column, l;
      b_place(i, &column, &l);
      const bool inside = first_column + column < p.n && first + l < p.k;
      b_next[i] = inside ? load_once(b + (first + l) * p.b_row + (first_column + column) * p.b_column) : 0.0f;
    }
  };
  float total[Each][Each];
#pragma unroll
  for (int i = 0; i < Each; i++)
#pragma unroll
    for (int j = 0; j < Each; j++) total[i][j] = 0.0f;
  load(0);
  for (std::int64_t first = 0; first < p.k; first += slice) {
#pragma unroll
    for (int i = 0; i < a_each; i++) {
      int row, l;
      a_place(i, &row, &l);
      a_slice[l][row] = a_next[i];
    }
#pragma unroll
    for (int i = 0; i < b_each; i++) {
      int column, l;
      b_place(i, &column, &l);
      b_slice[l][column] = b_next[i];
    }
    barrier();
    if (first + slice < p.k) load(first + slice);
    // Behind the end of k both slices hold zeros.
#pragma unroll
    for (int l = 0; l < slice; l++) {
      float left[Each], right[Each];
#pragma unroll
      for (int i = 0; i < Each; i++) left[i] = a_slice[l][row_of * Each + i];
#pragma unroll
      for (int j = 0; j < Each; j++) right[j] = b_slice[l][column_of * Each + j];
#pragma unroll
      for (int i = 0; i < Each; i++)
#pragma unroll
        for (int j = 0; j < Each; j++) total[i][j] = fmaf(left[i], right[j], total[i][j]);
    }
    barrier();
  }
#pragma unroll
  for (int i = 0; i < Each; i++)
#pragma unroll
    for (int j = 0; j < Each; j++) {
      const std::int64_t row = first_row + row_of * Each + i, column = first_column + column_of * Each + j;
      if (row < p.m && column < p.n) y[row * p.n + column] = total[i][j];
    }
}

template <int Rows, int Columns, int Each, int Threads>
versemi_status run_tiles(context& device, const float* a, const float* b, float* y, const product& p) {
  const std::int64_t blocks = p.batch * divide_up(p.m, Rows) * divide_up(p.n, Columns);
  if (blocks > 2147483647) return failure(VERSEMI_UNSUPPORTED, "matmul: too many tiles");
  return launch(device, "matmul", matmul_kernel<Rows, Columns, Each, Threads>, static_cast<unsigned>(blocks), Threads, 0, a, b,
                y, p);
}

versemi_status run(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const matmul_attributes call(attributes);
  const std::int64_t batch = call.batch, m = call.m, k = call.k, n = call.n;
  const product p = {batch, m, k, n, call.transpose_a ? 1 : k, call.transpose_a ? m : 1, call.a_step,
                     call.transpose_b ? 1 : n, call.transpose_b ? k : 1, call.b_step};
  const auto *a = floats(tensors[0]), *b = floats(tensors[1]);
  auto* y = floats(tensors[2]);
  // Few rows, or too few large tiles to fill the device: small ones.
  const std::int64_t large = batch * divide_up(m, 64) * divide_up(n, 64);
  if (m <= 16 || large < 2 * device.properties().multiprocessors) return run_tiles<16, 32, 2, 128>(device, a, b, y, p);
  return run_tiles<64, 64, 4, 256>(device, a, b, y, p);
}

const kernel rows[] = {{VERSEMI_MATMUL, "tiles", takes_all, nullptr, run}};

}  // namespace

kernel_rows matmul_kernels() { return {rows, 1}; }

}  // namespace cuda
}  // namespace versemi
