// Reduction of [outer, reduced, inner] to [outer, inner], accumulated in double. Max and min give NaN where one is NaN, as
// TF.js.
//
// A block of 256 threads takes `columns` (a power of two) of the inner axis times 256 / columns rows at a time, so that loads
// are whole lines whatever `inner` is, over a piece of the reduced axis; the partial results of a column are folded in shared
// memory, in a fixed order. Long reductions are cut into pieces of a size that follows from the problem alone; their results
// (double, in scratch) are reduced by the same kernel until one is left. Short ones: a thread per result.
#include <cmath>

#include "core/elements.h"

namespace versemi {
namespace cuda {
namespace {

constexpr std::int64_t piece_elements = 8192;  // 32 per thread: enough for the folding not to count
constexpr std::int64_t short_reduction = 32;

struct add_up {
  static constexpr double start = 0;
  __device__ static double combine(double a, double b) { return a + b; }
};
struct multiply_up {
  static constexpr double start = 1;
  __device__ static double combine(double a, double b) { return a * b; }
};
struct keep_largest {
  static constexpr double start = -HUGE_VAL;
  __device__ static double combine(double a, double b) { return b > a || b != b ? b : a; }
};
struct keep_smallest {
  static constexpr double start = HUGE_VAL;
  __device__ static double combine(double a, double b) { return b < a || b != b ? b : a; }
};

__device__ __forceinline__ double value_of(bf16 v) { return static_cast<double>(to_float(v)); }
__device__ __forceinline__ double value_of(float v) { return static_cast<double>(v); }
__device__ __forceinline__ double value_of(double v) { return v; }

// Rows first, first + step, ... < last of one column. Four loads are under way at a time.
template <typename Op, typename T>
__device__ __forceinline__ double fold(const T* x, std::int64_t first, std::int64_t last, std::int64_t step,
                                       std::int64_t inner) {
  double total[4] = {Op::start, Op::start, Op::start, Op::start};
  std::int64_t r = first;
  for (; r + 3 * step < last; r += 4 * step) {
    T v[4];
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = x[(r + i * step) * inner];
#pragma unroll
    for (int i = 0; i < 4; i++) total[i] = Op::combine(total[i], value_of(v[i]));
  }
  for (; r < last; r += step) total[0] = Op::combine(total[0], value_of(x[r * inner]));
  return Op::combine(Op::combine(total[0], total[1]), Op::combine(total[2], total[3]));
}

struct reduction {
  std::int64_t outer, reduced, inner;
  std::int64_t piece_rows, pieces;
  int columns;  // of a block
  double divisor;
};

// Results go to `partials` [outer, pieces, inner], or, when there is one piece only, to y [outer, inner].
template <typename Op, typename T>
__device__ void reduce_pieces(const T* x, double* partials, float* y, const reduction& p) {
  __shared__ double memory[flat_threads];
  const int column_of = static_cast<int>(threadIdx.x) % p.columns, row_of = static_cast<int>(threadIdx.x) / p.columns;
  const int rows = flat_threads / p.columns;
  const std::int64_t blocks = divide_up(p.inner, p.columns), tasks = p.outer * p.pieces * blocks;
  for (std::int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
    const std::int64_t outer_piece = task / blocks, piece = outer_piece % p.pieces, outer = outer_piece / p.pieces;
    const std::int64_t column = task % blocks * p.columns + column_of;
    const std::int64_t first = piece * p.piece_rows;
    const std::int64_t last = first + p.piece_rows < p.reduced ? first + p.piece_rows : p.reduced;
    double total = Op::start;
    if (column < p.inner) total = fold<Op>(x + outer * p.reduced * p.inner + column, first + row_of, last, rows, p.inner);
    memory[threadIdx.x] = total;
    for (int half = rows / 2; half > 0; half /= 2) {
      barrier();
      if (row_of < half) memory[threadIdx.x] = Op::combine(memory[threadIdx.x], memory[threadIdx.x + half * p.columns]);
    }
    if (row_of == 0 && column < p.inner) {
      if (p.pieces == 1)
        y[outer * p.inner + column] = static_cast<float>(memory[threadIdx.x] / p.divisor);
      else
        partials[outer_piece * p.inner + column] = memory[threadIdx.x];
    }
    barrier();
  }
}

template <typename T>
__global__ void __launch_bounds__(flat_threads)
    reduce_kernel(reduce_kind kind, const T* x, double* partials, float* y, const __grid_constant__ reduction p) {
  switch (kind) {
    case reduce_kind::max: return reduce_pieces<keep_largest>(x, partials, y, p);
    case reduce_kind::min: return reduce_pieces<keep_smallest>(x, partials, y, p);
    case reduce_kind::prod: return reduce_pieces<multiply_up>(x, partials, y, p);
    default: return reduce_pieces<add_up>(x, partials, y, p);
  }
}

// One thread per result.
template <typename T>
__global__ void __launch_bounds__(flat_threads)
    reduce_short_kernel(reduce_kind kind, const T* x, float* y, std::int64_t outer, std::int64_t reduced, std::int64_t inner,
                        double divisor) {
  for (std::int64_t i = flat_index(); i < outer * inner; i += flat_threads_of_grid()) {
    const T* from = x + i / inner * reduced * inner + i % inner;
    double total;
    switch (kind) {
      case reduce_kind::max: total = fold<keep_largest>(from, 0, reduced, 1, inner); break;
      case reduce_kind::min: total = fold<keep_smallest>(from, 0, reduced, 1, inner); break;
      case reduce_kind::prod: total = fold<multiply_up>(from, 0, reduced, 1, inner); break;
      default: total = fold<add_up>(from, 0, reduced, 1, inner); break;
    }
    y[i] = static_cast<float>(total / divisor);
  }
}

template <typename T>
versemi_status reduce_from(context& device, reduce_kind kind, const T* x, float* y, std::int64_t outer, std::int64_t reduced,
                           std::int64_t inner, double divisor, scratch_slot slot = scratch_slot::partials) {
  if (reduced <= short_reduction && outer * inner >= 1024)
    return launch(device, "reduce, short", reduce_short_kernel<T>, grid_for(device, outer * inner, flat_threads), flat_threads,
                  0, kind, x, y, outer, reduced, inner, divisor);
  int columns = 1;
  while (columns < flat_threads && columns < inner) columns *= 2;
  reduction p = {outer, reduced, inner, piece_elements / columns, 1, columns, divisor};
  p.pieces = reduced <= p.piece_rows ? 1 : divide_up(reduced, p.piece_rows);
  double* partials = nullptr;
  if (p.pieces > 1) {
    const std::size_t count = static_cast<std::size_t>(outer * p.pieces * inner);
    partials = device.scratch_of<double>(slot, count);
    if (partials == nullptr) return out_of_memory(count * sizeof(double));
  }
  const std::int64_t tasks = outer * p.pieces * divide_up(inner, columns);
  const std::int64_t most = std::int64_t{device.properties().multiprocessors} * 32;
  const versemi_status status =
      launch(device, "reduce", reduce_kernel<T>, static_cast<unsigned>(tasks < most ? tasks : most), flat_threads, 0, kind, x,
             partials, y, p);
  if (status.code != VERSEMI_OK || p.pieces == 1) return status;
  return reduce_from<double>(device, kind, partials, y, outer, p.pieces, inner, divisor,
                             slot == scratch_slot::partials ? scratch_slot::sums_of_partials : scratch_slot::partials);
}

// Reads what is there; the result is small.
void plan(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = storage::float32;
}

versemi_status run(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const reduce_attributes call(attributes);
  const reduce_kind kind = call.kind;
  const std::int64_t outer = call.outer, reduced = call.reduced, inner = call.inner;
  if (outer * inner == 0) return ok();
  const double divisor = kind == reduce_kind::mean ? static_cast<double>(reduced) : 1;
  auto* y = floats(tensors[1]);
  if (tensors[0].format == storage::bfloat16)
    return reduce_from(device, kind, static_cast<const bf16*>(tensors[0].data), y, outer, reduced, inner, divisor);
  return reduce_from(device, kind, floats(tensors[0]), y, outer, reduced, inner, divisor);
}

const kernel rows[] = {{VERSEMI_REDUCE, "pieces", takes_all, plan, run}};

}  // namespace

kernel_rows reduce_kernels() { return {rows, 1}; }

}  // namespace cuda
}  // namespace versemi
