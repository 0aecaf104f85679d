// Reduction of [outer, reduced, inner] to [outer, inner], accumulated in double. Max and min give NaN where one is NaN,
// as TF.js.
//
// Rows of `inner` elements are taken several at a time as one long row, so that vectors are full whatever `inner` is; at
// the end the several accumulators of a column are folded. Long reductions are cut into pieces of a fixed size.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr std::int64_t widest_row = 512;

struct add_up {
  static constexpr double start = 0;
  template <typename T>
  __attribute__((always_inline)) static T combine(T a, T b) { return a + b; }
};
struct multiply_up {
  static constexpr double start = 1;
  template <typename T>
  __attribute__((always_inline)) static T combine(T a, T b) { return a * b; }
};
struct keep_largest {
  static constexpr double start = -__builtin_inf();
  template <typename T>
  __attribute__((always_inline)) static T combine(T a, T b) { return (b > a) | (b != b) ? b : a; }
};
struct keep_smallest {
  static constexpr double start = __builtin_inf();
  template <typename T>
  __attribute__((always_inline)) static T combine(T a, T b) { return (b < a) | (b != b) ? b : a; }
};

// totals[0..width) <- combination with x[0..width)
template <typename Op>
VERSEMI_INLINE void take_row(double* totals, const float* x, std::int64_t width) {
  std::int64_t i = 0;
  for (; i + lanes <= width; i += lanes) {
    const vfloat v = load(x + i);
    vdouble low, high;
    std::memcpy(&low, totals + i, sizeof low);
    std::memcpy(&high, totals + i + lanes / 2, sizeof high);
    low = Op::template combine<vdouble>(low, widen_low(v));
    high = Op::template combine<vdouble>(high, widen_high(v));
    std::memcpy(totals + i, &low, sizeof low);
    std::memcpy(totals + i + lanes / 2, &high, sizeof high);
  }
  for (; i < width; i++) totals[i] = Op::template combine<double>(totals[i], static_cast<double>(x[i]));
}

template <typename Op>
versemi_status reduce_by(versemi_context* context, const float* x, float* y, std::int64_t outer, std::int64_t reduced,
                         std::int64_t inner, double divisor) {
  // Columns per task, and rows that are taken at once where these are few.
  const std::int64_t columns = smaller(inner, widest_row), blocks = divide_up(inner, columns);
  const std::int64_t fused = blocks > 1 ? 1 : larger<std::int64_t>(1, 128 / columns);
  const std::int64_t piece_rows = larger<std::int64_t>(1, 4 * task_elements / (columns * fused)) * fused;
  const std::int64_t pieces = larger<std::int64_t>(1, divide_up(reduced, piece_rows));
  const std::size_t bytes = static_cast<std::size_t>(outer * pieces * inner) * sizeof(double);
  double* partials = nullptr;
  if (pieces > 1) {
    partials = static_cast<double*>(scratch(context, scratch_slot::partials, bytes));
    if (partials == nullptr) return out_of_memory(bytes);
  }
  const auto finish = [=](double total) { return static_cast<float>(total / divisor); };
  parallel_for(context, outer * pieces * blocks, [&](std::int64_t begin, std::int64_t end, int) {
    double totals[widest_row];
    for (std::int64_t task = begin; task < end; task++) {
      const std::int64_t o = task / (pieces * blocks), piece = task / blocks % pieces, column = task % blocks * columns;
      const std::int64_t width = smaller(columns, inner - column);
      const std::int64_t first = piece * piece_rows, last = smaller(first + piece_rows, reduced);
      const float* row = x + (o * reduced + first) * inner + column;
      for (std::int64_t i = 0; i < width * fused; i++) totals[i] = Op::start;
      std::int64_t r = first;
      for (; r + fused <= last; r += fused, row += fused * inner) take_row<Op>(totals, row, width * fused);
      for (; r < last; r++, row += inner) take_row<Op>(totals, row, width);
      for (std::int64_t i = 0; i < width; i++) {
        double total = totals[i];
        for (std::int64_t k = 1; k < fused; k++) total = Op::template combine<double>(total, totals[k * width + i]);
        if (pieces == 1) {
          y[o * inner + column + i] = finish(total);
        } else {
          partials[(o * pieces + piece) * inner + column + i] = total;
        }
      }
    }
  });
  if (pieces > 1) {
    for (std::int64_t o = 0; o < outer; o++) {
      for (std::int64_t i = 0; i < inner; i++) {
        double total = Op::start;
        for (std::int64_t piece = 0; piece < pieces; piece++)
          total = Op::template combine<double>(total, partials[(o * pieces + piece) * inner + i]);
        y[o * inner + i] = finish(total);
      }
    }
  }
  return ok();
}

versemi_status reduce(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const reduce_attributes of(attributes);
  const float* x = input(buffers[reduce_buffer::input]);
  float* y = output(buffers[reduce_buffer::output]);
  const std::int64_t outer = of.outer, reduced = of.reduced, inner = of.inner;
  if (outer * inner == 0) return ok();
  switch (of.kind) {
    case reduce_kind::sum:
      return reduce_by<add_up>(context, x, y, outer, reduced, inner, 1);
    case reduce_kind::mean:
      return reduce_by<add_up>(context, x, y, outer, reduced, inner, static_cast<double>(reduced));
    case reduce_kind::max:
      return reduce_by<keep_largest>(context, x, y, outer, reduced, inner, 1);
    case reduce_kind::min:
      return reduce_by<keep_smallest>(context, x, y, outer, reduced, inner, 1);
    case reduce_kind::prod:
      return reduce_by<multiply_up>(context, x, y, outer, reduced, inner, 1);
  }
  return ok();
}

const versemi_kernel rows[] = {VERSEMI_ROW(VERSEMI_REDUCE, reduce)};

}  // namespace

kernel_rows reduce_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
