// Sums for Dice and cross-entropy, and the aggregate over prompts; formulas in src/tfjs/table/kernel-table.ts.

#include "dispatch.h"
#include "elementwise_math.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int sums = 5;

struct wide {
  vdouble low, high;
};
VERSEMI_INLINE void add(wide& total, vfloat v) {
  total.low += widen_low(v);
  total.high += widen_high(v);
}

// Lanes that are not in use hold logit 0, target 0 and mask 0, and add nothing.
struct masked {
  const float* mask;
  template <typename Part>
  __attribute__((always_inline)) vfloat operator()(std::int64_t i, Part part) const {
    return load(mask + i, part);
  }
};
struct unmasked {
  __attribute__((always_inline)) vfloat operator()(std::int64_t, all_lanes) const { return broadcast(1.0f); }
  __attribute__((always_inline)) vfloat operator()(std::int64_t, first_lanes part) const {
    return select(lane_numbers() < part.count, broadcast(1.0f), zero());
  }
};

// Sums of [begin, end), within a row and at most task_elements of them, into total[5].
template <typename Mask>
VERSEMI_INLINE void sum_piece(const float* logits, const float* target, Mask mask, std::int64_t begin, std::int64_t end,
                              double* total) {
  wide sum[sums] = {};
  for_each_vector(begin, end, [&](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
    const vfloat x = load(logits + i, part), y = load(target + i, part), m = mask(i, part);
    // sigmoid and softplus share e^-|x|
    const vfloat e = versemi::VERSEMI_ISA::exp(-absolute(x));
    const vfloat large = 1.0f / (e + 1.0f);
    const vfloat p = select(x < zero(), e * large, large) * m, t = y * m;
    const vfloat cross_entropy = (relu(x) - y * x) + log1p_of_fraction(e);
    add(sum[0], p * t);
    add(sum[1], p * p);
    add(sum[2], t * t);
    add(sum[3], m * cross_entropy);
    add(sum[4], m);
  });
  for (int k = 0; k < sums; k++) total[k] = sum_lanes(sum[k].low) + sum_lanes(sum[k].high);
}

versemi_status overlap_sums(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                            const double* attributes, std::int32_t) {
  namespace buffer = overlap_sums_buffer;
  const float *logits = input(buffers[buffer::logits]), *target = input(buffers[buffer::target]);
  const float* mask = input(buffers[buffer::mask]);
  float* result = output(buffers[buffer::sums]);
  const overlap_sums_attributes of(attributes);
  const std::int64_t count = of.count, rows = of.rows, pieces = divide_up(count, task_elements);  // pieces: of a row
  const std::size_t bytes = static_cast<std::size_t>(rows * pieces * sums) * sizeof(double);
  double* partials = static_cast<double*>(scratch(context, scratch_slot::partials, bytes));
  if (partials == nullptr) return out_of_memory(bytes);
  parallel_for(context, rows * pieces, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t piece = first; piece < last; piece++) {
      const std::int64_t row = piece / pieces * count, at = piece % pieces * task_elements;
      const std::int64_t begin = row + at, end = row + smaller(at + task_elements, count);
      double* total = partials + piece * sums;
      if (mask != nullptr) {
        sum_piece(logits, target, masked{mask}, begin, end, total);
      } else {
        sum_piece(logits, target, unmasked{}, begin, end, total);
      }
    }
  });
  for (std::int64_t row = 0; row < rows; row++)
    for (int k = 0; k < sums; k++) {
      double total = 0;
      for (std::int64_t piece = row * pieces; piece < (row + 1) * pieces; piece++) total += partials[piece * sums + k];
      result[row * sums + k] = static_cast<float>(total);
    }
  return ok();
}

template <typename Mask>
void overlap_grad(versemi_context* context, std::int64_t row, std::int64_t count, const float* grad_sums,
                  const float* logits, const float* target, Mask mask, float* grad_logits, float* grad_target) {
  grad_sums += row * sums;
  const std::int64_t start = row * count;
  const vfloat g0 = broadcast(grad_sums[0]), g1 = broadcast(2 * grad_sums[1]), g2 = broadcast(2 * grad_sums[2]),
               g3 = broadcast(grad_sums[3]);
  parallel_elements(context, count, [=](std::int64_t begin, std::int64_t end) {
    for_each_vector(start + begin, start + end, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
      const vfloat x = load(logits + i, part), y = load(target + i, part), m = mask(i, part);
      vfloat s, complement;
      sigmoid_pair(x, &s, &complement);
      const vfloat p = s * m, t = y * m;
      if (grad_logits != nullptr) {
        const vfloat slope = s * complement * m;  // dp/dx
        // s - y is a difference of nearly equal numbers where the network is sure and right: there it is -(1 - s).
        const vfloat residual = select(y == broadcast(1.0f), -complement, s - y);
        store(grad_logits + i, (g0 * t + g1 * p) * slope + g3 * m * residual, part);
      }
      if (grad_target != nullptr) store(grad_target + i, m * (g0 * p + g2 * t - g3 * x), part);
    });
  });
}

