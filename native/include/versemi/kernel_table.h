// Made by src/tfjs/table/generate.mjs from src/tfjs/table/kernel-table.ts, which says what each op computes. Do not edit.
//
// For each op: its code; `NAME_attributes`, which reads the packed attributes of a call by their names; the places of its
// buffers, `NAME_buffer::input`; and what is known of these buffers. kernel_checks.h says whether a call fits its row.
#ifndef VERSEMI_KERNEL_TABLE_H
#define VERSEMI_KERNEL_TABLE_H

#include <cstdint>

#include "versemi/device_abi.h"

enum versemi_op {
  VERSEMI_CONV3D_FORWARD = 1,
  VERSEMI_CONV3D_GRAD_INPUT = 2,
  VERSEMI_CONV3D_GRAD_WEIGHT = 3,
  VERSEMI_CONV3D_NORM_RELU = 4,
  VERSEMI_INSTANCE_NORM_RELU = 5,
  VERSEMI_INSTANCE_NORM_RELU_GRAD = 6,
  VERSEMI_BATCH_NORM_RELU = 7,
  VERSEMI_BATCH_NORM_RELU_GRAD = 8,
  VERSEMI_DYNAMIC_HEAD = 9,
  VERSEMI_DYNAMIC_HEAD_GRAD = 10,
  VERSEMI_OVERLAP_SUMS = 11,
  VERSEMI_OVERLAP_SUMS_GRAD = 12,
  VERSEMI_AGGREGATE_MAX = 13,
  VERSEMI_AGGREGATE_MAX_GRAD = 14,
  VERSEMI_PACK_GRADIENTS = 15,
  VERSEMI_ADAM_STEP = 16,
  VERSEMI_SGD_STEP = 18,
  VERSEMI_EMA_STEP = 17,
  VERSEMI_UNARY = 20,
  VERSEMI_BINARY = 21,
  VERSEMI_REDUCE = 22,
  VERSEMI_MATMUL = 23,
  VERSEMI_TRANSPOSE = 24,
  VERSEMI_SLICE = 25,
  VERSEMI_PAD = 26,
  VERSEMI_CONCAT = 27,
  VERSEMI_TILE = 28,
  VERSEMI_FILL = 29,
  VERSEMI_CUT_PATCHES = 30,
  VERSEMI_CUT_MIX = 31,
};

