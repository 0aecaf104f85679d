// The dynamic head: three 1x1x1 layers with weights of their own per (sample, prompt); formula and parameter order in
// src/tfjs/table/kernel-table.ts. All prompts are computed in one pass over the features. Blocks of 64 voxels are transposed so
// that a vector holds one feature of several voxels; every weight is then one number for the whole vector. The gradient
// recomputes the hidden layers. Width 8 is compiled with its loops unrolled, other widths with run-time loops.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int block_voxels = 64;
constexpr int block = block_voxels / lanes;  // vectors per feature
constexpr int at_once = vector_registers == 32 ? 2 : 1;
// Voxels whose parameter gradients are summed in float32 (at most 4096 / lanes terms per lane) before they go to double.
constexpr std::int64_t float_voxels = 4096;
constexpr std::int64_t chunks_per_sample = 64;

// --- transposition ----------------------------------------------------------------------------------------------------

// Lanes 0, 2, 4, ... (1, 3, 5, ...) of a followed by those of b; and the inverse, lanes of a and b in turn.
#if defined(__clang__)
#if defined(__AVX512F__)
#define VERSEMI_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define VERSEMI_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define VERSEMI_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define VERSEMI_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX2__)
#define VERSEMI_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define VERSEMI_ODD 1, 3, 5, 7, 9, 11, 13, 15
#define VERSEMI_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define VERSEMI_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define VERSEMI_EVEN 0, 2, 4, 6
#define VERSEMI_ODD 1, 3, 5, 7
#define VERSEMI_ZIP_LOW 0, 4, 1, 5
#define VERSEMI_ZIP_HIGH 2, 6, 3, 7
#endif
VERSEMI_INLINE vfloat even_lanes(vfloat a, vfloat b) { return __builtin_shufflevector(a, b, VERSEMI_EVEN); }
VERSEMI_INLINE vfloat odd_lanes(vfloat a, vfloat b) { return __builtin_shufflevector(a, b, VERSEMI_ODD); }
VERSEMI_INLINE vfloat zip_low(vfloat a, vfloat b) { return __builtin_shufflevector(a, b, VERSEMI_ZIP_LOW); }
VERSEMI_INLINE vfloat zip_high(vfloat a, vfloat b) { return __builtin_shufflevector(a, b, VERSEMI_ZIP_HIGH); }
#else
VERSEMI_INLINE vfloat even_lanes(vfloat a, vfloat b) { return __builtin_shuffle(a, b, lane_numbers() * 2); }
VERSEMI_INLINE vfloat odd_lanes(vfloat a, vfloat b) { return __builtin_shuffle(a, b, lane_numbers() * 2 + 1); }
VERSEMI_INLINE vint zip_order(int first) {
  const vint i = lane_numbers();
  return (i >> 1) + first + (i & 1) * lanes;
}
VERSEMI_INLINE vfloat zip_low(vfloat a, vfloat b) { return __builtin_shuffle(a, b, zip_order(0)); }
VERSEMI_INLINE vfloat zip_high(vfloat a, vfloat b) { return __builtin_shuffle(a, b, zip_order(lanes / 2)); }
#endif

// Eight vectors of voxels [lanes][8] <-> eight features [8][lanes], in three rounds that each sort by one bit of the
// feature number; after them feature b0 + 2 b1 + 4 b2 stands at 4 b0 + 2 b1 + b2.
constexpr int reversed[8] = {0, 4, 2, 6, 1, 5, 3, 7};

VERSEMI_INLINE void load_features(const float* p, vfloat* features, int step) {
  vfloat v[8], t[8];
  VERSEMI_UNROLL
  for (int i = 0; i < 8; i++) v[i] = load(p + i * lanes);
  VERSEMI_UNROLL
  for (int i = 0; i < 4; i++) t[i] = even_lanes(v[2 * i], v[2 * i + 1]), t[4 + i] = odd_lanes(v[2 * i], v[2 * i + 1]);
  VERSEMI_UNROLL
  for (int g = 0; g < 8; g += 4) {
    VERSEMI_UNROLL
    for (int i = 0; i < 2; i++) {
      v[g + i] = even_lanes(t[g + 2 * i], t[g + 2 * i + 1]);
      v[g + 2 + i] = odd_lanes(t[g + 2 * i], t[g + 2 * i + 1]);
    }
  }
  VERSEMI_UNROLL
  for (int g = 0; g < 8; g += 2) {
    features[reversed[g] * step] = even_lanes(v[g], v[g + 1]);
    features[reversed[g + 1] * step] = odd_lanes(v[g], v[g + 1]);
  }
}

