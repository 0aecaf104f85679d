// Rows of the table: conv3d_grad_weight, for images (conv_grad_image.h), by minimal filtering where it pays
// (winograd_gradient.h), and as a direct sum, which stands here.
//
// The output voxels are cut into slices whose number follows from the problem alone; each slice has its own copy of the
// gradient, and the copies are summed in order. A task is (slice, row of taps (kd, kh), block of output channels). It walks
// over bands of lines that stay in the cache while all kw and input channels of the task pass over them.
//
// With few input channels a block would have too few sums to fill the registers. Then the line of every tap and channel is
// copied first ("tap lines": kD * kH * kW * inC lines of outW values), and the kernel of the forward convolution multiplies
// them with the gradient: tap lines are its voxels, the position along W is its reduction.
#include "conv_grad_call.h"
#include "conv_grad_image.h"
#include "conv_grad_tile.h"
#include "conv_panel.h"
#include "conv_pass.h"
#include "conv_slices.h"
#include "dispatch.h"
#include "kernel_row.h"
#include "winograd_gradient.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int64_t band_bytes = 96 << 10;
constexpr int64_t slice_voxels = 2048;
constexpr int64_t most_slices = 32;
constexpr int64_t most_slice_bytes = 64 << 20;

struct schedule {
  int64_t lines;  // n * outD * outH
  int64_t slices;
  int64_t tap_rows;  // tasks per slice and block: kD * kH, or 1 with tap lines
  int64_t vectors, blocks;
  int64_t band_lines;
  int64_t tap_lines;  // kernel * in_channels, or 0 where the input is read as it is
  bool copy_grad;  // lines of the gradient are copied: the last vector of channels is not full, or they must be close
  int64_t grad_floats, sum_floats, line_floats, thread_floats;  // per thread
  float* thread_memory;
  float* slice_weight;  // [slices][weight count]
  float* slice_bias;    // [slices][out_channels], or nullptr
};

schedule make_schedule(const versemi_conv_problem& p) {
  schedule s = {};
  const int64_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  s.lines = p.n * p.out[0] * p.out[1];
  s.vectors = divide_up(p.out_channels, lanes);
  s.blocks = divide_up(s.vectors, max_tile_vectors);
  const int64_t widest = divide_up(s.vectors, s.blocks);
  // Eight sums hide the latency of fma.
  s.tap_lines = taps > 1 && p.in_channels * widest < 8 ? taps * p.in_channels : 0;
  s.tap_rows = s.tap_lines > 0 ? 1 : p.kernel[0] * p.kernel[1];
  s.slices = smaller(most_slices, larger<int64_t>(1, s.lines * p.out[2] / slice_voxels));
  s.slices = larger<int64_t>(1, smaller(s.slices, most_slice_bytes / 4 / versemi_conv_weight_count(&p)));
  s.slices = smaller(s.slices, s.lines);
  s.copy_grad = p.out_channels % lanes != 0 || (s.tap_lines > 0 && s.blocks > 1);
  const int64_t x_line = s.tap_lines > 0 ? s.tap_lines * p.out[2] : p.in_channels * p.in[2];
  s.band_lines = larger<int64_t>(1, band_bytes / 4 / (x_line + widest * lanes * p.out[2]));
  s.band_lines = smaller(s.band_lines, divide_up(s.lines, s.slices));
  s.grad_floats = s.copy_grad ? s.band_lines * p.out[2] * widest * lanes : 0;
  s.sum_floats = s.tap_lines * widest * lanes;
  s.line_floats = round_up(s.band_lines * p.out[2] * s.tap_lines, lanes);
  s.thread_floats = round_up(s.grad_floats + s.sum_floats + s.line_floats + 2 * 2 * s.band_lines, 1024);
  return s;
}

// The work of one thread.
class worker {
 public:
  worker(const versemi_conv_problem& problem, const float* input, const float* grad_output, const schedule& plan,
         int thread)
      : p_(problem),
        s_(plan),
        input_(input),
        grad_output_(grad_output),
        grad_copy_(plan.thread_memory + thread * plan.thread_floats),
        sums_(grad_copy_ + plan.grad_floats),
        tap_lines_(sums_ + plan.sum_floats),
        x_offset_(reinterpret_cast<int64_t*>(tap_lines_ + plan.line_floats)),
        grad_offset_(x_offset_ + plan.band_lines) {}