namespace versemi {

enum class unary_kind : std::int32_t { identity, neg, abs, square, sqrt, rsqrt, reciprocal, exp, log, log1p, expm1,
                                       sigmoid, tanh, relu, relu6, leaky_relu, elu, softplus, sign, floor, ceil, round,
                                       clip, step };

enum class binary_kind : std::int32_t { add, sub, mul, div, div_no_nan, max, min, pow, squared_difference };

enum class reduce_kind : std::int32_t { sum, mean, max, min, prod };

constexpr int patch_row_length = 13;
constexpr int mix_row_length = 8;
constexpr int lookup_length = 256;
constexpr int pair_shares = 510;
constexpr int largest_rank = 8;

static inline std::int64_t integer(double attribute) { return static_cast<std::int64_t>(attribute); }

// Whole numbers that stand one after the other among the attributes.
struct attribute_list {
  const double* at;
  std::int64_t operator[](std::int64_t i) const { return integer(at[i]); }
};

struct convolution_attributes {
  std::int64_t n, in_d, in_h, in_w, in_c, out_d, out_h, out_w, out_c, k_d, k_h, k_w, s_d, s_h, s_w, pad_d, pad_h, pad_w;
  explicit convolution_attributes(const double* attributes)
      : n(integer(attributes[0])), in_d(integer(attributes[1])), in_h(integer(attributes[2])),
        in_w(integer(attributes[3])), in_c(integer(attributes[4])), out_d(integer(attributes[5])),
        out_h(integer(attributes[6])), out_w(integer(attributes[7])), out_c(integer(attributes[8])),
        k_d(integer(attributes[9])), k_h(integer(attributes[10])), k_w(integer(attributes[11])),
        s_d(integer(attributes[12])), s_h(integer(attributes[13])), s_w(integer(attributes[14])),
        pad_d(integer(attributes[15])), pad_h(integer(attributes[16])), pad_w(integer(attributes[17])) {}
};

struct instance_norm_attributes {
  std::int64_t n, voxels, channels;
  bool relu;
  explicit instance_norm_attributes(const double* attributes)
      : n(integer(attributes[0])), voxels(integer(attributes[1])), channels(integer(attributes[2])),
        relu(attributes[3] != 0) {}
};

struct head_attributes {
  std::int64_t n, prompts, voxels, width;
  explicit head_attributes(const double* attributes)
      : n(integer(attributes[0])), prompts(integer(attributes[1])), voxels(integer(attributes[2])),
        width(integer(attributes[3])) {}
};

struct aggregate_attributes {
  std::int64_t n, prompts, voxels, real;
  explicit aggregate_attributes(const double* attributes)
      : n(integer(attributes[0])), prompts(integer(attributes[1])), voxels(integer(attributes[2])),
        real(integer(attributes[3])) {}
};

// --- conv3d_forward ---
struct conv3d_forward_attributes : convolution_attributes {
  using convolution_attributes::convolution_attributes;
};
namespace conv3d_forward_buffer {
enum : std::int32_t { input = 0, weight = 1, bias = 2, output = 3 };
}  // namespace conv3d_forward_buffer

// --- conv3d_grad_input ---
struct conv3d_grad_input_attributes : convolution_attributes {
  using convolution_attributes::convolution_attributes;
};
namespace conv3d_grad_input_buffer {
enum : std::int32_t { grad_output = 0, weight = 1, bias = 2, grad_input = 3 };
}  // namespace conv3d_grad_input_buffer

// --- conv3d_grad_weight ---
struct conv3d_grad_weight_attributes : convolution_attributes {
  using convolution_attributes::convolution_attributes;
};
namespace conv3d_grad_weight_buffer {
enum : std::int32_t { input = 0, grad_output = 1, grad_weight = 2, grad_bias = 3 };
}  // namespace conv3d_grad_weight_buffer

// --- conv3d_norm_relu ---
struct conv3d_norm_relu_attributes : convolution_attributes {
  bool transposed, relu;
  double epsilon;
  explicit conv3d_norm_relu_attributes(const double* attributes)
      : convolution_attributes(attributes), transposed(attributes[18] != 0), relu(attributes[19] != 0),
        epsilon(attributes[20]) {}
};
namespace conv3d_norm_relu_buffer {
enum : std::int32_t { input = 0, weight = 1, skip = 2, output = 3, raw = 4, mean = 5, rstd = 6 };
}  // namespace conv3d_norm_relu_buffer

// --- instance_norm_relu ---
struct instance_norm_relu_attributes : instance_norm_attributes {
  double epsilon;
  explicit instance_norm_relu_attributes(const double* attributes)
      : instance_norm_attributes(attributes), epsilon(attributes[4]) {}
};
namespace instance_norm_relu_buffer {
enum : std::int32_t { input = 0, output = 1, mean = 2, rstd = 3 };
}  // namespace instance_norm_relu_buffer

// --- instance_norm_relu_grad ---
struct instance_norm_relu_grad_attributes : instance_norm_attributes {
  using instance_norm_attributes::instance_norm_attributes;
};
namespace instance_norm_relu_grad_buffer {
enum : std::int32_t { grad_output = 0, raw = 1, mean = 2, rstd = 3, grad_raw = 4 };
}  // namespace instance_norm_relu_grad_buffer

// --- batch_norm_relu ---
struct batch_norm_relu_attributes {
  std::int64_t rows, channels;
  bool training, relu;
  double epsilon;
  explicit batch_norm_relu_attributes(const double* attributes)
      : rows(integer(attributes[0])), channels(integer(attributes[1])), training(attributes[2] != 0),
        relu(attributes[3] != 0), epsilon(attributes[4]) {}
};
namespace batch_norm_relu_buffer {
enum : std::int32_t { input = 0, gamma = 1, beta = 2, moving_mean = 3, moving_variance = 4, output = 5, mean = 6,
                      variance = 7 };
}  // namespace batch_norm_relu_buffer

// --- batch_norm_relu_grad ---
struct batch_norm_relu_grad_attributes {
  std::int64_t rows, channels;
  bool relu;
  double epsilon;
  bool averages;
  explicit batch_norm_relu_grad_attributes(const double* attributes)
      : rows(integer(attributes[0])), channels(integer(attributes[1])), relu(attributes[2] != 0),
        epsilon(attributes[3]), averages(attributes[4] != 0) {}
};
namespace batch_norm_relu_grad_buffer {
enum : std::int32_t { grad_output = 0, input = 1, gamma = 2, beta = 3, mean = 4, variance = 5, average_gradient = 6,
                      average_product = 7, grad_input = 8, grad_gamma = 9, grad_beta = 10 };
}  // namespace batch_norm_relu_grad_buffer

// --- dynamic_head ---
struct dynamic_head_attributes : head_attributes {
  using head_attributes::head_attributes;
};
namespace dynamic_head_buffer {
enum : std::int32_t { features = 0, parameters = 1, logits = 2 };
}  // namespace dynamic_head_buffer

// --- dynamic_head_grad ---
struct dynamic_head_grad_attributes : head_attributes {
  using head_attributes::head_attributes;
};
namespace dynamic_head_grad_buffer {
enum : std::int32_t { grad_logits = 0, features = 1, parameters = 2, grad_features = 3, grad_parameters = 4 };
}  // namespace dynamic_head_grad_buffer

// --- overlap_sums ---
struct overlap_sums_attributes {
  std::int64_t rows, count;
  explicit overlap_sums_attributes(const double* attributes)
      : rows(integer(attributes[0])), count(integer(attributes[1])) {}
};
namespace overlap_sums_buffer {
enum : std::int32_t { logits = 0, target = 1, mask = 2, sums = 3 };
}  // namespace overlap_sums_buffer

// --- overlap_sums_grad ---
struct overlap_sums_grad_attributes {
  std::int64_t rows, count;
  explicit overlap_sums_grad_attributes(const double* attributes)
      : rows(integer(attributes[0])), count(integer(attributes[1])) {}
};
namespace overlap_sums_grad_buffer {
enum : std::int32_t { grad_sums = 0, logits = 1, target = 2, mask = 3, grad_logits = 4, grad_target = 5 };
}  // namespace overlap_sums_grad_buffer

// --- aggregate_max ---
struct aggregate_max_attributes : aggregate_attributes {
  using aggregate_attributes::aggregate_attributes;
};
namespace aggregate_max_buffer {
enum : std::int32_t { logits = 0, aggregate = 1 };
}  // namespace aggregate_max_buffer

// --- aggregate_max_grad ---
struct aggregate_max_grad_attributes : aggregate_attributes {
  using aggregate_attributes::aggregate_attributes;
};
namespace aggregate_max_grad_buffer {
enum : std::int32_t { grad_aggregate = 0, logits = 1, grad_logits = 2 };
}  // namespace aggregate_max_grad_buffer

// --- pack_gradients ---
struct pack_gradients_attributes {
  std::int64_t n;
  attribute_list size;
  explicit pack_gradients_attributes(const double* attributes)
      : n(integer(attributes[0])), size(attribute_list{attributes + 1}) {}
};
namespace pack_gradients_buffer {
enum : std::int32_t { gradient = 0 };
constexpr std::int32_t arena_after(std::int64_t n) { return static_cast<std::int32_t>(0 + n); }
constexpr std::int32_t squared_norm_after(std::int64_t n) { return static_cast<std::int32_t>(1 + n); }
}  // namespace pack_gradients_buffer

// --- adam_step ---
struct adam_step_attributes {
  std::int64_t n;
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  std::int64_t step;
  double gradient_scale;
  attribute_list size;
  explicit adam_step_attributes(const double* attributes)
      : n(integer(attributes[0])), learning_rate(attributes[1]), beta1(attributes[2]), beta2(attributes[3]),
        epsilon(attributes[4]), weight_decay(attributes[5]), step(integer(attributes[6])),
        gradient_scale(attributes[7]), size(attribute_list{attributes + 8}) {}
};
namespace adam_step_buffer {
enum : std::int32_t { arena = 0, first_moment = 1, second_moment = 2, parameter = 3 };
}  // namespace adam_step_buffer

// --- sgd_step ---
struct sgd_step_attributes {
  std::int64_t n;
  double learning_rate, momentum, weight_decay, gradient_scale;
  attribute_list size;
  explicit sgd_step_attributes(const double* attributes)
      : n(integer(attributes[0])), learning_rate(attributes[1]), momentum(attributes[2]), weight_decay(attributes[3]),
        gradient_scale(attributes[4]), size(attribute_list{attributes + 5}) {}
};
namespace sgd_step_buffer {
enum : std::int32_t { arena = 0, velocity = 1, parameter = 2 };
}  // namespace sgd_step_buffer

// --- ema_step ---
struct ema_step_attributes {
  std::int64_t n;
  double decay;
  attribute_list size;
  explicit ema_step_attributes(const double* attributes)
      : n(integer(attributes[0])), decay(attributes[1]), size(attribute_list{attributes + 2}) {}
};
namespace ema_step_buffer {
enum : std::int32_t { parameter = 0 };
constexpr std::int32_t average_after(std::int64_t n) { return static_cast<std::int32_t>(0 + n); }
}  // namespace ema_step_buffer

// --- unary ---
struct unary_attributes {
  unary_kind kind;
  std::int64_t count;
  double parameter_a, parameter_b;
  explicit unary_attributes(const double* attributes)
      : kind(static_cast<unary_kind>(attributes[0])), count(integer(attributes[1])), parameter_a(attributes[2]),
        parameter_b(attributes[3]) {}
};
namespace unary_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace unary_buffer

// --- binary ---
struct binary_attributes {
  binary_kind kind;
  std::int64_t rank;
  attribute_list shape, a_stride, b_stride;
  explicit binary_attributes(const double* attributes)
      : kind(static_cast<binary_kind>(attributes[0])), rank(integer(attributes[1])),
        shape(attribute_list{attributes + 2}), a_stride(attribute_list{attributes + 2 + rank}),
        b_stride(attribute_list{attributes + 2 + rank + rank}) {}
};
namespace binary_buffer {
enum : std::int32_t { a = 0, b = 1, output = 2 };
}  // namespace binary_buffer

// --- reduce ---
struct reduce_attributes {
  reduce_kind kind;
  std::int64_t outer, reduced, inner;
  explicit reduce_attributes(const double* attributes)
      : kind(static_cast<reduce_kind>(attributes[0])), outer(integer(attributes[1])), reduced(integer(attributes[2])),
        inner(integer(attributes[3])) {}
};
namespace reduce_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace reduce_buffer

// --- matmul ---
struct matmul_attributes {
  std::int64_t batch, m, k, n;
  bool transpose_a, transpose_b;
  std::int64_t a_step, b_step;
  explicit matmul_attributes(const double* attributes)
      : batch(integer(attributes[0])), m(integer(attributes[1])), k(integer(attributes[2])), n(integer(attributes[3])),
        transpose_a(attributes[4] != 0), transpose_b(attributes[5] != 0), a_step(integer(attributes[6])),
        b_step(integer(attributes[7])) {}
};
namespace matmul_buffer {
enum : std::int32_t { a = 0, b = 1, output = 2 };
}  // namespace matmul_buffer

// --- transpose ---
struct transpose_attributes {
  std::int64_t rank;
  attribute_list shape, permutation;
  explicit transpose_attributes(const double* attributes)
      : rank(integer(attributes[0])), shape(attribute_list{attributes + 1}),
        permutation(attribute_list{attributes + 1 + rank}) {}
};
namespace transpose_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace transpose_buffer

// --- slice ---
struct slice_attributes {
  std::int64_t rank;
  attribute_list shape, begin, size;
  explicit slice_attributes(const double* attributes)
      : rank(integer(attributes[0])), shape(attribute_list{attributes + 1}),
        begin(attribute_list{attributes + 1 + rank}), size(attribute_list{attributes + 1 + rank + rank}) {}
};
namespace slice_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace slice_buffer

// --- pad ---
struct pad_attributes {
  std::int64_t rank;
  attribute_list shape, before, after;
  double value;
  explicit pad_attributes(const double* attributes)
      : rank(integer(attributes[0])), shape(attribute_list{attributes + 1}),
        before(attribute_list{attributes + 1 + rank}), after(attribute_list{attributes + 1 + rank + rank}),
        value(attributes[1 + rank + rank + rank]) {}
};
namespace pad_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace pad_buffer

// --- concat ---
struct concat_attributes {
  std::int64_t n, outer;
  attribute_list inner;
  explicit concat_attributes(const double* attributes)
      : n(integer(attributes[0])), outer(integer(attributes[1])), inner(attribute_list{attributes + 2}) {}
};
namespace concat_buffer {
enum : std::int32_t { input = 0 };
constexpr std::int32_t output_after(std::int64_t n) { return static_cast<std::int32_t>(0 + n); }
}  // namespace concat_buffer

// --- tile ---
struct tile_attributes {
  std::int64_t rank;
  attribute_list shape, repetitions;
  explicit tile_attributes(const double* attributes)
      : rank(integer(attributes[0])), shape(attribute_list{attributes + 1}),
        repetitions(attribute_list{attributes + 1 + rank}) {}
};
namespace tile_buffer {
enum : std::int32_t { input = 0, output = 1 };
}  // namespace tile_buffer

// --- fill ---
struct fill_attributes {
  std::int64_t count;
  double value;
  explicit fill_attributes(const double* attributes)
      : count(integer(attributes[0])), value(attributes[1]) {}
};
namespace fill_buffer {
enum : std::int32_t { output = 0 };
}  // namespace fill_buffer

// --- cut_patches ---
struct cut_patches_attributes {
  std::int64_t n, d, h, w, total, lookups;
  explicit cut_patches_attributes(const double* attributes)
      : n(integer(attributes[0])), d(integer(attributes[1])), h(integer(attributes[2])), w(integer(attributes[3])),
        total(integer(attributes[4])), lookups(integer(attributes[5])) {}
};
namespace cut_patches_buffer {
enum : std::int32_t { volumes = 0, table = 1, lookup = 2, patches = 3 };
}  // namespace cut_patches_buffer

// --- cut_mix ---
struct cut_mix_attributes {
  std::int64_t n, d, h, w, sources;
  explicit cut_mix_attributes(const double* attributes)
      : n(integer(attributes[0])), d(integer(attributes[1])), h(integer(attributes[2])), w(integer(attributes[3])),
        sources(integer(attributes[4])) {}
};
namespace cut_mix_buffer {
enum : std::int32_t { patches = 0, table = 1, mixes = 2 };
}  // namespace cut_mix_buffer

// What is known of a buffer of an op; one that is repeated stands once.
struct buffer_description {
  const char* name;
  bool output;
  bool repeated;
  bool in_place;  // the op changes what the buffer holds
  bool narrow;    // an activation: a device of lower precision may store it in 16 bits; all others are float32
};

struct op_description {
  const char* name;
  const buffer_description* buffers;
  std::int32_t buffer_count;
  std::int32_t input_count;  // of buffers, each once

