// Rows of conv3d_grad_weight.
#include "conv/conv3d_grad_weight.h"

#include "conv/grad_weight_tiles.h"

namespace versemi {
namespace cuda {
namespace {

// Voxels and offsets inside a tensor's channels are counted in 32 bits.
const char* refuses_problem(const versemi_conv_problem& p) {
  if (p.n * p.out[0] * p.out[1] * p.out[2] > 2147483647 - 65536) return "more than 2^31 voxels";
  if (versemi_conv_weight_count(&p) > 2147483647) return "more than 2^31 weights";
  return nullptr;
}

const char* refuses_plain(const context&, const double* attributes, std::int32_t) {
  return refuses_problem(conv_problem_of(convolution_attributes(attributes)));
}

const char* refuses_mma(const context& device, const double* attributes, std::int32_t) {
  const versemi_conv_problem p = conv_problem_of(convolution_attributes(attributes));
  const char* wrong = refuses_problem(p);
  if (wrong != nullptr) return wrong;
  if (device.operands() == precision::float32) return "operands are to be float32";
  grad_weight_tiles tiles;
  if (!grad_weight_cut(device, p, device.operands() == precision::bfloat16, &tiles)) return "channels are not multiples of 8, or the kernel is too large";
  return nullptr;
}

void plan_plain(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  storage format = storage::float32;
  if (device.operands() == precision::bfloat16 &&
      (tensors[0].format == storage::bfloat16 || tensors[1].format == storage::bfloat16))
    format = storage::bfloat16;
  tensors[0].format = tensors[1].format = format;
  tensors[2].format = tensors[3].format = storage::float32;
}

const kernel rows[] = {
    {VERSEMI_CONV3D_GRAD_WEIGHT, "grad-weight-mma", refuses_mma, plan_grad_weight, run_grad_weight<grad_weight_mma>},
    {VERSEMI_CONV3D_GRAD_WEIGHT, "grad-weight-plain", refuses_plain, plan_plain, run_grad_weight<grad_weight_plain>},
};

}  // namespace

void plan_grad_weight(const context& device, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  const storage format = device.operands() == precision::bfloat16 ? storage::bfloat16 : storage::float32;
  tensors[0].format = tensors[1].format = format;
  tensors[2].format = tensors[3].format = storage::float32;
}

kernel_rows conv3d_grad_weight_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