VERSEMI_INLINE void store_features(float* p, const vfloat* features, int step) {
  vfloat v[8], t[8];
  VERSEMI_UNROLL
  for (int g = 0; g < 8; g += 2) {
    const vfloat even = features[reversed[g] * step], odd = features[reversed[g + 1] * step];
    v[g] = zip_low(even, odd), v[g + 1] = zip_high(even, odd);
  }
  VERSEMI_UNROLL
  for (int g = 0; g < 8; g += 4) {
    VERSEMI_UNROLL
    for (int i = 0; i < 2; i++) {
      t[g + 2 * i] = zip_low(v[g + i], v[g + 2 + i]);
      t[g + 2 * i + 1] = zip_high(v[g + i], v[g + 2 + i]);
    }
  }
  VERSEMI_UNROLL
  for (int i = 0; i < 4; i++) {
    store(p + 2 * i * lanes, zip_low(t[i], t[4 + i]));
    store(p + (2 * i + 1) * lanes, zip_high(t[i], t[4 + i]));
  }
}

// x[width][block] <- features[voxels][width] of `voxels` <= block_voxels voxels; zeros behind them.
template <int Width>
VERSEMI_INLINE void take_block(const float* features, int width, int voxels, vfloat* x) {
  if (Width == 8 && voxels == block_voxels) {
    for (int b = 0; b < block; b++) load_features(features + b * lanes * 8, x + b, block);
    return;
  }
  float* values = reinterpret_cast<float*>(x);
  for (int k = 0; k < width; k++)
    for (int i = 0; i < block_voxels; i++) values[k * block_voxels + i] = i < voxels ? features[i * width + k] : 0;
}

template <int Width>
VERSEMI_INLINE void give_block(float* features, int width, int voxels, const vfloat* x) {
  if (Width == 8 && voxels == block_voxels) {
    for (int b = 0; b < block; b++) store_features(features + b * lanes * 8, x + b, block);
    return;
  }
  const float* values = reinterpret_cast<const float*>(x);
  for (int i = 0; i < voxels; i++)
    for (int k = 0; k < width; k++) features[i * width + k] = values[k * block_voxels + i];
}

// --- layers on blocks [width][block] ----------------------------------------------------------------------------------

// Where the parts of one (sample, prompt)'s parameters lie.
struct parameter_view {
  const float *w1, *w2, *w3, *b1, *b2, *b3;
  parameter_view(const float* p, int width)
      : w1(p), w2(w1 + width * width), w3(w2 + width * width), b1(w3 + 2 * width), b2(b1 + width), b3(b2 + width) {}
};
constexpr std::int64_t parameter_count(std::int64_t width) { return 2 * width * width + 4 * width + 2; }

// result(j, b, v, sum over k of weights[j * j_step + k * k_step] * x[k][b + v]) for all outputs j. Inputs stay in
// registers where the width is known.
template <int Width, typename Result>
VERSEMI_INLINE void multiply(const float* weights, int j_step, int k_step, int width, const vfloat* x, Result result) {
  for (int b = 0; b < block; b += at_once) {
    if (Width > 0) {
      constexpr int known = Width > 0 ? Width : 1;
      vfloat in[known][at_once];
      VERSEMI_UNROLL
      for (int k = 0; k < known; k++)
        for (int v = 0; v < at_once; v++) in[k][v] = x[k * block + b + v];
      VERSEMI_UNROLL
      for (int j = 0; j < known; j++) {
        vfloat sum[at_once];
        for (int v = 0; v < at_once; v++) sum[v] = broadcast(weights[j * j_step]) * in[0][v];
        VERSEMI_UNROLL
        for (int k = 1; k < known; k++) {
          const vfloat w = broadcast(weights[j * j_step + k * k_step]);
          for (int v = 0; v < at_once; v++) sum[v] = fma(w, in[k][v], sum[v]);
        }
        for (int v = 0; v < at_once; v++) result(j, b + v, sum[v]);
      }
    } else {
      for (int j = 0; j < width; j++) {
        vfloat sum[at_once];
        for (int v = 0; v < at_once; v++) sum[v] = zero();
        for (int k = 0; k < width; k++) {
          const vfloat w = broadcast(weights[j * j_step + k * k_step]);
          for (int v = 0; v < at_once; v++) sum[v] = fma(w, x[k * block + b + v], sum[v]);
        }
        for (int v = 0; v < at_once; v++) result(j, b + v, sum[v]);
      }
    }
  }
}

