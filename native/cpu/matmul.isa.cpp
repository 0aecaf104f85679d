// Batched matrix product. The second matrix is packed into panels of two vectors of columns (which also absorbs its
// transposition); tiles of rows times panel stay in registers over all of k. Sums run over k in order.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int panel_vectors = 2;
constexpr int panel_columns = panel_vectors * lanes;
constexpr int tile_rows = vector_registers == 32 ? 8 : 4;
constexpr std::int64_t task_rows = 64;

struct product {
  std::int64_t m, k, n;
  std::int64_t a_row, a_column;  // strides in elements
  std::int64_t b_row, b_column;
};

// packed[panel][k][panel_columns], zeros behind the last column
void pack_panel(const product& p, const float* b, std::int64_t panel, float* packed) {
  const std::int64_t first = panel * panel_columns;
  const int columns = static_cast<int>(smaller<std::int64_t>(panel_columns, p.n - first));
  for (std::int64_t row = 0; row < p.k; row++) {
    const float* from = b + row * p.b_row + first * p.b_column;
    float* to = packed + row * panel_columns;
    for (int c = 0; c < columns; c++) to[c] = from[c * p.b_column];
    for (int c = columns; c < panel_columns; c++) to[c] = 0;
  }
}

template <int Rows>
VERSEMI_INLINE void multiply_tile(const product& p, const float* a, const float* packed, float* y, int columns) {
  vfloat total[Rows][panel_vectors];
  VERSEMI_UNROLL
  for (int r = 0; r < Rows; r++) total[r][0] = total[r][1] = zero();
  for (std::int64_t k = 0; k < p.k; k++) {
    const vfloat left = load(packed + k * panel_columns), right = load(packed + k * panel_columns + lanes);
    VERSEMI_UNROLL
    for (int r = 0; r < Rows; r++) {
      const vfloat v = broadcast(a[r * p.a_row + k * p.a_column]);
      total[r][0] = fma(v, left, total[r][0]);
      total[r][1] = fma(v, right, total[r][1]);
    }
  }
  for (int r = 0; r < Rows; r++) {
    float* out = y + r * p.n;
    for (int v = 0; v < panel_vectors; v++) {
      const int rest = columns - v * lanes;
      if (rest >= lanes) {
        store(out + v * lanes, total[r][v]);
      } else if (rest > 0) {
        store_first(out + v * lanes, total[r][v], rest);
      }
    }
  }
}

versemi_status matmul(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const matmul_attributes of(attributes);
  const std::int64_t batch = of.batch, m = of.m, k = of.k, n = of.n;
  const product p{m, k, n, of.transpose_a ? 1 : k, of.transpose_a ? m : 1, of.transpose_b ? 1 : n, of.transpose_b ? k : 1};
  if (batch * m * n == 0) return ok();
  const std::int64_t panels = divide_up(n, panel_columns), row_tasks = divide_up(m, task_rows);
  const std::size_t bytes = static_cast<std::size_t>(larger<std::int64_t>(1, panels * k) * panel_columns) * sizeof(float);
  float* packed = static_cast<float*>(scratch(context, scratch_slot::packed, bytes));
  if (packed == nullptr) return out_of_memory(bytes);
  for (std::int64_t i = 0; i < batch; i++) {
    const float *a = input(buffers[matmul_buffer::a]) + i * of.a_step, *b = input(buffers[matmul_buffer::b]) + i * of.b_step;
    float* y = output(buffers[matmul_buffer::output]) + i * m * n;
    if (i == 0 || of.b_step != 0) {
      parallel_for(context, panels, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t panel = begin; panel < end; panel++) pack_panel(p, b, panel, packed + panel * k * panel_columns);
      });
    }
    parallel_for(context, panels * row_tasks, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t task = begin; task < end; task++) {
        const std::int64_t panel = task / row_tasks, first = task % row_tasks * task_rows;
        const std::int64_t last = smaller(first + task_rows, m);
        const float* columns_of_b = packed + panel * k * panel_columns;
        const int columns = static_cast<int>(smaller<std::int64_t>(panel_columns, n - panel * panel_columns));
        std::int64_t row = first;
        for (; row + tile_rows <= last; row += tile_rows)
          multiply_tile<tile_rows>(p, a + row * p.a_row, columns_of_b, y + row * n + panel * panel_columns, columns);
        for (; row < last; row++)
          multiply_tile<1>(p, a + row * p.a_row, columns_of_b, y + row * n + panel * panel_columns, columns);
      }
    });
  }
  return ok();
}

const versemi_kernel rows[] = {VERSEMI_ROW(VERSEMI_MATMUL, matmul)};

}  // namespace

kernel_rows matmul_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