  void run_task(int64_t task) {
    const int64_t block = task % s_.blocks, tap_row = task / s_.blocks % s_.tap_rows,
                  slice = task / s_.blocks / s_.tap_rows;
    const int64_t first_vector = s_.vectors * block / s_.blocks;
    vectors_ = (int)(s_.vectors * (block + 1) / s_.blocks - first_vector);
    first_column_ = first_vector * lanes;
    tile_.columns = smaller<int64_t>(p_.out_channels - first_column_, vectors_ * lanes);
    tile_.out_step = p_.out_channels;
    float* weight = s_.slice_weight + slice * versemi_conv_weight_count(&p_) + first_column_;
    float* bias =
        s_.slice_bias != nullptr && tap_row == 0 ? s_.slice_bias + slice * p_.out_channels + first_column_ : nullptr;

    const int64_t begin = s_.lines * slice / s_.slices, end = s_.lines * (slice + 1) / s_.slices;
    for (int64_t line = begin; line < end; line += s_.band_lines) {
      const int64_t last = smaller(line + s_.band_lines, end);
      tile_.accumulate = line > begin;
      set_grad(line, last);
      if (bias != nullptr) add_bias(last - line, bias);
      if (s_.tap_lines > 0)
        run_tap_lines(line, last, weight);
      else
        run_taps(line, last, tap_row / p_.kernel[1], tap_row % p_.kernel[1], weight);
    }
  }

 private:
  // The gradient of lines [begin, end) for the columns of this task, in whole vectors.
  void set_grad(int64_t begin, int64_t end) {
    // Whole vectors may be read where they end inside the tensor: what lies behind the channels belongs to the next voxel, and
    // its products are not written.
    const bool inside = (s_.lines - end) * p_.out[2] * p_.out_channels >= lanes;
    if (!s_.copy_grad || (inside && s_.tap_lines == 0)) {
      tile_.grad = grad_output_ + begin * p_.out[2] * p_.out_channels + first_column_;
      tile_.grad_step = p_.out_channels;
      return;
    }
    const int64_t width = vectors_ * lanes, voxels = (end - begin) * p_.out[2];
    const float* from = grad_output_ + begin * p_.out[2] * p_.out_channels + first_column_;
    for (int c = 0; c < vectors_; c++) {
      const int left = (int)smaller<int64_t>(lanes, tile_.columns - c * lanes);
      for (int64_t v = 0; v < voxels; v++)
        store(grad_copy_ + v * width + c * lanes, load_first(from + v * p_.out_channels + c * lanes, left));
    }
    tile_.grad = grad_copy_;
    tile_.grad_step = width;
  }

  void add_bias(int64_t lines, float* bias) {
    for (int c = 0; c < vectors_; c++) {
      const int left = (int)smaller<int64_t>(lanes, tile_.columns - c * lanes);
      vfloat sums[4] = {zero(), zero(), zero(), zero()};
      const int64_t voxels = lines * p_.out[2];
      const float* grad = tile_.grad + c * lanes;
      int64_t v = 0;
      for (; v + 4 <= voxels; v += 4)
        for (int i = 0; i < 4; i++) sums[i] += load(grad + (v + i) * tile_.grad_step);
      for (; v < voxels; v++) sums[0] += load(grad + v * tile_.grad_step);
      const vfloat sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      float* to = bias + c * lanes;
      store_first(to, tile_.accumulate ? load_first(to, left) + sum : sum, left);
    }
  }

  void run_taps(int64_t begin, int64_t end, int64_t kd, int64_t kh, float* weight) {
    // The lines whose tap lies inside the input.
    int64_t lines = 0;
    int64_t* line_x = x_offset_;
    for (int64_t line = begin; line < end; line++) {
      const int64_t oh = line % p_.out[1], od = line / p_.out[1] % p_.out[0], n = line / p_.out[1] / p_.out[0];
      const int64_t id = od * p_.stride[0] + kd - p_.pad[0], ih = oh * p_.stride[1] + kh - p_.pad[1];
      if (id < 0 || id >= p_.in[0] || ih < 0 || ih >= p_.in[1]) continue;
      line_x[lines] = ((n * p_.in[0] + id) * p_.in[1] + ih) * p_.in[2] * p_.in_channels;
      grad_offset_[lines++] = (line - begin) * p_.out[2] * tile_.grad_step;
    }
    tile_.lines = lines;
    tile_.x_offset = x_offset_;
    tile_.x_step = p_.stride[2] * p_.in_channels;
    const float* grad = tile_.grad;
    tile_.grad_offset = grad_offset_;
    for (int64_t kw = 0; kw < p_.kernel[2]; kw++) {
      int64_t first, last;
      valid_voxels(kw, &first, &last);
      tile_.count = last - first;
      tile_.grad = grad + first * tile_.grad_step;
      const int64_t tap = (kd * p_.kernel[1] + kh) * p_.kernel[2] + kw;
      run_rows(first < last ? input_ + (first * p_.stride[2] + kw - p_.pad[2]) * p_.in_channels : input_,
               p_.in_channels, weight + tap * p_.in_channels * p_.out_channels);
    }
    tile_.grad = grad;
  }

