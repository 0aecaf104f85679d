// Instance and batch normalisation with ReLU, and their gradients. All four are passes over rows of channels: sums per
// column (sum_columns), then one formula per element (normalize, normalize_grad).
//
// A row is what repeats: the channels of one voxel, or, where the channels divide the vector length, as many voxels as
// fill one vector (the constants are then repeated).

#include "norm.h"

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct row_layout {
  std::int64_t n, voxels, channels;
  std::int64_t period;        // elements per row
  std::int64_t chunk_voxels;  // voxels per task: whole rows, about 32 Ki elements, so that the numbers of a chunk stay in cache
  std::int64_t chunks;        // per sample

  row_layout(std::int64_t n_, std::int64_t voxels_, std::int64_t channels_) : n(n_), voxels(voxels_), channels(channels_) {
    const std::int64_t row_voxels = channels <= lanes && lanes % channels == 0 ? lanes / channels : 1;
    period = row_voxels * channels;
    chunk_voxels = larger<std::int64_t>(1, 32768 / period) * row_voxels;
    chunks = divide_up(voxels, chunk_voxels);
  }
};

// Calls body(sample, first element, elements, chunk number) for every chunk, on all threads.
template <typename Body>
VERSEMI_INLINE void for_each_chunk(versemi_context* context, const row_layout& l, Body body) {
  parallel_for(context, l.n * l.chunks, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t chunk = begin; chunk < end; chunk++) {
      const std::int64_t sample = chunk / l.chunks;
      const std::int64_t voxel = chunk % l.chunks * l.chunk_voxels;
      const std::int64_t voxels = smaller(l.chunk_voxels, l.voxels - voxel);
      body(sample, (sample * l.voxels + voxel) * l.channels, voxels * l.channels, chunk);
    }
  });
}

// --- sums per column --------------------------------------------------------------------------------------------------

// Adds two quantities over `rows` rows to sums[0] and sums[1] of `Blocks` vectors of columns. term(offset, column, part,
// total) adds those of one vector to total: first quantity in [0] (lower lanes) and [1] (upper), second in [2] and [3].
template <int Blocks, typename Part, typename Term>
VERSEMI_INLINE void sum_block(const row_layout& l, std::int64_t rows, std::int64_t column, Part part, int count,
                              double* sums, Term term) {
  vdouble total[Blocks][4];
  VERSEMI_UNROLL
  for (int b = 0; b < Blocks; b++) total[b][0] = total[b][1] = total[b][2] = total[b][3] = vdouble{};
  for (std::int64_t row = 0; row < rows; row++) {
    VERSEMI_UNROLL
    for (int b = 0; b < Blocks; b++) term(row * l.period + column + b * lanes, column + b * lanes, part, total[b]);
  }
  for (int b = 0; b < Blocks; b++) {
    double values[2][lanes];
    std::memcpy(values, total[b], sizeof values);
    for (int i = 0; i < count; i++) {
      sums[column + b * lanes + i] += values[0][i];
      sums[l.period + column + b * lanes + i] += values[1][i];
    }
  }
}

// sums [2, period] of one chunk.
template <typename Term>
VERSEMI_INLINE void sum_columns(const row_layout& l, std::int64_t elements, double* sums, Term term) {
  for (std::int64_t i = 0; i < 2 * l.period; i++) sums[i] = 0;
  const std::int64_t rows = elements / l.period;
  constexpr int wide = vector_registers == 32 ? 4 : 2;
  std::int64_t column = 0;
  for (; column + wide * lanes <= l.period; column += wide * lanes)
    sum_block<wide>(l, rows, column, all_lanes{}, lanes, sums, term);
  for (; column + lanes <= l.period; column += lanes) sum_block<1>(l, rows, column, all_lanes{}, lanes, sums, term);
  if (column < l.period) {
    const int count = static_cast<int>(l.period - column);
    sum_block<1>(l, rows, column, first_lanes{count}, count, sums, term);
  }
  // Voxels at the end of the sample that do not fill a vector.
  const int rest = static_cast<int>(elements - rows * l.period);
  if (rest > 0) {
    sum_block<1>(l, 1, 0, first_lanes{rest}, rest, sums,
                 [&](std::int64_t offset, std::int64_t col, auto part, vdouble* total)
                     VERSEMI_INLINE_LAMBDA { term(rows * l.period + offset, col, part, total); });
  }
}

double* partial_sums(versemi_context* context, const row_layout& l) {
  return static_cast<double*>(
      scratch(context, scratch_slot::partials, static_cast<std::size_t>(l.n * l.chunks * 2 * l.period) * sizeof(double)));
}