versemi_status overlap_sums_grad(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                 const double* attributes, std::int32_t) {
  namespace buffer = overlap_sums_grad_buffer;
  const float *grad_sums = input(buffers[buffer::grad_sums]), *logits = input(buffers[buffer::logits]);
  const float *target = input(buffers[buffer::target]), *mask = input(buffers[buffer::mask]);
  float *grad_logits = output(buffers[buffer::grad_logits]), *grad_target = output(buffers[buffer::grad_target]);
  const overlap_sums_grad_attributes of(attributes);
  for (std::int64_t row = 0; row < of.rows; row++) {
    if (mask != nullptr) {
      overlap_grad(context, row, of.count, grad_sums, logits, target, masked{mask}, grad_logits, grad_target);
    } else {
      overlap_grad(context, row, of.count, grad_sums, logits, target, unmasked{}, grad_logits, grad_target);
    }
  }
  return ok();
}

// --- aggregate --------------------------------------------------------------------------------------------------------

// Calls body(logits of the sample's first prompt, their index, [n, voxels] index, part) for all voxels.
template <typename Body>
void for_each_voxel(versemi_context* context, std::int64_t n, std::int64_t prompts, std::int64_t voxels, Body body) {
  const std::int64_t pieces = divide_up(voxels, task_elements);
  parallel_for(context, n * pieces, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t task = first; task < last; task++) {
      const std::int64_t sample = task / pieces, begin = task % pieces * task_elements;
      for_each_vector(begin, smaller(begin + task_elements, voxels), [&](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA {
        body(sample * prompts * voxels + i, sample * voxels + i, part);
      });
    }
  });
}

versemi_status aggregate_max(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                             const double* attributes, std::int32_t) {
  const aggregate_max_attributes of(attributes);
  const float* logits = input(buffers[aggregate_max_buffer::logits]);
  float* aggregate = output(buffers[aggregate_max_buffer::aggregate]);
  const std::int64_t voxels = of.voxels, real = of.real;
  for_each_voxel(context, of.n, of.prompts, voxels,
                 [=](std::int64_t from, std::int64_t to, auto part) VERSEMI_INLINE_LAMBDA {
                   vfloat best = load(logits + from, part);
                   for (std::int64_t k = 1; k < real; k++)
                     best = versemi::VERSEMI_ISA::max(best, load(logits + from + k * voxels, part));
                   store(aggregate + to, sigmoid(best), part);
                 });
  return ok();
}

versemi_status aggregate_max_grad(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                  const double* attributes, std::int32_t) {
  namespace buffer = aggregate_max_grad_buffer;
  const aggregate_max_grad_attributes of(attributes);
  const float *grad_aggregate = input(buffers[buffer::grad_aggregate]), *logits = input(buffers[buffer::logits]);
  float* grad_logits = output(buffers[buffer::grad_logits]);
  const std::int64_t prompts = of.prompts, voxels = of.voxels, real = of.real;
  for_each_voxel(context, of.n, prompts, voxels,
                 [=](std::int64_t from, std::int64_t to, auto part) VERSEMI_INLINE_LAMBDA {
                   vfloat best = load(logits + from, part);
                   vint winner = vint{};
                   for (std::int64_t k = 1; k < real; k++) {
                     const vfloat x = load(logits + from + k * voxels, part);
                     // The first NaN wins and stays.
                     const vint wins = (x > best) | ((x != x) & (best == best));
                     best = select(wins, x, best);
                     winner = wins ? broadcast_int(static_cast<std::int32_t>(k)) : winner;
                   }
                   vfloat s, complement;
                   sigmoid_pair(best, &s, &complement);
                   const vfloat g = load(grad_aggregate + to, part) * s * complement;
                   for (std::int64_t k = 0; k < prompts; k++) {
                     const vint mine = winner == broadcast_int(static_cast<std::int32_t>(k));
                     store(grad_logits + from + k * voxels, select(mine, g, zero()), part);
                   }
                 });
  return ok();
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_OVERLAP_SUMS, overlap_sums),
    VERSEMI_ROW(VERSEMI_OVERLAP_SUMS_GRAD, overlap_sums_grad),
    VERSEMI_ROW(VERSEMI_AGGREGATE_MAX, aggregate_max),
    VERSEMI_ROW(VERSEMI_AGGREGATE_MAX_GRAD, aggregate_max_grad),
};

}  // namespace

kernel_rows loss_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