  void run_tap_lines(int64_t begin, int64_t end, float* weight) {
    for (int64_t i = 0; i < end - begin; i++) {
      x_offset_[i] = i * s_.tap_lines * p_.out[2];
      grad_offset_[i] = i * p_.out[2] * tile_.grad_step;
      copy_tap_lines(begin + i, tap_lines_ + x_offset_[i]);
    }
    const int64_t width = vectors_ * lanes;
    tile_call call = {};
    call.x_offset = x_offset_;
    call.x_step = p_.out[2];
    call.w = tile_.grad;
    call.w_offset = grad_offset_;
    call.segments = end - begin;
    call.count = p_.out[2];
    call.ahead = tap_lines_;
    call.ahead_offset = x_offset_;
    call.out_step = width;
    call.columns = tile_.columns;
    const int64_t tiles = divide_up(s_.tap_lines, max_tile_voxels(vectors_));
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t first = s_.tap_lines * i / tiles, count = s_.tap_lines * (i + 1) / tiles - first;
      call.x = tap_lines_ + first * p_.out[2];
      call.out = sums_ + first * width;
      tile_for((int)count, vectors_)(call);
    }
    for (int64_t row = 0; row < s_.tap_lines; row++)
      for (int64_t column = 0; column < tile_.columns; column += lanes) {
        const int left = (int)smaller<int64_t>(lanes, tile_.columns - column);
        const vfloat sum = load_first(sums_ + row * width + column, left);
        float* to = weight + row * p_.out_channels + column;
        store_first(to, tile_.accumulate ? load_first(to, left) + sum : sum, left);
      }
  }

  // to[kd][kh][kw][channel][ow] = input at this tap of output voxel ow of a line.
  void copy_tap_lines(int64_t line, float* to) {
    const int64_t oh = line % p_.out[1], od = line / p_.out[1] % p_.out[0], n = line / p_.out[1] / p_.out[0];
    const int64_t stride = p_.stride[2], channels = p_.in_channels;
    for (int64_t kd = 0; kd < p_.kernel[0]; kd++)
      for (int64_t kh = 0; kh < p_.kernel[1]; kh++) {
        const int64_t id = od * p_.stride[0] + kd - p_.pad[0], ih = oh * p_.stride[1] + kh - p_.pad[1];
        const bool inside = id >= 0 && id < p_.in[0] && ih >= 0 && ih < p_.in[1];
        const float* from = input_ + (inside ? ((n * p_.in[0] + id) * p_.in[1] + ih) * p_.in[2] * channels : 0);
        for (int64_t kw = 0; kw < p_.kernel[2]; kw++) {
          int64_t first, last;
          valid_voxels(kw, &first, &last);
          if (!inside) first = last = 0;
          for (int64_t channel = 0; channel < channels; channel++, to += p_.out[2]) {
            const float* x = first < last ? from + (first * stride + kw - p_.pad[2]) * channels + channel : from;
            zero_floats(to, first);
            if (stride * channels == 1)
              copy_floats(to + first, x, last - first);
            else
              for (int64_t ow = first; ow < last; ow++) to[ow] = x[(ow - first) * stride * channels];
            zero_floats(to + last, p_.out[2] - last);
          }
        }
      }
  }

  // Output voxels [first, last) of a line whose tap kw lies inside: 0 <= ow * stride + kw - pad < in.
  void valid_voxels(int64_t kw, int64_t* first, int64_t* last) const {
    const int64_t shift = p_.pad[2] - kw, reach = p_.in[2] - 1 + shift;
    *first = smaller(p_.out[2], shift > 0 ? divide_up(shift, p_.stride[2]) : 0);
    *last = larger(*first, reach < 0 ? 0 : smaller(p_.out[2], reach / p_.stride[2] + 1));
  }

  // All input channels of one tap, in blocks of nearly equal size.
  void run_rows(const float* x, int64_t rows, float* weight) {
    const int64_t tiles = divide_up(rows, max_tile_voxels(vectors_));
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t begin = rows * i / tiles, count = rows * (i + 1) / tiles - begin;
      tile_.x = x + begin;
      tile_.out = weight + begin * p_.out_channels;
      grad_tile_for((int)count, vectors_)(tile_);
    }
  }

  const versemi_conv_problem& p_;
  const schedule& s_;
  const float* input_;
  const float* grad_output_;
  float* grad_copy_;
  float* sums_;
  float* tap_lines_;
  int64_t* x_offset_;
  int64_t* grad_offset_;
  grad_tile_call tile_ = {};
  int vectors_ = 0;
  int64_t first_column_ = 0;
};