// y = relu(weights x + bias)
template <int Width>
VERSEMI_INLINE void hidden_layer(const float* weights, const float* bias, int width, const vfloat* x, vfloat* y) {
  multiply<Width>(weights, width, 1, width, x, [=](int j, int b, vfloat sum) VERSEMI_INLINE_LAMBDA {
    y[j * block + b] = relu(sum + broadcast(bias[j]));
  });
}

// --- forward ----------------------------------------------------------------------------------------------------------

struct problem {
  std::int64_t n, prompts, voxels;
  int width;
  explicit problem(const head_attributes& of)
      : n(of.n), prompts(of.prompts), voxels(of.voxels), width(static_cast<int>(of.width)) {}
};

// Work space per thread: `arrays` blocks [width][block].
vfloat* work_space(versemi_context* context, const problem& p, int arrays) {
  return static_cast<vfloat*>(
      scratch(context, scratch_slot::per_thread,
              static_cast<std::size_t>(thread_count(context)) *
                  static_cast<std::size_t>(arrays * p.width * block_voxels) * sizeof(float)));
}

template <int Width>
versemi_status forward(versemi_context* context, const problem& p, const float* features, const float* parameters,
                       float* logits) {
  const int width = Width > 0 ? Width : p.width;
  const std::int64_t tasks = divide_up(p.voxels, float_voxels);
  vfloat* work = work_space(context, p, 3);
  if (work == nullptr) return out_of_memory(static_cast<std::size_t>(width) * block_voxels * 12);
  parallel_for(context, p.n * tasks, [&](std::int64_t first, std::int64_t last, int thread) {
    vfloat *x = work + thread * 3 * width * block, *h1 = x + width * block, *h2 = h1 + width * block;
    for (std::int64_t task = first; task < last; task++) {
      const std::int64_t sample = task / tasks, begin = task % tasks * float_voxels;
      const std::int64_t end = smaller(begin + float_voxels, p.voxels);
      for (std::int64_t voxel = begin; voxel < end; voxel += block_voxels) {
        const int count = static_cast<int>(smaller<std::int64_t>(block_voxels, end - voxel));
        take_block<Width>(features + (sample * p.voxels + voxel) * width, width, count, x);
        for (std::int64_t prompt = 0; prompt < p.prompts; prompt++) {
          const parameter_view w(parameters + (sample * p.prompts + prompt) * parameter_count(width), width);
          hidden_layer<Width>(w.w1, w.b1, width, x, h1);
          hidden_layer<Width>(w.w2, w.b2, width, h1, h2);
          float* out = logits + (sample * p.prompts + prompt) * p.voxels + voxel;
          vfloat sum[block];
          for (int b = 0; b < block; b++) sum[b] = broadcast(w.b3[1] - w.b3[0]);
          for (int k = 0; k < width; k++) {
            const vfloat difference = broadcast(w.w3[width + k] - w.w3[k]);
            for (int b = 0; b < block; b++) sum[b] = fma(difference, h2[k * block + b], sum[b]);
          }
          for (int b = 0; b < block; b++) {
            const int rest = count - b * lanes;
            if (rest >= lanes) {
              store(out + b * lanes, sum[b]);
            } else if (rest > 0) {
              store_first(out + b * lanes, sum[b], rest);
            }
          }
        }
      }
    }
  });
  return ok();
}

versemi_status dynamic_head(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                            const double* attributes, std::int32_t) {
  namespace buffer = dynamic_head_buffer;
  const problem p{dynamic_head_attributes(attributes)};
  return (p.width == 8 ? forward<8> : forward<0>)(context, p, input(buffers[buffer::features]),
                                                  input(buffers[buffer::parameters]), output(buffers[buffer::logits]));
}

// --- gradient ---------------------------------------------------------------------------------------------------------

// Gradients that are summed per (sample, prompt): W1, W2, W3[1] (W3[0] is its negative), b1, b2, b3[1].
constexpr std::int64_t sum_count(std::int64_t width) { return 2 * width * width + 3 * width + 1; }

