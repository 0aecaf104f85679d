// unary and binary: one function per element. NaN follows TF.js: it comes through relu, relu6, clip, step, max and min;
// sign(NaN) is 0.

#include "dispatch.h"
#include "elementwise_math.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// --- unary ------------------------------------------------------------------------------------------------------------

template <typename Function>
void map(versemi_context* context, const float* x, float* y, std::int64_t count, Function function) {
  parallel_elements(context, count, [=](std::int64_t begin, std::int64_t end) {
    for_each_vector(begin, end, [=](std::int64_t i, auto part)
                                    VERSEMI_INLINE_LAMBDA { store(y + i, function(load(x + i, part)), part); });
  });
}

#define VERSEMI_UNARY_CASE(kind, ...)                                                         \
  case unary_kind::kind:                                                                      \
    map(context, x, y, count, [=](vfloat v) VERSEMI_INLINE_LAMBDA -> vfloat { __VA_ARGS__ }); \
    break;

versemi_status unary(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                     std::int32_t) {
  const unary_attributes of(attributes);
  const float* x = input(buffers[unary_buffer::input]);
  float* y = output(buffers[unary_buffer::output]);
  const std::int64_t count = of.count;
  const vfloat a = broadcast(static_cast<float>(of.parameter_a)), b = broadcast(static_cast<float>(of.parameter_b));
  switch (of.kind) {
    VERSEMI_UNARY_CASE(identity, return v;)
    VERSEMI_UNARY_CASE(neg, return -v;)
    VERSEMI_UNARY_CASE(abs, return absolute(v);)
    VERSEMI_UNARY_CASE(square, return v * v;)
    VERSEMI_UNARY_CASE(sqrt, return versemi::VERSEMI_ISA::sqrt(v);)
    VERSEMI_UNARY_CASE(rsqrt, return 1.0f / versemi::VERSEMI_ISA::sqrt(v);)
    VERSEMI_UNARY_CASE(reciprocal, return 1.0f / v;)
    VERSEMI_UNARY_CASE(exp, return versemi::VERSEMI_ISA::exp(v);)
    VERSEMI_UNARY_CASE(log, return versemi::VERSEMI_ISA::log(v);)
    VERSEMI_UNARY_CASE(log1p, return versemi::VERSEMI_ISA::log1p(v);)
    VERSEMI_UNARY_CASE(expm1, return versemi::VERSEMI_ISA::expm1(v);)
    VERSEMI_UNARY_CASE(sigmoid, return sigmoid(v);)
    VERSEMI_UNARY_CASE(tanh, return versemi::VERSEMI_ISA::tanh(v);)
    VERSEMI_UNARY_CASE(relu, return relu(v);)
    VERSEMI_UNARY_CASE(relu6, v = relu(v); return select(v > broadcast(6.0f), broadcast(6.0f), v);)
    VERSEMI_UNARY_CASE(leaky_relu, return select(v < zero(), v * a, v);)
    VERSEMI_UNARY_CASE(elu, return select(v >= zero(), v, versemi::VERSEMI_ISA::expm1(v));)
    VERSEMI_UNARY_CASE(softplus, return softplus(v);)
    VERSEMI_UNARY_CASE(sign, return select(v > zero(), broadcast(1.0f), select(v < zero(), broadcast(-1.0f), zero()));)
    VERSEMI_UNARY_CASE(floor, return versemi::VERSEMI_ISA::floor(v);)
    VERSEMI_UNARY_CASE(ceil, return versemi::VERSEMI_ISA::ceil(v);)
    VERSEMI_UNARY_CASE(round, return versemi::VERSEMI_ISA::round(v);)
    VERSEMI_UNARY_CASE(clip, return select(v > b, b, select(v < a, a, v));)
    VERSEMI_UNARY_CASE(step, return select(v > zero(), broadcast(1.0f), select(v == v, a, v));)
  }
  return ok();
}

// --- binary -----------------------------------------------------------------------------------------------------------

// The operands of a broadcast: the last of their axes is the run; every operand steps through it by 0, 1 or a larger stride. `rank`
// counts the others.
struct broadcast_problem : paired_axes {
  std::int64_t run = 1, a_step = 1, b_step = 1;  // last axis
  std::int64_t runs = 1;                         // product of the others

  explicit broadcast_problem(const binary_attributes& call) : paired_axes(axes_of(call)) {
    if (rank > 0) {
      rank--;
      run = shape[rank];
      a_step = a[rank];
      b_step = b[rank];
    }
    for (int i = 0; i < rank; i++) runs *= shape[i];
  }
};

// Element `i` and the following ones of an operand whose elements stand `step` apart.
struct contiguous {
  template <typename Part>
  __attribute__((always_inline)) vfloat operator()(const float* p, std::int64_t, std::int64_t i, Part part) const {
    return load(p + i, part);
  }
};
struct repeated {
  template <typename Part>
  __attribute__((always_inline)) vfloat operator()(const float* p, std::int64_t, std::int64_t, Part) const {
    return broadcast(*p);
  }
};
struct strided {
  __attribute__((always_inline)) vfloat operator()(const float* p, std::int64_t step, std::int64_t i, all_lanes) const {
    return (*this)(p, step, i, first_lanes{lanes});
  }
  __attribute__((always_inline)) vfloat operator()(const float* p, std::int64_t step, std::int64_t i, first_lanes part) const {
    float values[lanes] = {};
    for (int k = 0; k < part.count; k++) values[k] = p[(i + k) * step];
    return load(values);
  }
};

