// What the kernels of conv3d_grad_weight share: the call, partial sums of blocks and their ordered end, and the gradient of
// the bias.
#ifndef VERSEMI_CUDA_CONV3D_GRAD_WEIGHT_H
#define VERSEMI_CUDA_CONV3D_GRAD_WEIGHT_H

#include <cstdint>

#include "core/context.h"
#include "core/kernel.h"
#include "versemi/conv_problem.h"

namespace versemi {
namespace cuda {

struct grad_weight_call {
  versemi_conv_problem problem;
  const void *input, *grad_output;
  storage format;  // of both
  float *grad_weight, *grad_bias;  // grad_bias: nullptr if nobody wants it
};

// What the functions of a row do: activations in the format of the operands, and the call with the tensors' data.
void plan_grad_weight(const context& device, tensor* tensors, std::int32_t tensor_count, const double* attributes,
                      std::int32_t attribute_count);
template <versemi_status (*Kernel)(context&, const grad_weight_call&)>
versemi_status run_grad_weight(context& device, const tensor* tensors, std::int32_t, const double* attributes,
                               std::int32_t) {
  grad_weight_call call;
  call.problem = conv_problem_of(convolution_attributes(attributes));
  call.input = tensors[0].data;
  call.grad_output = tensors[1].data;
  call.format = tensors[0].format;
  call.grad_weight = floats(tensors[2]);
  call.grad_bias = floats(tensors[3]);
  return Kernel(device, call);
}

// As ints, for device code: axes D, H, W.
struct grad_weight_shape {
  int in[3], out[3], kernel[3], stride[3], pad[3];
  int in_channels, out_channels, taps, voxels;  // voxels: of the output, all samples

  grad_weight_shape() = default;
  explicit grad_weight_shape(const versemi_conv_problem& p) {
    for (int i = 0; i < 3; i++) {
      in[i] = static_cast<int>(p.in[i]);
      out[i] = static_cast<int>(p.out[i]);
      kernel[i] = static_cast<int>(p.kernel[i]);
      stride[i] = static_cast<int>(p.stride[i]);
      pad[i] = static_cast<int>(p.pad[i]);
    }
    in_channels = static_cast<int>(p.in_channels);
    out_channels = static_cast<int>(p.out_channels);
    taps = kernel[0] * kernel[1] * kernel[2];
    voxels = static_cast<int>(p.n * p.out[0] * p.out[1] * p.out[2]);
  }
};

// How many partial sums of `count` floats each to make when one of them keeps `blocks` blocks busy: enough for a large
// device, and not more than `voxel_blocks` or 64 MiB.
inline std::int64_t grad_weight_chunks(std::int64_t blocks, std::int64_t voxel_blocks, std::int64_t count,
                                       std::int64_t wanted_blocks) {
  std::int64_t chunks = wanted_blocks / blocks;
  if (chunks * count > (std::int64_t{16} << 20)) chunks = (std::int64_t{16} << 20) / count;
  if (chunks > voxel_blocks) chunks = voxel_blocks;
  return chunks < 1 ? 1 : chunks;
}

// Memory for `chunks` partial sums: gradWeight itself where there is one. nullptr when there is none left.
float* grad_weight_partials(context& device, const grad_weight_call& call, std::int64_t chunks);
// gradWeight = sum of the partial sums, in order, in double; then gradBias where it is wanted.
versemi_status finish_grad_weight(context& device, const grad_weight_call& call, const float* partials, std::int64_t chunks);

// Any convolution, sums of products in float32.
versemi_status grad_weight_plain(context& device, const grad_weight_call& call);
// How the tensor cores' kernel cuts a problem (grad_weight_tiles.h); false where it does not take it.
struct grad_weight_tiles;
bool grad_weight_cut(const context& device, const versemi_conv_problem& problem, bool narrow, grad_weight_tiles* tiles);
// On tensor cores: operands bfloat16 or, where they are stored as float32, TF32. Only what can be cut.
versemi_status grad_weight_mma(context& device, const grad_weight_call& call);

}  // namespace cuda
}  // namespace versemi

#endif