// Adds up the chunks of each sample in order: totals(sample, channel, first, second).
template <typename Totals>
VERSEMI_INLINE void gather(const row_layout& l, const double* partials, Totals totals) {
  for (std::int64_t s = 0; s < l.n; s++) {
    for (std::int64_t c = 0; c < l.channels; c++) {
      double first = 0, second = 0;
      for (std::int64_t k = 0; k < l.chunks; k++) {
        const double* sums = partials + (s * l.chunks + k) * 2 * l.period;
        for (std::int64_t i = c; i < l.period; i += l.channels) first += sums[i], second += sums[l.period + i];
      }
      totals(s, c, first, second);
    }
  }
}

// totals(sample, channel, mean, biased variance); false when there is no scratch. Squares are formed in double: in
// float32 the variance of a channel with a large mean would be rounding noise.
template <typename Totals>
VERSEMI_INLINE bool statistics(versemi_context* context, const row_layout& l, const float* input, Totals totals) {
  double* partials = partial_sums(context, l);
  if (partials == nullptr) return false;
  for_each_chunk(context, l, [&](std::int64_t, std::int64_t first, std::int64_t elements, std::int64_t chunk) {
    const float* x = input + first;
    sum_columns(l, elements, partials + chunk * 2 * l.period,
                [x](std::int64_t offset, std::int64_t, auto part, vdouble* total) VERSEMI_INLINE_LAMBDA {
                  const vfloat v = load(x + offset, part);
                  const vdouble low = widen_low(v), high = widen_high(v);
                  total[0] += low;
                  total[1] += high;
                  total[2] += low * low;
                  total[3] += high * high;
                });
  });
  const double count = static_cast<double>(l.voxels);
  gather(l, partials, [&](std::int64_t s, std::int64_t c, double sum, double squares) {
    const double mean = sum / count, variance = squares / count - mean * mean;
    totals(s, c, mean, variance < 0 ? 0 : variance);
  });
  return true;
}

// --- one formula per element ------------------------------------------------------------------------------------------

// Constants of a pass, each [n, period]; nullptr where there are none. y = (x - mean) * scale + shift.
struct row_constants {
  float *mean, *scale, *shift;
  float *mean_g, *rstd, *mean_gx;  // gradients only
};

// `sets` arrays of [n, period] floats.
float* constant_rows(versemi_context* context, const row_layout& l, int sets) {
  return scratch_floats(context, scratch_slot::repeated, static_cast<std::size_t>(l.n * l.period * sets));
}

// rows[n, period] <- value(sample, channel)
template <typename Value>
VERSEMI_INLINE void fill_rows(const row_layout& l, float* rows, Value value) {
  for (std::int64_t s = 0; s < l.n; s++)
    for (std::int64_t i = 0; i < l.period; i++) rows[s * l.period + i] = value(s, i % l.channels);
}

// Calls part(offset, column, all_lanes or first_lanes) for every vector of a chunk.
template <typename Body>
VERSEMI_INLINE void for_each_part(const row_layout& l, std::int64_t elements, Body body) {
  std::int64_t offset = 0;
  if (l.period % lanes == 0) {
    // Without asking each row for a rest: 5 % of the fused convolution at 16 channels.
    for (; offset + l.period <= elements; offset += l.period)
      for (std::int64_t column = 0; column < l.period; column += lanes) body(offset + column, column, all_lanes{});
  } else {
    for (; offset + l.period <= elements; offset += l.period)
      for_each_vector(0, l.period, [&](std::int64_t column, auto part)
                                       VERSEMI_INLINE_LAMBDA { body(offset + column, column, part); });
  }
  if (offset < elements) body(offset, std::int64_t{0}, first_lanes{static_cast<int>(elements - offset)});
}

template <bool Shift, bool Skip, bool Relu>
void normalize_pass(versemi_context* context, const row_layout& l, const row_constants& constants, const float* input,
                    const float* skip, float* output) {
  for_each_chunk(context, l, [&](std::int64_t sample, std::int64_t first, std::int64_t elements, std::int64_t) {
    const float* x = input + first;
    const float* added = skip + (Skip ? first : 0);
    float* y = output + first;
    const float* mean = constants.mean + sample * l.period;
    const float* scale = constants.scale + sample * l.period;
    const float* shift = Shift ? constants.shift + sample * l.period : nullptr;
    for_each_part(l, elements, [=](std::int64_t offset, std::int64_t column, auto part) VERSEMI_INLINE_LAMBDA {
      vfloat v = (load(x + offset, part) - load(mean + column, part)) * load(scale + column, part);
      if (Shift) v += load(shift + column, part);
      if (Relu) v = versemi::VERSEMI_ISA::relu(v);
      if (Skip) v += load(added + offset, part);
      store(y + offset, v, part);
    });
  });
}

