// Builds the passes of forward and grad-input; see conv_pass.h.
#include "conv_pass.h"
#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

pass_axis forward_axis(const versemi_conv_problem& p, int axis) {
  return pass_axis{p.out[axis], 0, 1, -p.pad[axis], p.stride[axis], p.kernel[axis], 0, 1};
}

int64_t divide_down(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0)); }

// Input positions i = residue + stride * t receive output o = (i + pad - k) / stride for the taps k that make it whole:
// k = first + stride * j, j < taps, o = t + base - j. In reverse order of j the source positions ascend.
pass_axis grad_input_axis(const versemi_conv_problem& p, int axis, int64_t residue) {
  const int64_t stride = p.stride[axis], first = (residue + p.pad[axis]) % stride;
  const int64_t taps = p.kernel[axis] <= first ? 0 : (p.kernel[axis] - first + stride - 1) / stride;
  const int64_t base = divide_down(residue + p.pad[axis] - first, stride);
  return pass_axis{divide_up(p.in[axis] - residue, stride), residue, stride, base - taps + 1, 1, taps, first + stride * (taps - 1), -stride};
}

// Input positions between window i and the next one: they receive the bias alone.
pass_axis gap_axis(const versemi_conv_problem& p, int axis, int64_t i) {
  const int64_t begin = i * p.stride[axis] + p.kernel[axis] - p.pad[axis];
  return pass_axis{smaller(p.in[axis] - begin, p.stride[axis] - p.kernel[axis]), begin, 1, 0, 1, 0, 0, -1};
}

// The passes of grad-input along an axis: the residues. Where the stride is larger than the kernel and more residues are
// without taps than there are gaps between the windows, the gaps stand for them, so that the number of passes does not grow
// with the stride. `to` gets them where it is not nullptr.
int64_t grad_input_axes(const versemi_conv_problem& p, int axis, pass_axis* to) {
  const int64_t stride = p.stride[axis], kernel = p.kernel[axis], in = p.in[axis], pad = p.pad[axis];
  const int64_t residues = smaller(stride, in), behind = in + pad - kernel;
  const int64_t gaps = stride > kernel && behind > 0 ? divide_up(behind, stride) : 0;
  const int64_t first = smaller(in, kernel - pad), last = larger<int64_t>(0, residues - (stride - pad));
  if (stride <= kernel || residues - first - last <= gaps) {
    for (int64_t i = 0; to != nullptr && i < residues; i++) to[i] = grad_input_axis(p, axis, i);
    return residues;
  }
  for (int64_t i = 0; to != nullptr && i < first + last + gaps; i++)
    to[i] = i < first          ? grad_input_axis(p, axis, i)
            : i < first + last ? grad_input_axis(p, axis, stride - pad + i - first)
                               : gap_axis(p, axis, i - first - last);
  return first + last + gaps;
}

}  // namespace

bool forward_operation(versemi_context* context, const versemi_conv_problem& p, const float* input, const float* weight,
                       const float* bias, float* output, conv_operation* operation) {
  conv_operation& o = *operation;
  o = conv_operation{p.n,
                     input,
                     {p.in[0], p.in[1], p.in[2]},
                     p.in_channels,
                     output,
                     {p.out[0], p.out[1], p.out[2]},
                     p.out_channels,
                     1,
                     weight,
                     {p.kernel[0], p.kernel[1], p.kernel[2]},
                     false,
                     bias,
                     nullptr,
                     1};
  o.passes = static_cast<conv_pass*>(scratch(context, scratch_slot::passes, sizeof(conv_pass)));
  if (o.passes == nullptr) return false;
  for (int axis = 0; axis < 3; axis++) o.passes[0].axis[axis] = forward_axis(p, axis);
  return true;
}

bool grad_input_operation(versemi_context* context, const versemi_conv_problem& p, const float* grad_output,
                          const float* weight, const float* bias, float* grad_input, conv_operation* operation) {
  conv_operation& o = *operation;
  o = conv_operation{p.n,
                     grad_output,
                     {p.out[0], p.out[1], p.out[2]},
                     p.out_channels,
                     grad_input,
                     {p.in[0], p.in[1], p.in[2]},
                     p.in_channels,
                     1,
                     weight,
                     {p.kernel[0], p.kernel[1], p.kernel[2]},
                     true,
                     bias,
                     nullptr,
                     0};
  // Windows that touch along W: the taps of one output voxel fill neighbouring input voxels, which lie side by side in
  // memory. They are computed as one voxel with kW times the columns: longer writes, fewer and larger products.
  const bool joined = p.kernel[2] == p.stride[2] && p.pad[2] == 0 && p.in[2] == p.out[2] * p.stride[2];
  if (joined) {
    o.column_sets = p.stride[2];
    o.columns = p.in_channels * p.stride[2];
    o.out_size[2] = p.out[2];
  }
  int64_t counts[3], axes = 0, passes = 1;
  for (int axis = 0; axis < 3; axis++) {
    counts[axis] = axis == 2 && joined ? 1 : grad_input_axes(p, axis, nullptr);
    axes += counts[axis];
    passes *= counts[axis];
  }
  // The passes, and behind them those along each axis, of which they are made.
  o.passes = static_cast<conv_pass*>(
      scratch(context, scratch_slot::passes, sizeof(conv_pass) * (std::size_t)passes + sizeof(pass_axis) * (std::size_t)axes));
  if (o.passes == nullptr) return false;
  pass_axis* const along[3] = {reinterpret_cast<pass_axis*>(o.passes + passes),
                               reinterpret_cast<pass_axis*>(o.passes + passes) + counts[0],
                               reinterpret_cast<pass_axis*>(o.passes + passes) + counts[0] + counts[1]};
  for (int axis = 0; axis < 3; axis++)
    if (axis < 2 || !joined) grad_input_axes(p, axis, along[axis]);
  if (joined) along[2][0] = pass_axis{p.out[2], 0, 1, 0, 1, 1, 0, 1};
  for (int64_t d = 0; d < counts[0]; d++)
    for (int64_t h = 0; h < counts[1]; h++)
      for (int64_t w = 0; w < counts[2]; w++) o.passes[o.pass_count++] = conv_pass{{along[0][d], along[1][h], along[2][w]}};
  return true;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
