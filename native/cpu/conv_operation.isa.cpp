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
  const int64_t count = residue >= p.in[axis] ? 0 : (p.in[axis] - residue + stride - 1) / stride;
  return pass_axis{count, residue, stride, base - taps + 1, 1, taps, first + stride * (taps - 1), -stride};
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
  const int64_t residues[3] = {p.stride[0], p.stride[1], joined ? 1 : p.stride[2]};
  o.passes = static_cast<conv_pass*>(scratch(
      context, scratch_slot::passes, sizeof(conv_pass) * (std::size_t)(residues[0] * residues[1] * residues[2])));
  if (o.passes == nullptr) return false;
  for (int64_t d = 0; d < residues[0]; d++)
    for (int64_t h = 0; h < residues[1]; h++)
      for (int64_t w = 0; w < residues[2]; w++) {
        conv_pass pass = {{grad_input_axis(p, 0, d), grad_input_axis(p, 1, h), grad_input_axis(p, 2, w)}};
        if (joined) pass.axis[2] = pass_axis{p.out[2], 0, 1, 0, 1, 1, 0, 1};
        if (pass.axis[0].count > 0 && pass.axis[1].count > 0 && pass.axis[2].count > 0) o.passes[o.pass_count++] = pass;
      }
  return true;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