// sums[j][k] += d[j] . x[k], sums of vectors over the block
template <int Rows, int Columns>
VERSEMI_INLINE void outer_tile(const vfloat* d, const vfloat* x, vfloat* sums, int width) {
  vfloat sum[Rows][Columns];
  VERSEMI_UNROLL
  for (int j = 0; j < Rows; j++)
    VERSEMI_UNROLL
  for (int k = 0; k < Columns; k++) sum[j][k] = sums[j * width + k];
  for (int b = 0; b < block; b++) {
    VERSEMI_UNROLL
    for (int j = 0; j < Rows; j++)
      VERSEMI_UNROLL
    for (int k = 0; k < Columns; k++) sum[j][k] = fma(d[j * block + b], x[k * block + b], sum[j][k]);
  }
  VERSEMI_UNROLL
  for (int j = 0; j < Rows; j++)
    VERSEMI_UNROLL
  for (int k = 0; k < Columns; k++) sums[j * width + k] = sum[j][k];
}

template <int Width>
VERSEMI_INLINE void outer_product(const vfloat* d, const vfloat* x, vfloat* sums, vfloat* bias_sums, int width) {
  constexpr int columns = vector_registers == 32 ? 4 : 2;
  int j = 0;
  for (; j + 4 <= width; j += 4) {
    int k = 0;
    for (; k + columns <= width; k += columns)
      outer_tile<4, columns>(d + j * block, x + k * block, sums + j * width + k, width);
    for (; k < width; k++) outer_tile<4, 1>(d + j * block, x + k * block, sums + j * width + k, width);
  }
  for (; j < width; j++)
    for (int k = 0; k < width; k++) outer_tile<1, 1>(d + j * block, x + k * block, sums + j * width + k, width);
  for (j = 0; j < width; j++) {
    vfloat sum = bias_sums[j];
    for (int b = 0; b < block; b++) sum += d[j * block + b];
    bias_sums[j] = sum;
  }
}

// One block and prompt: adds to the vector sums and to gx, the gradient of the features.
template <int Width>
VERSEMI_INLINE void block_gradient(const parameter_view& w, int width, const vfloat* grad, const vfloat* x, vfloat* h1,
                                   vfloat* h2, vfloat* d1, vfloat* d2, vfloat* gx, vfloat* sums) {
  vfloat *s1 = sums, *s2 = s1 + width * width, *s3 = s2 + width * width, *t1 = s3 + width, *t2 = t1 + width, *t3 = t2 + width;
  hidden_layer<Width>(w.w1, w.b1, width, x, h1);
  hidden_layer<Width>(w.w2, w.b2, width, h1, h2);
  for (int k = 0; k < width; k++) {
    const vfloat difference = broadcast(w.w3[width + k] - w.w3[k]);
    vfloat sum = s3[k];
    for (int b = 0; b < block; b++) {
      const vfloat h = h2[k * block + b];
      sum = fma(grad[b], h, sum);
      d2[k * block + b] = select(h > zero(), grad[b] * difference, zero());
    }
    s3[k] = sum;
  }
  vfloat sum = *t3;
  for (int b = 0; b < block; b++) sum += grad[b];
  *t3 = sum;
  outer_product<Width>(d2, h1, s2, t2, width);
  multiply<Width>(w.w2, 1, width, width, d2, [=](int k, int b, vfloat v) VERSEMI_INLINE_LAMBDA {
    d1[k * block + b] = select(h1[k * block + b] > zero(), v, zero());
  });
  outer_product<Width>(d1, x, s1, t1, width);
  multiply<Width>(w.w1, 1, width, width, d1,
                  [=](int k, int b, vfloat v) VERSEMI_INLINE_LAMBDA { gx[k * block + b] += v; });
}