void normalize(versemi_context* context, const row_layout& l, const row_constants& constants, const float* input,
               const float* skip, float* output, bool relu) {
  if (constants.shift != nullptr) {
    (relu ? normalize_pass<true, false, true> : normalize_pass<true, false, false>)(context, l, constants, input, skip,
                                                                                    output);
  } else if (skip != nullptr) {
    (relu ? normalize_pass<false, true, true> : normalize_pass<false, true, false>)(context, l, constants, input, skip,
                                                                                    output);
  } else {
    (relu ? normalize_pass<false, false, true> : normalize_pass<false, false, false>)(context, l, constants, input, skip,
                                                                                      output);
  }
}

// xhat = (x - mean) * rstd, y = (x - mean) * scale + shift as the forward pass rounded it, g = gradOutput where y > 0.
template <bool Shift, bool Relu, typename Part>
VERSEMI_INLINE void gradient_terms(const float* grad_output, const float* x, std::int64_t offset, std::int64_t column,
                                   Part part, const float* mean, const float* rstd, const float* scale,
                                   const float* shift, vfloat* g, vfloat* xhat) {
  const vfloat centred = load(x + offset, part) - load(mean + column, part);
  *xhat = centred * load(rstd + column, part);
  *g = loaded_whole(load(grad_output + offset, part));
  if (Relu) {
    const vfloat y = Shift ? centred * load(scale + column, part) + load(shift + column, part) : *xhat;
    *g = select(y > zero(), *g, zero());
  }
}

// The averages over the voxels, avg(g) and avg(g * xhat), to constants.mean_g and mean_gx; totals(sample, channel, sum g,
// sum g * xhat) sees the sums. scale is rstd where there is no affine transform. false when there is no scratch.
template <bool Shift, bool Relu, typename Totals>
bool gradient_averages(versemi_context* context, const row_layout& l, const row_constants& constants, const float* grad_output,
                       const float* input, Totals totals) {
  double* partials = partial_sums(context, l);
  if (partials == nullptr) return false;
  for_each_chunk(context, l, [&](std::int64_t sample, std::int64_t first, std::int64_t elements, std::int64_t chunk) {
    const float *dy = grad_output + first, *x = input + first;
    const float *mean = constants.mean + sample * l.period, *rstd = constants.rstd + sample * l.period;
    const float *scale = constants.scale + sample * l.period, *shift = Shift ? constants.shift + sample * l.period : nullptr;
    sum_columns(l, elements, partials + chunk * 2 * l.period,
                [=](std::int64_t offset, std::int64_t column, auto part, vdouble* total) VERSEMI_INLINE_LAMBDA {
                  vfloat g, xhat;
                  gradient_terms<Shift, Relu>(dy, x, offset, column, part, mean, rstd, scale, shift, &g, &xhat);
                  const vfloat product = g * xhat;
                  total[0] += widen_low(g);
                  total[1] += widen_high(g);
                  total[2] += widen_low(product);
                  total[3] += widen_high(product);
                });
  });
  const double count = static_cast<double>(l.voxels);
  gather(l, partials, [&](std::int64_t s, std::int64_t c, double sum_g, double sum_gx) {
    for (std::int64_t i = c; i < l.period; i += l.channels) {
      constants.mean_g[s * l.period + i] = static_cast<float>(sum_g / count);
      constants.mean_gx[s * l.period + i] = static_cast<float>(sum_gx / count);
    }
    totals(s, c, sum_g, sum_gx);
  });
  return true;
}

// gradInput = scale * (g - avg(g) - xhat * avg(g * xhat)), the averages given.
template <bool Shift, bool Relu>
void normalize_grad(versemi_context* context, const row_layout& l, const row_constants& constants, const float* grad_output,
                    const float* input, float* grad_input) {
  for_each_chunk(context, l, [&](std::int64_t sample, std::int64_t first, std::int64_t elements, std::int64_t) {
    const float *dy = grad_output + first, *x = input + first;
    float* dx = grad_input + first;
    const float *mean = constants.mean + sample * l.period, *rstd = constants.rstd + sample * l.period;
    const float *scale = constants.scale + sample * l.period, *shift = Shift ? constants.shift + sample * l.period : nullptr;
    const float *mean_g = constants.mean_g + sample * l.period, *mean_gx = constants.mean_gx + sample * l.period;
    for_each_part(l, elements, [=](std::int64_t offset, std::int64_t column, auto part) VERSEMI_INLINE_LAMBDA {
      vfloat g, xhat;
      gradient_terms<Shift, Relu>(dy, x, offset, column, part, mean, rstd, scale, shift, &g, &xhat);
      const vfloat centred = g - load(mean_g + column, part) - xhat * load(mean_gx + column, part);
      store(dx + offset, centred * load(scale + column, part), part);
    });
  });
}

