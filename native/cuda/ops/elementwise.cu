// unary and binary: one function per element. NaN follows TF.js: it comes through relu, relu6, clip, step, max and min;
// sign(NaN) is 0.
//
// Bandwidth is all that counts: a thread takes 16 bytes of bfloat16 (8 elements) or of float32 (4) at a time, the function is
// chosen by a branch that all threads take alike. Every full-size operand is read in the format in which it lies; the result is
// bfloat16 where all of them are.
#include "core/elements.h"
#include "versemi/paired_axes.h"

namespace versemi {
namespace cuda {
namespace {

// --- unary ------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }
// Neither form loses what is small.
__device__ __forceinline__ float sigmoid(float x) {
  const float e = expf(-fabsf(x)), large = 1.0f / (e + 1.0f);
  return x < 0.0f ? e * large : large;
}

#define VERSEMI_UNARY_CASE(kind, ...)            \
  case unary_kind::kind:                         \
    _Pragma("unroll") for (int i = 0; i < Width; i++) { \
      const float x = v[i];                      \
      v[i] = __VA_ARGS__;                        \
    }                                            \
    break;

template <int Width>
__device__ __forceinline__ void apply_unary(unary_kind kind, float (&v)[Width], float a, float b) {
  switch (kind) {
    VERSEMI_UNARY_CASE(identity, x)
    VERSEMI_UNARY_CASE(neg, -x)
    VERSEMI_UNARY_CASE(abs, fabsf(x))
    VERSEMI_UNARY_CASE(square, x * x)
    VERSEMI_UNARY_CASE(sqrt, sqrtf(x))
    VERSEMI_UNARY_CASE(rsqrt, 1.0f / sqrtf(x))
    VERSEMI_UNARY_CASE(reciprocal, 1.0f / x)
    VERSEMI_UNARY_CASE(exp, expf(x))
    VERSEMI_UNARY_CASE(log, logf(x))
    VERSEMI_UNARY_CASE(log1p, log1pf(x))
    VERSEMI_UNARY_CASE(expm1, expm1f(x))
    VERSEMI_UNARY_CASE(sigmoid, sigmoid(x))
    VERSEMI_UNARY_CASE(tanh, tanhf(x))
    VERSEMI_UNARY_CASE(relu, relu(x))
    VERSEMI_UNARY_CASE(relu6, x > 6.0f ? 6.0f : relu(x))
    VERSEMI_UNARY_CASE(leaky_relu, x < 0.0f ? x * a : x)
    VERSEMI_UNARY_CASE(elu, x < 0.0f ? expm1f(x) : x)
    VERSEMI_UNARY_CASE(softplus, relu(x) + log1pf(expf(-fabsf(x))))
    VERSEMI_UNARY_CASE(sign, x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f)
    VERSEMI_UNARY_CASE(floor, floorf(x))
    VERSEMI_UNARY_CASE(ceil, ceilf(x))
    VERSEMI_UNARY_CASE(round, rintf(x))
    VERSEMI_UNARY_CASE(clip, x > b ? b : x < a ? a : x)
    VERSEMI_UNARY_CASE(step, x > 0.0f ? 1.0f : x == x ? a : x)
    default: break;
  }
}

template <int Width>
__global__ void __launch_bounds__(flat_threads) unary_kernel(unary_kind kind, const void* x, storage x_format, void* y,
                                                             storage y_format, std::int64_t count, float a, float b) {
  for (std::int64_t first = flat_index() * Width; first < count; first += flat_threads_of_grid() * Width) {
    float v[Width];
    if (first + Width <= count) {
      load_elements(x, x_format, first, v);
      apply_unary(kind, v, a, b);
      store_elements(y, y_format, first, v);
    } else {
      for (std::int64_t i = first; i < count; i++) {
        float one[1] = {load_element(x, x_format, i)};
        apply_unary(kind, one, a, b);
        store_element(y, y_format, i, one[0]);
      }
    }
  }
}

// bfloat16 stays bfloat16.
void plan_unary(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = tensors[0].format;
}

versemi_status run_unary(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const tensor &x = tensors[0], &y = tensors[1];
  const unary_attributes call(attributes);
  const bool halves = x.format == storage::bfloat16 && y.format == storage::bfloat16;
  const int width = halves ? 8 : 4;
  return launch(device, "unary", halves ? unary_kernel<8> : unary_kernel<4>,
                grid_for(device, divide_up(call.count, width), flat_threads), flat_threads, 0, call.kind, x.data, x.format,
                y.data, y.format, call.count, static_cast<float>(call.parameter_a), static_cast<float>(call.parameter_b));
}

// --- binary -----------------------------------------------------------------------------------------------------------

#define VERSEMI_BINARY_CASE(kind, ...)           \
  case binary_kind::kind:                        \
    _Pragma("unroll") for (int i = 0; i < Width; i++) { \
      const float x = a[i], y = b[i];            \
      a[i] = __VA_ARGS__;                        \
    }                                            \
    break;

template <int Width>
__device__ __forceinline__ void apply_binary(binary_kind kind, float (&a)[Width], const float (&b)[Width]) {
  switch (kind) {
    VERSEMI_BINARY_CASE(add, x + y)
    VERSEMI_BINARY_CASE(sub, x - y)
    VERSEMI_BINARY_CASE(mul, x * y)
    VERSEMI_BINARY_CASE(div, x / y)
    VERSEMI_BINARY_CASE(div_no_nan, y == 0.0f ? 0.0f : x / y)
    VERSEMI_BINARY_CASE(max, x > y || x != x ? x : y)
    VERSEMI_BINARY_CASE(min, x < y || x != x ? x : y)
    VERSEMI_BINARY_CASE(pow, powf(x, y))
    VERSEMI_BINARY_CASE(squared_difference, (x - y) * (x - y))
    default: break;
  }
}

// How an operand is walked along the output: every element of its own, or element (i / repeat) % size, which covers one value
// for all (size 1), a vector over the last axes (repeat 1) and one over the first or middle axes.
struct operand {
  const void* data;
  storage format;
  bool flat;
  std::int64_t repeat, size;
};

__device__ __forceinline__ std::int64_t quotient(std::int64_t a, std::int64_t b) {
  // A division of 32 bits is several times cheaper.
  return (a | b) >> 32 == 0 ? static_cast<std::int64_t>(static_cast<std::uint32_t>(a) / static_cast<std::uint32_t>(b)) : a / b;
}

template <int Width>
__device__ __forceinline__ void load_operand(const operand& o, std::int64_t first, float (&v)[Width]) {
  if (o.flat) return load_elements(o.data, o.format, first, v);
  if (o.size == 1) {
    const float value = load_element(o.data, o.format, 0);
#pragma unroll
    for (int i = 0; i < Width; i++) v[i] = value;
    return;
  }
  const std::int64_t group = quotient(first, o.repeat);
  std::int64_t within = first - group * o.repeat, at = group - quotient(group, o.size) * o.size;
#pragma unroll
  for (int i = 0; i < Width; i++) {
    v[i] = load_element(o.data, o.format, at);
    if (++within == o.repeat) {
      within = 0;
      if (++at == o.size) at = 0;
    }
  }
}

template <int Width>
__global__ void __launch_bounds__(flat_threads) binary_kernel(binary_kind kind, operand a, operand b, void* y, storage y_format,
                                                              std::int64_t count) {
  for (std::int64_t first = flat_index() * Width; first < count; first += flat_threads_of_grid() * Width) {
    if (first + Width <= count) {
      float u[Width], v[Width];
      load_operand(a, first, u);
      load_operand(b, first, v);
      apply_binary(kind, u, v);
      store_elements(y, y_format, first, u);
    } else {
      for (std::int64_t i = first; i < count; i++) {
        const auto at = [i](const operand& o) { return o.flat ? i : quotient(i, o.repeat) % o.size; };
        float u[1] = {load_element(a.data, a.format, at(a))};
        const float v[1] = {load_element(b.data, b.format, at(b))};
        apply_binary(kind, u, v);
        store_element(y, y_format, i, u[0]);
      }
    }
  }
}

// Any strides: one element at a time.
__global__ void __launch_bounds__(flat_threads)
    binary_strided_kernel(binary_kind kind, const void* a, storage a_format, const void* b, storage b_format, void* y,
                          storage y_format, std::int64_t count, const __grid_constant__ paired_axes axes) {
  for (std::int64_t i = flat_index(); i < count; i += flat_threads_of_grid()) {
    std::int64_t rest = i, a_at = 0, b_at = 0;
    for (int axis = axes.rank - 1; axis >= 0; axis--) {
      const std::int64_t next = quotient(rest, axes.shape[axis]), at = rest - next * axes.shape[axis];
      a_at += at * axes.a[axis];
      b_at += at * axes.b[axis];
      rest = next;
    }
    float u[1] = {load_element(a, a_format, a_at)};
    const float v[1] = {load_element(b, b_format, b_at)};
    apply_binary(kind, u, v);
    store_element(y, y_format, i, u[0]);
  }
}

// Whether the strides are those of an operand that is walked as `operand` says: broadcast axes, then contiguous ones, then
// broadcast axes again (any of the three may be missing).
bool describe(const paired_axes& p, const std::int64_t* stride, operand* o) {
  int axis = p.rank - 1;
  o->repeat = o->size = 1;
  for (; axis >= 0 && stride[axis] == 0; axis--) o->repeat *= p.shape[axis];
  for (; axis >= 0 && stride[axis] == o->size; axis--) o->size *= p.shape[axis];
  o->flat = axis < 0 && o->repeat == 1;
  for (; axis >= 0 && stride[axis] == 0; axis--) {
  }
  return axis < 0;
}

void plan_binary(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  const std::int64_t count = tensors[2].elements;
  int full = 0, halves = 0;
  for (int i = 0; i < 2; i++) {
    if (tensors[i].elements != count) {
      tensors[i].format = storage::float32;  // small: converting it costs nothing
      continue;
    }
    full++;
    halves += tensors[i].format == storage::bfloat16;
  }
  tensors[2].format = full > 0 && halves == full ? storage::bfloat16 : storage::float32;
}

versemi_status run_binary(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const binary_attributes call(attributes);
  const paired_axes axes = axes_of(call);
  const tensor &a = tensors[0], &b = tensors[1], &y = tensors[2];
  std::int64_t count = 1;
  for (int i = 0; i < axes.rank; i++) count *= axes.shape[i];
  operand left = {a.data, a.format, false, 1, 1}, right = {b.data, b.format, false, 1, 1};
  if (!describe(axes, axes.a, &left) || !describe(axes, axes.b, &right))
    return launch(device, "binary, strided", binary_strided_kernel, grid_for(device, count, flat_threads), flat_threads, 0,
                  call.kind, a.data, a.format, b.data, b.format, y.data, y.format, count, axes);
  const bool halves = y.format == storage::bfloat16;
  const int width = halves ? 8 : 4;
  return launch(device, "binary", halves ? binary_kernel<8> : binary_kernel<4>,
                grid_for(device, divide_up(count, width), flat_threads), flat_threads, 0, call.kind, left, right, y.data, y.format,
                count);
}

const kernel rows[] = {
    {VERSEMI_UNARY, "elements", takes_all, plan_unary, run_unary},
    {VERSEMI_BINARY, "elements", takes_all, plan_binary, run_binary},
};

}  // namespace

kernel_rows elementwise_kernels() { return {rows, 2}; }

}  // namespace cuda
}  // namespace versemi
