// The image is copied once, with zeros around its lines, so that no tap needs a test; lines outside are a line of zeros. The
// output lines are cut into slices whose number follows from the problem; each has its own result, summed in order.
#include "conv_grad_image.h"

#include "conv_panel.h"
#include "conv_pass.h"
#include "conv_slices.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int64_t slice_voxels = 4096;
constexpr int64_t most_slices = 32;
// Voxels whose products are added up before they go to the sums of the slice: rounding grows with their number.
constexpr int64_t run_voxels = 1024;
// Rows of taps (kd, kh) at once, each of three taps.
constexpr int row_group = vector_registers == 32 ? 9 : 3;

struct image_call {
  const float* x;
  const int64_t* x_offset;  // [lines][9]
  int64_t x_step;
  const float* grad;  // lines one behind the other, read in whole vectors
  int64_t grad_step;
  int64_t lines, count;
  bool accumulate;
  float* taps;  // [27][lanes]
  float* bias;  // [lanes] or nullptr
};

// taps[3 * row + kw] (+)= sum over lines and voxels v of x[x_offset[row] + v * x_step + kw] * grad[v], for some rows.
template <bool with_bias>
void sum_taps(const image_call& call, int first_row) {
  vfloat sum[row_group][3], total = zero();
  VERSEMI_UNROLL
  for (int r = 0; r < row_group; r++) VERSEMI_UNROLL
  for (int k = 0; k < 3; k++) sum[r][k] = zero();
  const float* grad = call.grad;
  const int64_t x_step = call.x_step;
  for (int64_t line = 0; line < call.lines; line++) {
    const float* x[row_group];
    VERSEMI_UNROLL
    for (int r = 0; r < row_group; r++) x[r] = call.x + call.x_offset[line * 9 + first_row + r];
    int64_t at = 0;
    for (int64_t v = call.count; v > 0; v--) {
      const vfloat g = load(grad);
      if (with_bias) total += g;
      VERSEMI_UNROLL
      for (int r = 0; r < row_group; r++) VERSEMI_UNROLL
      for (int k = 0; k < 3; k++) sum[r][k] = fma(broadcast(x[r][at + k]), g, sum[r][k]);
      at += x_step;
      grad += call.grad_step;
    }
  }
  float* taps = call.taps + first_row * 3 * lanes;
  VERSEMI_UNROLL
  for (int r = 0; r < row_group; r++) VERSEMI_UNROLL
  for (int k = 0; k < 3; k++, taps += lanes) store(taps, call.accumulate ? load(taps) + sum[r][k] : sum[r][k]);
  if (with_bias) store(call.bias, call.accumulate ? load(call.bias) + total : total);
}

struct schedule {
  int64_t lines;    // of the output
  int64_t slices, run_lines;
  int64_t pitch;    // floats from line to line of the copied image
  int64_t in_lines;
  float* image;     // [n, inD, inH][pitch], and a line of zeros
  int64_t copy_floats, thread_floats;
  float* thread_memory;
  float* slice_weight;  // [slices][27][out_channels]
  float* slice_bias;    // [slices][out_channels] or nullptr
};

class worker {
 public:
  worker(const versemi_conv_problem& problem, const schedule& plan, const float* grad, int thread)
      : p_(problem),
        s_(plan),
        grad_(grad),
        taps_(plan.thread_memory + thread * plan.thread_floats),
        copy_(taps_ + 28 * lanes),
        offsets_(reinterpret_cast<int64_t*>(copy_ + plan.copy_floats)) {}

  // One slice for one vector of output channels.
  void run(int64_t slice, int64_t vector) {
    const int64_t begin = s_.lines * slice / s_.slices, end = s_.lines * (slice + 1) / s_.slices;
    const int64_t channels = p_.out_channels, column = vector * lanes, line_floats = p_.out[2] * channels;
    const int left = (int)smaller<int64_t>(lanes, channels - column);
    // Lines before this one may be read in whole vectors: what lies behind the channels of a voxel is that of the next.
    const int64_t whole = larger<int64_t>(0, s_.lines * line_floats + channels - column - lanes) / line_floats;
    image_call call = {};
    call.x = s_.image;
    call.x_offset = offsets_;
    call.x_step = p_.stride[2];
    call.count = p_.out[2];
    call.taps = taps_;
    call.bias = taps_ + 27 * lanes;
    for (int64_t line = begin, last; line < end; line = last) {
      last = smaller(end, line + s_.run_lines);
      if (line < whole) last = smaller(last, whole);
      call.lines = last - line;
      call.accumulate = line > begin;
      set_offsets(line, last);
      call.grad = grad_ + line * line_floats + column;
      call.grad_step = channels;
      if (line >= whole) {
        for (int64_t v = 0; v < call.lines * p_.out[2]; v++)
          store(copy_ + v * lanes, load_first(call.grad + v * channels, left));
        call.grad = copy_;
        call.grad_step = lanes;
      }
      for (int row = 0; row < 9; row += row_group)
        row == 0 && s_.slice_bias != nullptr ? sum_taps<true>(call, row) : sum_taps<false>(call, row);
    }
    for (int64_t tap = 0; tap < 27; tap++)
      store_first(s_.slice_weight + (slice * 27 + tap) * channels + column, load(taps_ + tap * lanes), left);
    if (s_.slice_bias != nullptr) store_first(s_.slice_bias + slice * channels + column, load(call.bias), left);
  }