float reciprocal_root(double variance, double epsilon) {
  return static_cast<float>(1.0 / __builtin_sqrt(variance + epsilon));
}

// --- the ops ----------------------------------------------------------------------------------------------------------

versemi_status instance_norm_relu(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                  const double* attributes, std::int32_t) {
  namespace buffer = instance_norm_relu_buffer;
  const instance_norm_relu_attributes of(attributes);
  const std::int64_t n = of.n, channels = of.channels;
  const float* x = input(buffers[buffer::input]);
  // Statistics that nobody wants lie behind the repeated constants of the second pass.
  const row_layout l(n, of.voxels, channels);
  float *mean = output(buffers[buffer::mean]), *rstd = output(buffers[buffer::rstd]);
  float* spare = nullptr;
  if (mean == nullptr || rstd == nullptr) {
    spare = constant_rows(context, l, 4);
    if (spare == nullptr) return out_of_memory(0);
    if (mean == nullptr) mean = spare + 2 * n * l.period;
    if (rstd == nullptr) rstd = spare + 3 * n * l.period;
  }
  const auto keep = [&](std::int64_t s, std::int64_t c, double m, double v) {
    mean[s * channels + c] = static_cast<float>(m);
    rstd[s * channels + c] = reciprocal_root(v, of.epsilon);
  };
  if (!statistics(context, l, x, keep)) return out_of_memory(0);
  return normalize_relu(context, x, mean, rstd, nullptr, output(buffers[buffer::output]), n, of.voxels, channels, of.relu);
}

versemi_status instance_norm_relu_grad(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                       const double* attributes, std::int32_t) {
  namespace buffer = instance_norm_relu_grad_buffer;
  const instance_norm_relu_grad_attributes of(attributes);
  const row_layout l(of.n, of.voxels, of.channels);
  const float *mean = input(buffers[buffer::mean]), *rstd = input(buffers[buffer::rstd]);
  float* rows = constant_rows(context, l, 4);
  if (rows == nullptr) return out_of_memory(static_cast<std::size_t>(l.n * l.period) * 16);
  const std::int64_t set = l.n * l.period;
  const row_constants constants{rows, rows + set, nullptr, rows + 2 * set, rows + set, rows + 3 * set};
  fill_rows(l, constants.mean, [&](std::int64_t s, std::int64_t c) { return mean[s * l.channels + c]; });
  fill_rows(l, constants.rstd, [&](std::int64_t s, std::int64_t c) { return rstd[s * l.channels + c]; });
  const auto nothing = [](std::int64_t, std::int64_t, double, double) {};
  const auto run = [&](auto relu) {
    const float *dy = input(buffers[buffer::grad_output]), *x = input(buffers[buffer::raw]);
    if (!gradient_averages<false, decltype(relu)::value>(context, l, constants, dy, x, nothing)) return false;
    normalize_grad<false, decltype(relu)::value>(context, l, constants, dy, x, output(buffers[buffer::grad_raw]));
    return true;
  };
  return (of.relu ? run(yes{}) : run(no{})) ? ok() : out_of_memory(0);
}

versemi_status batch_norm_relu(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                               const double* attributes, std::int32_t) {
  namespace buffer = batch_norm_relu_buffer;
  const batch_norm_relu_attributes of(attributes);
  const row_layout l(1, of.rows, of.channels);
  const float* x = input(buffers[buffer::input]);
  const float *gamma = input(buffers[buffer::gamma]), *beta = input(buffers[buffer::beta]);
  float* rows = constant_rows(context, l, 3);
  if (rows == nullptr) return out_of_memory(static_cast<std::size_t>(l.period) * 12);
  const row_constants constants{rows, rows + l.period, rows + 2 * l.period, nullptr, nullptr, nullptr};
  const float *mean = input(buffers[buffer::moving_mean]), *variance = input(buffers[buffer::moving_variance]);
  if (of.training) {
    float *mean_out = output(buffers[buffer::mean]), *variance_out = output(buffers[buffer::variance]);
    const auto keep = [&](std::int64_t, std::int64_t c, double m, double v) {
      mean_out[c] = static_cast<float>(m);
      variance_out[c] = static_cast<float>(v);
    };
    if (!statistics(context, l, x, keep)) return out_of_memory(0);
    mean = mean_out;
    variance = variance_out;
  }
  float* y = output(buffers[buffer::output]);
  if (y == nullptr) return ok();
  fill_rows(l, constants.mean, [&](std::int64_t, std::int64_t c) { return mean[c]; });
  fill_rows(l, constants.scale, [&](std::int64_t, std::int64_t c) { return gamma[c] * reciprocal_root(variance[c], of.epsilon); });
  fill_rows(l, constants.shift, [&](std::int64_t, std::int64_t c) { return beta[c]; });
  normalize(context, l, constants, x, nullptr, y, of.relu);
  return ok();
}