template <int Width>
versemi_status gradient(versemi_context* context, const problem& p, const float* grad_logits, const float* features,
                        const float* parameters, float* grad_features, float* grad_parameters) {
  const int width = Width > 0 ? Width : p.width;
  const std::int64_t sums = sum_count(width), all_sums = p.prompts * sums;
  const std::int64_t chunk = divide_up(larger(float_voxels, divide_up(p.voxels, chunks_per_sample)), block_voxels) * block_voxels;
  const std::int64_t chunks = divide_up(p.voxels, chunk);
  vfloat* work = work_space(context, p, 6);
  const std::size_t sum_bytes = static_cast<std::size_t>(all_sums * thread_count(context)) * sizeof(vfloat);
  vfloat* vector_sums = static_cast<vfloat*>(scratch(context, scratch_slot::slices, sum_bytes));
  const std::size_t partial_bytes = static_cast<std::size_t>(p.n * chunks * all_sums) * sizeof(double);
  double* partials = static_cast<double*>(scratch(context, scratch_slot::partials, partial_bytes));
  if (work == nullptr || vector_sums == nullptr || partials == nullptr) return out_of_memory(sum_bytes + partial_bytes);
  parallel_for(context, p.n * chunks, [&](std::int64_t first, std::int64_t last, int thread) {
    const int array = width * block;
    vfloat *x = work + thread * 6 * array, *h1 = x + array, *h2 = h1 + array, *d1 = h2 + array, *d2 = d1 + array, *gx = d2 + array;
    vfloat* own_sums = vector_sums + thread * all_sums;
    for (std::int64_t task = first; task < last; task++) {
      const std::int64_t sample = task / chunks, begin = task % chunks * chunk, end = smaller(begin + chunk, p.voxels);
      double* partial = partials + task * all_sums;
      for (std::int64_t i = 0; i < all_sums; i++) partial[i] = 0, own_sums[i] = zero();
      std::int64_t in_float = 0;
      for (std::int64_t voxel = begin; voxel < end; voxel += block_voxels) {
        const int count = static_cast<int>(smaller<std::int64_t>(block_voxels, end - voxel));
        take_block<Width>(features + (sample * p.voxels + voxel) * width, width, count, x);
        for (int i = 0; i < array; i++) gx[i] = zero();
        for (std::int64_t prompt = 0; prompt < p.prompts; prompt++) {
          const std::int64_t row = sample * p.prompts + prompt;
          const parameter_view w(parameters + row * parameter_count(width), width);
          // Voxels behind the end have no gradient and add nothing.
          const float* from = grad_logits + row * p.voxels + voxel;
          vfloat grad[block];
          for (int b = 0; b < block; b++) {
            const int rest = count - b * lanes;
            grad[b] = rest >= lanes ? load(from + b * lanes) : rest > 0 ? load_first(from + b * lanes, rest) : zero();
          }
          block_gradient<Width>(w, width, grad, x, h1, h2, d1, d2, gx, own_sums + prompt * sums);
        }
        give_block<Width>(grad_features + (sample * p.voxels + voxel) * width, width, count, gx);
        in_float += block_voxels;
        if (in_float >= float_voxels || voxel + block_voxels >= end) {
          for (std::int64_t i = 0; i < all_sums; i++) {
            partial[i] += static_cast<double>(sum_lanes(own_sums[i]));
            own_sums[i] = zero();
          }
          in_float = 0;
        }
      }
    }
  });
  for (std::int64_t row = 0; row < p.n * p.prompts; row++) {
    const std::int64_t sample = row / p.prompts, prompt = row % p.prompts;
    const auto total = [&](std::int64_t i) {
      double sum = 0;
      for (std::int64_t c = 0; c < chunks; c++) sum += partials[(sample * chunks + c) * all_sums + prompt * sums + i];
      return static_cast<float>(sum);
    };
    float* out = grad_parameters + row * parameter_count(width);
    const std::int64_t weights = 2 * width * width;
    for (std::int64_t i = 0; i < weights; i++) out[i] = total(i);
    for (std::int64_t k = 0; k < width; k++) {
      const float g = total(weights + k);
      out[weights + k] = -g;
      out[weights + width + k] = g;
    }
    for (std::int64_t i = 0; i < 2 * width; i++) out[weights + 2 * width + i] = total(weights + width + i);
    const float g = total(weights + 3 * width);
    out[weights + 4 * width] = -g;
    out[weights + 4 * width + 1] = g;
  }
  return ok();
}

versemi_status dynamic_head_grad(versemi_context* context, const versemi_buffer* buffers, std::int32_t,
                                 const double* attributes, std::int32_t) {
  namespace buffer = dynamic_head_grad_buffer;
  const problem p{dynamic_head_grad_attributes(attributes)};
  return (p.width == 8 ? gradient<8> : gradient<0>)(
      context, p, input(buffers[buffer::grad_logits]), input(buffers[buffer::features]), input(buffers[buffer::parameters]),
      output(buffers[buffer::grad_features]), output(buffers[buffer::grad_parameters]));
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_DYNAMIC_HEAD, dynamic_head),
    VERSEMI_ROW(VERSEMI_DYNAMIC_HEAD_GRAD, dynamic_head_grad),
};

}  // namespace

kernel_rows head_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