template <typename LoadA, typename LoadB, typename Function>
VERSEMI_INLINE void combine_runs(versemi_context* context, const broadcast_problem& p, const float* a, const float* b,
                                 float* y, LoadA load_a, LoadB load_b, Function function) {
  const auto pieces = [&](std::int64_t row, std::int64_t begin, std::int64_t end) VERSEMI_INLINE_LAMBDA {
    std::int64_t a_offset, b_offset;
    locate(p, row, p.rank, &a_offset, &b_offset);
    for_each_vector(begin, end, [&](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      const vfloat v = function(load_a(a + a_offset, p.a_step, i, part), load_b(b + b_offset, p.b_step, i, part));
      store(y + row * p.run + i, v, part);
    });
  };
  if (p.run >= task_elements) {
    const std::int64_t parts = divide_up(p.run, task_elements);
    parallel_for(context, p.runs * parts, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t task = begin; task < end; task++) {
        const std::int64_t first = task % parts * task_elements;
        pieces(task / parts, first, smaller(first + task_elements, p.run));
      }
    });
  } else {
    const std::int64_t rows = larger<std::int64_t>(1, task_elements / larger<std::int64_t>(1, p.run));
    parallel_for(context, divide_up(p.runs, rows), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin * rows; row < smaller(end * rows, p.runs); row++) pieces(row, 0, p.run);
    });
  }
}

// Rows [rows, width] of one operand with one short row of the other (a channel vector). The short row is written out
// several times in scratch, so that runs are long whatever the width. row_first: the short row is the first operand.
template <typename Function>
versemi_status combine_rows(versemi_context* context, const float* rows, const float* row, std::int64_t count,
                            std::int64_t width, bool row_first, float* y, Function function) {
  const std::int64_t length = divide_up(1024, width) * width, lengths = larger<std::int64_t>(1, task_elements / length);
  float* copies = scratch_floats(context, scratch_slot::repeated, static_cast<std::size_t>(length));
  if (copies == nullptr) return out_of_memory(static_cast<std::size_t>(length) * 4);
  for (std::int64_t i = 0; i < length; i++) copies[i] = row[i % width];
  const std::int64_t step = length * lengths;
  parallel_for(context, divide_up(count, step), [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t begin = first * step; begin < smaller(last * step, count); begin += length) {
      const float* x = rows + begin;
      float* out = y + begin;
      for_each_vector(0, smaller(length, count - begin), [&](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
        const vfloat v = load(x + i, part), c = load(copies + i, part);
        store(out + i, row_first ? function(c, v) : function(v, c), part);
      });
    }
  });
  return ok();
}

template <typename Function>
versemi_status combine(versemi_context* context, const broadcast_problem& p, const float* a, const float* b, float* y,
                       Function function) {
  if (p.rank == 1 && p.run < 8 * lanes && p.a_step == 1 && p.b_step == 1) {
    const std::int64_t count = p.runs * p.run;
    if (p.b[0] == 0 && p.a[0] == p.run) return combine_rows(context, a, b, count, p.run, false, y, function);
    if (p.a[0] == 0 && p.b[0] == p.run) return combine_rows(context, b, a, count, p.run, true, y, function);
  }
  if (p.a_step == 1 && p.b_step == 1) {
    combine_runs(context, p, a, b, y, contiguous{}, contiguous{}, function);
  } else if (p.a_step == 1 && p.b_step == 0) {
    combine_runs(context, p, a, b, y, contiguous{}, repeated{}, function);
  } else if (p.a_step == 0 && p.b_step == 1) {
    combine_runs(context, p, a, b, y, repeated{}, contiguous{}, function);
  } else {
    combine_runs(context, p, a, b, y, strided{}, strided{}, function);
  }
  return ok();
}

#define VERSEMI_BINARY_CASE(kind, ...) \
  case binary_kind::kind:              \
    return combine(context, p, a, b, y, [](vfloat u, vfloat v) VERSEMI_INLINE_LAMBDA -> vfloat { __VA_ARGS__ });

versemi_status binary(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const binary_attributes of(attributes);
  const broadcast_problem p(of);
  const float *a = input(buffers[binary_buffer::a]), *b = input(buffers[binary_buffer::b]);
  float* y = output(buffers[binary_buffer::output]);
  if (p.runs * p.run == 0) return ok();
  switch (of.kind) {
    VERSEMI_BINARY_CASE(add, return u + v;)
    VERSEMI_BINARY_CASE(sub, return u - v;)
    VERSEMI_BINARY_CASE(mul, return u * v;)
    VERSEMI_BINARY_CASE(div, return u / v;)
    VERSEMI_BINARY_CASE(div_no_nan, return select(v == zero(), zero(), u / v);)
    VERSEMI_BINARY_CASE(max, return versemi::VERSEMI_ISA::max(u, v);)
    VERSEMI_BINARY_CASE(min, return versemi::VERSEMI_ISA::min(u, v);)
    VERSEMI_BINARY_CASE(pow, for (int i = 0; i < lanes; i++) u[i] = __builtin_powf(u[i], v[i]); return u;)
    VERSEMI_BINARY_CASE(squared_difference, const vfloat d = u - v; return d * d;)
  }
  return ok();
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_UNARY, unary),
    VERSEMI_ROW(VERSEMI_BINARY, binary),
};

}  // namespace

kernel_rows elementwise_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