 private:
  void set_offsets(int64_t begin, int64_t end) {
    int64_t* to = offsets_;
    for (int64_t line = begin; line < end; line++) {
      const int64_t oh = line % p_.out[1], od = line / p_.out[1] % p_.out[0], n = line / p_.out[1] / p_.out[0];
      for (int64_t row = 0; row < 9; row++) {
        const int64_t id = od * p_.stride[0] + row / 3 - p_.pad[0], ih = oh * p_.stride[1] + row % 3 - p_.pad[1];
        const bool inside = id >= 0 && id < p_.in[0] && ih >= 0 && ih < p_.in[1];
        *to++ = (inside ? (n * p_.in[0] + id) * p_.in[1] + ih : s_.in_lines) * s_.pitch;
      }
    }
  }

  const versemi_conv_problem& p_;
  const schedule& s_;
  const float* grad_;
  float* taps_;
  float* copy_;
  int64_t* offsets_;
};

void copy_image(versemi_context* context, const versemi_conv_problem& p, const float* input, const schedule& s) {
  const int64_t count = smaller(p.in[2], s.pitch - p.pad[2]);
  parallel_for(context, s.in_lines + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t line = begin; line < end; line++) {
      float* to = s.image + line * s.pitch;
      if (line == s.in_lines) {
        zero_floats(to, s.pitch);
        continue;
      }
      zero_floats(to, p.pad[2]);
      copy_floats(to + p.pad[2], input + line * p.in[2], count);
      zero_floats(to + p.pad[2] + count, s.pitch - p.pad[2] - count);
    }
  });
}

}  // namespace

const char* grad_image_refuses(const versemi_conv_problem& p) {
  if (p.in_channels != 1) return "the input has more than one channel";
  return p.kernel[0] == 3 && p.kernel[1] == 3 && p.kernel[2] == 3 ? nullptr : "the kernel is not 3 x 3 x 3";
}

versemi_status run_grad_image(versemi_context* context, const grad_weight_call& call) {
  const versemi_conv_problem& p = call.problem;
  schedule s = {};
  s.lines = p.n * p.out[0] * p.out[1];
  s.in_lines = p.n * p.in[0] * p.in[1];
  s.slices = smaller(smaller(most_slices, s.lines), larger<int64_t>(1, s.lines * p.out[2] / slice_voxels));
  s.run_lines = smaller(divide_up(s.lines, s.slices), divide_up(run_voxels, p.out[2]));
  s.pitch = larger(p.pad[2] + p.in[2], (p.out[2] - 1) * p.stride[2] + 3);
  s.copy_floats = s.run_lines * p.out[2] * lanes;
  s.thread_floats = round_up(28 * lanes + s.copy_floats + 2 * 9 * s.run_lines, 1024);
  const int64_t weights = versemi_conv_weight_count(&p);
  const std::size_t bytes = (std::size_t)(s.thread_floats * thread_count(context)) * sizeof(float);
  s.thread_memory = static_cast<float*>(scratch(context, scratch_slot::per_thread, bytes));
  if (s.thread_memory == nullptr) return out_of_memory(bytes);
  const std::size_t image = (std::size_t)((s.in_lines + 1) * s.pitch);
  const std::size_t partial = (std::size_t)(s.slices * (weights + p.out_channels));
  s.image = scratch_floats(context, scratch_slot::mapped, image);
  if (s.image == nullptr) return out_of_memory(image * sizeof(float));
  s.slice_weight = scratch_floats(context, scratch_slot::slices, partial);
  if (s.slice_weight == nullptr) return out_of_memory(partial * sizeof(float));
  if (call.grad_bias != nullptr) s.slice_bias = s.slice_weight + s.slices * weights;
  copy_image(context, p, call.input, s);
  const int64_t vectors = divide_up(p.out_channels, lanes);
  parallel_for(context, s.slices * vectors, [&](int64_t begin, int64_t end, int thread) {
    worker work(p, s, call.grad_output, thread);
    for (int64_t task = begin; task < end; task++) work.run(task / vectors, task % vectors);
  });
  sum_slices(context, s.slice_weight, s.slices, weights, call.grad_weight);
  if (call.grad_bias != nullptr) sum_slices(context, s.slice_bias, s.slices, p.out_channels, call.grad_bias);
  return ok();
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