  // The buffer in place `i` of a call with `count` buffers.
  const buffer_description& buffer(std::int32_t i, std::int32_t count) const {
    const std::int32_t more = count - buffer_count;  // what is repeated stands that many times more
    std::int32_t at = 0;
    for (; at + 1 < buffer_count && i > 0; at++) {
      const std::int32_t here = buffers[at].repeated ? 1 + more : 1;
      if (i < here) break;
      i -= here;
    }
    return buffers[at];
  }
  // How many of the `count` buffers of a call are inputs; the outputs follow.
  std::int32_t inputs(std::int32_t count) const {
    for (std::int32_t i = 0; i < input_count; i++)
      if (buffers[i].repeated) return count - (buffer_count - input_count);
    return input_count;
  }
};

// nullptr for a code that is in no row.
inline const op_description* describe_op(std::int32_t op) {
  switch (op) {
    case VERSEMI_CONV3D_FORWARD: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"weight", false, false, false, false},
                                                       {"bias", false, false, false, false},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"conv3d_forward", buffers, 4, 3};
      return &op_row;
    }
    case VERSEMI_CONV3D_GRAD_INPUT: {
      static constexpr buffer_description buffers[] = {{"gradOutput", false, false, false, true},
                                                       {"weight", false, false, false, false},
                                                       {"bias", false, false, false, false},
                                                       {"gradInput", true, false, false, true}};
      static constexpr op_description op_row{"conv3d_grad_input", buffers, 4, 3};
      return &op_row;
    }
    case VERSEMI_CONV3D_GRAD_WEIGHT: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"gradOutput", false, false, false, true},
                                                       {"gradWeight", true, false, false, false},
                                                       {"gradBias", true, false, false, false}};
      static constexpr op_description op_row{"conv3d_grad_weight", buffers, 4, 2};
      return &op_row;
    }
    case VERSEMI_CONV3D_NORM_RELU: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"weight", false, false, false, false},
                                                       {"skip", false, false, false, true},
                                                       {"output", true, false, false, true},
                                                       {"raw", true, false, false, true},
                                                       {"mean", true, false, false, false},
                                                       {"rstd", true, false, false, false}};
      static constexpr op_description op_row{"conv3d_norm_relu", buffers, 7, 3};
      return &op_row;
    }
    case VERSEMI_INSTANCE_NORM_RELU: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true},
                                                       {"mean", true, false, false, false},
                                                       {"rstd", true, false, false, false}};
      static constexpr op_description op_row{"instance_norm_relu", buffers, 4, 1};
      return &op_row;
    }
    case VERSEMI_INSTANCE_NORM_RELU_GRAD: {
      static constexpr buffer_description buffers[] = {{"gradOutput", false, false, false, true},
                                                       {"raw", false, false, false, true},
                                                       {"mean", false, false, false, false},
                                                       {"rstd", false, false, false, false},
                                                       {"gradRaw", true, false, false, true}};
      static constexpr op_description op_row{"instance_norm_relu_grad", buffers, 5, 4};
      return &op_row;
    }
    case VERSEMI_BATCH_NORM_RELU: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"gamma", false, false, false, false},
                                                       {"beta", false, false, false, false},
                                                       {"movingMean", false, false, false, false},
                                                       {"movingVariance", false, false, false, false},
                                                       {"output", true, false, false, true},
                                                       {"mean", true, false, false, false},
                                                       {"variance", true, false, false, false}};
      static constexpr op_description op_row{"batch_norm_relu", buffers, 8, 5};
      return &op_row;
    }
    case VERSEMI_BATCH_NORM_RELU_GRAD: {
      static constexpr buffer_description buffers[] = {{"gradOutput", false, false, false, true},
                                                       {"input", false, false, false, true},
                                                       {"gamma", false, false, false, false},
                                                       {"beta", false, false, false, false},
                                                       {"mean", false, false, false, false},
                                                       {"variance", false, false, false, false},
                                                       {"averageGradient", false, false, false, false},
                                                       {"averageProduct", false, false, false, false},
                                                       {"gradInput", true, false, false, true},
                                                       {"gradGamma", true, false, false, false},
                                                       {"gradBeta", true, false, false, false}};
      static constexpr op_description op_row{"batch_norm_relu_grad", buffers, 11, 8};
      return &op_row;
    }
    case VERSEMI_DYNAMIC_HEAD: {
      static constexpr buffer_description buffers[] = {{"features", false, false, false, true},
                                                       {"parameters", false, false, false, false},
                                                       {"logits", true, false, false, false}};
      static constexpr op_description op_row{"dynamic_head", buffers, 3, 2};
      return &op_row;
    }
    case VERSEMI_DYNAMIC_HEAD_GRAD: {
      static constexpr buffer_description buffers[] = {{"gradLogits", false, false, false, false},
                                                       {"features", false, false, false, true},
                                                       {"parameters", false, false, false, false},
                                                       {"gradFeatures", true, false, false, true},
                                                       {"gradParameters", true, false, false, false}};
      static constexpr op_description op_row{"dynamic_head_grad", buffers, 5, 3};
      return &op_row;
    }
    case VERSEMI_OVERLAP_SUMS: {
      static constexpr buffer_description buffers[] = {{"logits", false, false, false, false},
                                                       {"target", false, false, false, false},
                                                       {"mask", false, false, false, false},
                                                       {"sums", true, false, false, false}};
      static constexpr op_description op_row{"overlap_sums", buffers, 4, 3};
      return &op_row;
    }
    case VERSEMI_OVERLAP_SUMS_GRAD: {
      static constexpr buffer_description buffers[] = {{"gradSums", false, false, false, false},
                                                       {"logits", false, false, false, false},
                                                       {"target", false, false, false, false},
                                                       {"mask", false, false, false, false},
                                                       {"gradLogits", true, false, false, false},
                                                       {"gradTarget", true, false, false, false}};
      static constexpr op_description op_row{"overlap_sums_grad", buffers, 6, 4};
      return &op_row;
    }
    case VERSEMI_AGGREGATE_MAX: {
      static constexpr buffer_description buffers[] = {{"logits", false, false, false, false},
                                                       {"aggregate", true, false, false, false}};
      static constexpr op_description op_row{"aggregate_max", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_AGGREGATE_MAX_GRAD: {
      static constexpr buffer_description buffers[] = {{"gradAggregate", false, false, false, false},
                                                       {"logits", false, false, false, false},
                                                       {"gradLogits", true, false, false, false}};
      static constexpr op_description op_row{"aggregate_max_grad", buffers, 3, 2};
      return &op_row;
    }
    case VERSEMI_PACK_GRADIENTS: {
      static constexpr buffer_description buffers[] = {{"gradient", false, true, false, false},
                                                       {"arena", true, false, true, false},
                                                       {"squaredNorm", true, false, false, false}};
      static constexpr op_description op_row{"pack_gradients", buffers, 3, 1};
      return &op_row;
    }
    case VERSEMI_ADAM_STEP: {
      static constexpr buffer_description buffers[] = {{"arena", false, false, false, false},
                                                       {"firstMoment", true, false, true, false},
                                                       {"secondMoment", true, false, true, false},
                                                       {"parameter", true, true, true, false}};
      static constexpr op_description op_row{"adam_step", buffers, 4, 1};
      return &op_row;
    }
    case VERSEMI_SGD_STEP: {
      static constexpr buffer_description buffers[] = {{"arena", false, false, false, false},
                                                       {"velocity", true, false, true, false},
                                                       {"parameter", true, true, true, false}};
      static constexpr op_description op_row{"sgd_step", buffers, 3, 1};
      return &op_row;
    }
    case VERSEMI_EMA_STEP: {
      static constexpr buffer_description buffers[] = {{"parameter", false, true, false, false},
                                                       {"average", true, false, true, false}};
      static constexpr op_description op_row{"ema_step", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_UNARY: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"unary", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_BINARY: {
      static constexpr buffer_description buffers[] = {{"a", false, false, false, true},
                                                       {"b", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"binary", buffers, 3, 2};
      return &op_row;
    }
    case VERSEMI_REDUCE: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, false}};
      static constexpr op_description op_row{"reduce", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_MATMUL: {
      static constexpr buffer_description buffers[] = {{"a", false, false, false, false},
                                                       {"b", false, false, false, false},
                                                       {"output", true, false, false, false}};
      static constexpr op_description op_row{"matmul", buffers, 3, 2};
      return &op_row;
    }
    case VERSEMI_TRANSPOSE: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"transpose", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_SLICE: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"slice", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_PAD: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"pad", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_CONCAT: {
      static constexpr buffer_description buffers[] = {{"input", false, true, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"concat", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_TILE: {
      static constexpr buffer_description buffers[] = {{"input", false, false, false, true},
                                                       {"output", true, false, false, true}};
      static constexpr op_description op_row{"tile", buffers, 2, 1};
      return &op_row;
    }
    case VERSEMI_FILL: {
      static constexpr buffer_description buffers[] = {{"output", true, false, false, false}};
      static constexpr op_description op_row{"fill", buffers, 1, 0};
      return &op_row;
    }
    case VERSEMI_CUT_PATCHES: {
      static constexpr buffer_description buffers[] = {{"volumes", false, false, false, false},
                                                       {"table", false, false, false, false},
                                                       {"lookup", false, false, false, false},
                                                       {"patches", true, false, false, false}};
      static constexpr op_description op_row{"cut_patches", buffers, 4, 3};
      return &op_row;
    }
    case VERSEMI_CUT_MIX: {
      static constexpr buffer_description buffers[] = {{"patches", false, false, false, false},
                                                       {"table", false, false, false, false},
                                                       {"mixes", true, false, false, false}};
      static constexpr op_description op_row{"cut_mix", buffers, 3, 2};
      return &op_row;
    }
    default:
      return nullptr;
  }
}

}  // namespace versemi

#endif