versemi_status batch_norm_relu_grad(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                    const double* attributes, std::int32_t) {
  namespace buffer = batch_norm_relu_grad_buffer;
  const batch_norm_relu_grad_attributes of(attributes);
  const row_layout l(1, of.rows, of.channels);
  const double epsilon = of.epsilon;
  const float *gamma = input(buffers[buffer::gamma]), *beta = input(buffers[buffer::beta]);
  const float *mean = input(buffers[buffer::mean]), *variance = input(buffers[buffer::variance]);
  float *grad_gamma = output(buffers[buffer::grad_gamma]), *grad_beta = output(buffers[buffer::grad_beta]);
  float* rows = constant_rows(context, l, 6);
  if (rows == nullptr) return out_of_memory(static_cast<std::size_t>(l.period) * 24);
  const row_constants constants{rows, rows + l.period, rows + 2 * l.period, rows + 3 * l.period, rows + 4 * l.period,
                                rows + 5 * l.period};
  fill_rows(l, constants.mean, [&](std::int64_t, std::int64_t c) { return mean[c]; });
  fill_rows(l, constants.rstd, [&](std::int64_t, std::int64_t c) { return reciprocal_root(variance[c], epsilon); });
  fill_rows(l, constants.scale, [&](std::int64_t, std::int64_t c) { return gamma[c] * reciprocal_root(variance[c], epsilon); });
  fill_rows(l, constants.shift, [&](std::int64_t, std::int64_t c) { return beta[c]; });
  const auto keep = [&](std::int64_t, std::int64_t c, double sum_g, double sum_gx) {
    grad_beta[c] = static_cast<float>(sum_g);
    grad_gamma[c] = static_cast<float>(sum_gx);
  };
  const auto run = [&](auto relu) {
    const float *dy = input(buffers[buffer::grad_output]), *x = input(buffers[buffer::input]);
    float* dx = output(buffers[buffer::grad_input]);
    if (of.averages) {
      const float *average_gradient = input(buffers[buffer::average_gradient]), *average_product = input(buffers[buffer::average_product]);
      fill_rows(l, constants.mean_g, [&](std::int64_t, std::int64_t c) { return average_gradient[c]; });
      fill_rows(l, constants.mean_gx, [&](std::int64_t, std::int64_t c) { return average_product[c]; });
    } else if (!gradient_averages<true, decltype(relu)::value>(context, l, constants, dy, x, keep)) {
      return false;
    }
    if (dx != nullptr) normalize_grad<true, decltype(relu)::value>(context, l, constants, dy, x, dx);
    return true;
  };
  return (of.relu ? run(yes{}) : run(no{})) ? ok() : out_of_memory(0);
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_INSTANCE_NORM_RELU, instance_norm_relu),
    VERSEMI_ROW(VERSEMI_INSTANCE_NORM_RELU_GRAD, instance_norm_relu_grad),
    VERSEMI_ROW(VERSEMI_BATCH_NORM_RELU, batch_norm_relu),
    VERSEMI_ROW(VERSEMI_BATCH_NORM_RELU_GRAD, batch_norm_relu_grad),
};

}  // namespace

versemi_status normalize_relu(versemi_context* context, const float* input, const float* mean, const float* rstd,
                              const float* skip, float* output, std::int64_t n, std::int64_t voxels,
                              std::int64_t channels, bool relu) {
  const row_layout l(n, voxels, channels);
  float* rows = constant_rows(context, l, 4);
  if (rows == nullptr) return out_of_memory(static_cast<std::size_t>(n * l.period) * 16);
  const row_constants constants{rows, rows + n * l.period, nullptr, nullptr, nullptr, nullptr};
  fill_rows(l, constants.mean, [&](std::int64_t s, std::int64_t c) { return mean[s * channels + c]; });
  fill_rows(l, constants.scale, [&](std::int64_t s, std::int64_t c) { return rstd[s * channels + c]; });
  normalize(context, l, constants, input, skip, output, relu);
  return ok();
}

kernel_rows norm_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
