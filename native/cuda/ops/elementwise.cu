// unary and binary: one function per element. NaN follows TF.js: it comes through relu, relu6, clip, step, max and min;
// sign(NaN) is 0.
//
// Bandwidth is all that counts: a thread takes 16 bytes of bfloat16 (8 elements) or of float32 (4) at a time, the function is
// chosen by a branch that all threads take alike. Every full-size operand is read in the format in which it lies; the result is
// bfloat16 where all of them are.
#include "core/elements.h"

namespace versemi {
namespace cuda {
namespace {

// Order of unaryKinds in kernel-table.ts.
enum unary_kind {
  identity_kind, neg_kind, abs_kind, square_kind, sqrt_kind, rsqrt_kind, reciprocal_kind, exp_kind, log_kind,
  log1p_kind, expm1_kind, sigmoid_kind, tanh_kind, relu_kind, relu6_kind, leaky_relu_kind, elu_kind, softplus_kind,
  sign_kind, floor_kind, ceil_kind, round_kind, clip_kind, step_kind, unary_kinds
};

// Order of binaryKinds in kernel-table.ts.
enum binary_kind {
  add_kind, sub_kind, mul_kind, div_kind, div_no_nan_kind, max_kind, min_kind, pow_kind, squared_difference_kind, binary_kinds
};

// --- unary ------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }
// Neither form loses what is small.
__device__ __forceinline__ float sigmoid(float x) {
  const float e = expf(-fabsf(x)), large = 1.0f / (e + 1.0f);
  return x < 0.0f ? e * large : large;
}

#define VERSEMI_UNARY_CASE(kind, ...)            \
  case kind:                                     \
    _Pragma("unroll") for (int i = 0; i < Width; i++) { \
      const float x = v[i];                      \
      v[i] = __VA_ARGS__;                        \
    }                                            \
    break;

template <int Width>
__device__ __forceinline__ void apply_unary(int kind, float (&v)[Width], float a, float b) {
  switch (kind) {
    VERSEMI_UNARY_CASE(identity_kind, x)
    VERSEMI_UNARY_CASE(neg_kind, -x)
    VERSEMI_UNARY_CASE(abs_kind, fabsf(x))
    VERSEMI_UNARY_CASE(square_kind, x * x)
    VERSEMI_UNARY_CASE(sqrt_kind, sqrtf(x))
    VERSEMI_UNARY_CASE(rsqrt_kind, 1.0f / sqrtf(x))
    VERSEMI_UNARY_CASE(reciprocal_kind, 1.0f / x)
    VERSEMI_UNARY_CASE(exp_kind, expf(x))
    VERSEMI_UNARY_CASE(log_kind, logf(x))
    VERSEMI_UNARY_CASE(log1p_kind, log1pf(x))
    VERSEMI_UNARY_CASE(expm1_kind, expm1f(x))
    VERSEMI_UNARY_CASE(sigmoid_kind, sigmoid(x))
    VERSEMI_UNARY_CASE(tanh_kind, tanhf(x))
    VERSEMI_UNARY_CASE(relu_kind, relu(x))
    VERSEMI_UNARY_CASE(relu6_kind, x > 6.0f ? 6.0f : relu(x))
    VERSEMI_UNARY_CASE(leaky_relu_kind, x < 0.0f ? x * a : x)
    VERSEMI_UNARY_CASE(elu_kind, x < 0.0f ? expm1f(x) : x)
    VERSEMI_UNARY_CASE(softplus_kind, relu(x) + log1pf(expf(-fabsf(x))))
    VERSEMI_UNARY_CASE(sign_kind, x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f)
    VERSEMI_UNARY_CASE(floor_kind, floorf(x))
    VERSEMI_UNARY_CASE(ceil_kind, ceilf(x))
    VERSEMI_UNARY_CASE(round_kind, rintf(x))
    VERSEMI_UNARY_CASE(clip_kind, x > b ? b : x < a ? a : x)
    VERSEMI_UNARY_CASE(step_kind, x > 0.0f ? 1.0f : x == x ? a : x)
    default: break;
  }
}

template <int Width>
__global__ void __launch_bounds__(flat_threads) unary_kernel(int kind, const void* x, storage x_format, void* y,
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

const char* refuses_unary(const context&, const double* attributes, std::int32_t) {
  return attributes[0] < unary_kinds ? nullptr : "a kind of unary that is not known";
}

versemi_status run_unary(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const tensor &x = tensors[0], &y = tensors[1];
  const std::int64_t count = whole(attributes[1]);
  const bool halves = x.format == storage::bfloat16 && y.format == storage::bfloat16;
  const int width = halves ? 8 : 4;
  return launch(device, "unary", halves ? unary_kernel<8> : unary_kernel<4>,
                grid_for(device, divide_up(count, width), flat_threads), flat_threads, 0, static_cast<int>(attributes[0]),
                x.data, x.format, y.data, y.format, count, static_cast<float>(attributes[2]),
                static_cast<float>(attributes[3]));
}

// --- binary -----------------------------------------------------------------------------------------------------------

#define VERSEMI_BINARY_CASE(kind, ...)           \
  case kind:                                     \
    _Pragma("unroll") for (int i = 0; i < Width; i++) { \
      const float x = a[i], y = b[i];            \
      a[i] = __VA_ARGS__;                        \
    }                                            \
    break;

template <int Width>
__device__ __forceinline__ void apply_binary(int kind, float (&a)[Width], const float (&b)[Width]) {
  switch (kind) {
    VERSEMI_BINARY_CASE(add_kind, x + y)
    VERSEMI_BINARY_CASE(sub_kind, x - y)
    VERSEMI_BINARY_CASE(mul_kind, x * y)
    VERSEMI_BINARY_CASE(div_kind, x / y)
    VERSEMI_BINARY_CASE(div_no_nan_kind, y == 0.0f ? 0.0f : x / y)
    VERSEMI_BINARY_CASE(max_kind, x > y || x != x ? x : y)
    VERSEMI_BINARY_CASE(min_kind, x < y || x != x ? x : y)
    VERSEMI_BINARY_CASE(pow_kind, powf(x, y))
    VERSEMI_BINARY_CASE(squared_difference_kind, (x - y) * (x - y))
    default: break;
  }
}

constexpr int largest_rank = 8;

// How an operand is walked along the output: every element of its own, or element (i / repeat) % size, which covers one value
// for all (size 1), a vector over the last axes (repeat 1) and one over the first or middle axes.
struct operand {
  const void* data;
  storage format;
  bool flat;
  std::int64_t repeat, size;
};

struct broadcast_axes {
  int rank;
  std::int64_t shape[largest_rank], a_stride[largest_rank], b_stride[largest_rank];
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
__global__ void __launch_bounds__(flat_threads) binary_kernel(int kind, operand a, operand b, void* y, storage y_format,
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
    binary_strided_kernel(int kind, const void* a, storage a_format, const void* b, storage b_format, void* y,
                          storage y_format, std::int64_t count, const __grid_constant__ broadcast_axes axes) {
  for (std::int64_t i = flat_index(); i < count; i += flat_threads_of_grid()) {
    std::int64_t rest = i, a_at = 0, b_at = 0;
    for (int axis = axes.rank - 1; axis >= 0; axis--) {
      const std::int64_t next = quotient(rest, axes.shape[axis]), at = rest - next * axes.shape[axis];
      a_at += at * axes.a_stride[axis];
      b_at += at * axes.b_stride[axis];
      rest = next;
    }
    float u[1] = {load_element(a, a_format, a_at)};
    const float v[1] = {load_element(b, b_format, b_at)};
    apply_binary(kind, u, v);
    store_element(y, y_format, i, u[0]);
  }
}

// Axes of size 1 dropped, axes that are contiguous in both operands joined.
broadcast_axes simplify(const double* attributes) {
  const int rank = static_cast<int>(attributes[1]);
  const double *shape = attributes + 2, *a = shape + rank, *b = a + rank;
  broadcast_axes p = {};
  for (int i = 0; i < rank; i++) {
    const std::int64_t size = whole(shape[i]), a_stride = whole(a[i]), b_stride = whole(b[i]);
    if (size == 1) continue;
    const int last = p.rank - 1;
    if (last >= 0 && p.a_stride[last] == a_stride * size && p.b_stride[last] == b_stride * size) {
      p.shape[last] *= size;
      p.a_stride[last] = a_stride;
      p.b_stride[last] = b_stride;
    } else {
      p.shape[p.rank] = size;
      p.a_stride[p.rank] = a_stride;
      p.b_stride[p.rank++] = b_stride;
    }
  }
  return p;
}

// Whether the strides are those of an operand that is walked as `operand` says: broadcast axes, then contiguous ones, then
// broadcast axes again (any of the three may be missing).
bool describe(const broadcast_axes& p, const std::int64_t* stride, operand* o) {
  int axis = p.rank - 1;
  o->repeat = o->size = 1;
  for (; axis >= 0 && stride[axis] == 0; axis--) o->repeat *= p.shape[axis];
  for (; axis >= 0 && stride[axis] == o->size; axis--) o->size *= p.shape[axis];
  o->flat = axis < 0 && o->repeat == 1;
  for (; axis >= 0 && stride[axis] == 0; axis--) {
  }
  return axis < 0;
}

const char* refuses_binary(const context&, const double* attributes, std::int32_t) {
  if (attributes[0] >= binary_kinds) return "a kind of binary that is not known";
  return attributes[1] <= largest_rank ? nullptr : "more than 8 axes";
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
  const broadcast_axes axes = simplify(attributes);
  const tensor &a = tensors[0], &b = tensors[1], &y = tensors[2];
  const int kind = static_cast<int>(attributes[0]);
  const std::int64_t count = product_of(attributes + 2, static_cast<int>(attributes[1]));
  operand left = {a.data, a.format, false, 1, 1}, right = {b.data, b.format, false, 1, 1};
  if (!describe(axes, axes.a_stride, &left) || !describe(axes, axes.b_stride, &right))
    return launch(device, "binary, strided", binary_strided_kernel, grid_for(device, count, flat_threads), flat_threads, 0,
                  kind, a.data, a.format, b.data, b.format, y.data, y.format, count, axes);
  const bool halves = y.format == storage::bfloat16;
  const int width = halves ? 8 : 4;
  return launch(device, "binary", halves ? binary_kernel<8> : binary_kernel<4>,
                grid_for(device, divide_up(count, width), flat_threads), flat_threads, 0, kind, left, right, y.data, y.format,
                count);
}

const kernel rows[] = {
    {VERSEMI_UNARY, "elements", refuses_unary, plan_unary, run_unary},
    {VERSEMI_BINARY, "elements", refuses_binary, plan_binary, run_binary},
};

}  // namespace

kernel_rows elementwise_kernels() { return {rows, 2}; }

}  // namespace cuda
}  // namespace versemi