versemi_status run_direct_gradient(versemi_context* context, const grad_weight_call& call) {
  const versemi_conv_problem& p = call.problem;
  schedule s = make_schedule(p);
  const std::size_t bytes = (std::size_t)(s.thread_floats * thread_count(context)) * sizeof(float);
  s.thread_memory = static_cast<float*>(scratch(context, scratch_slot::per_thread, bytes));
  if (s.thread_memory == nullptr) return out_of_memory(bytes);
  s.slice_weight = call.grad_weight;
  s.slice_bias = call.grad_bias;
  const int64_t weights = versemi_conv_weight_count(&p);
  if (s.slices > 1) {
    const int64_t floats = s.slices * (weights + p.out_channels);
    s.slice_weight = scratch_floats(context, scratch_slot::slices, (std::size_t)floats);
    if (s.slice_weight == nullptr) return out_of_memory((std::size_t)floats * sizeof(float));
    if (call.grad_bias != nullptr) s.slice_bias = s.slice_weight + s.slices * weights;
  }
  parallel_for(context, s.slices * s.tap_rows * s.blocks, [&](int64_t begin, int64_t end, int thread) {
    worker work(p, call.input, call.grad_output, s, thread);
    for (int64_t task = begin; task < end; task++) work.run_task(task);
  });
  if (s.slices > 1) {
    sum_slices(context, s.slice_weight, s.slices, weights, call.grad_weight);
    if (call.grad_bias != nullptr) sum_slices(context, s.slice_bias, s.slices, p.out_channels, call.grad_bias);
  }
  return ok();
}

// How the gradient is computed: one of the three ways that the rows name.
using gradient_method = versemi_status (*)(versemi_context*, const grad_weight_call&);

template <gradient_method method>
versemi_status run_grad_weight(versemi_context* context, const versemi_buffer* buffers, int32_t, const double* attributes,
                               int32_t) {
  namespace buffer = conv3d_grad_weight_buffer;
  const grad_weight_call call = {conv_problem_of(conv3d_grad_weight_attributes(attributes)), input(buffers[buffer::input]),
                                 input(buffers[buffer::grad_output]), output(buffers[buffer::grad_weight]),
                                 output(buffers[buffer::grad_bias])};
  return method(context, call);
}

const char* image_refuses(versemi_context*, const double* attributes, int32_t) {
  return grad_image_refuses(conv_problem_of(conv3d_grad_weight_attributes(attributes)));
}

const char* filtering_refuses(versemi_context* context, const double* attributes, int32_t) {
  winograd_gradient_plan plan;
  return plan_winograd_gradient(context, conv_problem_of(conv3d_grad_weight_attributes(attributes)), &plan);
}

const versemi_kernel rows[] = {
    {VERSEMI_CONV3D_GRAD_WEIGHT, VERSEMI_ROW_NAME("image"), image_refuses, run_grad_weight<run_grad_image>},
    {VERSEMI_CONV3D_GRAD_WEIGHT, VERSEMI_ROW_NAME("winograd"), filtering_refuses, run_grad_weight<run_winograd_gradient>},
    {VERSEMI_CONV3D_GRAD_WEIGHT, VERSEMI_ROW_NAME("direct"), takes_all, run_grad_weight<run_direct_gradient>},
};

}  // namespace

kernel_rows conv3d_grad_weight_kernels() { return kernel_rows{rows, sizeof rows / sizeof rows[0]}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
