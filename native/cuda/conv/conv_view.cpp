// See conv_view.h.
#include "conv/conv_view.h"

namespace versemi {
namespace cuda {
namespace {

struct conv_call {
  conv_view view;
  bool relu = false;
  double epsilon = 0;
};

conv_view view_of(const convolution_attributes& sizes, bool transposed) {
  const versemi_conv_problem problem = conv_problem_of(sizes);
  return transposed ? grad_input_view(problem) : forward_view(problem);
}

conv_call read_call(std::int32_t op, const double* attributes) {
  if (op != VERSEMI_CONV3D_NORM_RELU)
    return {view_of(convolution_attributes(attributes), op == VERSEMI_CONV3D_GRAD_INPUT)};
  const conv3d_norm_relu_attributes fused(attributes);
  return {view_of(fused, fused.transposed), fused.relu, fused.epsilon};
}

}  // namespace

conv_view forward_view(const versemi_conv_problem& p) noexcept {
  conv_view v{};
  v.n = static_cast<int>(p.n);
  v.source_channels = static_cast<int>(p.in_channels);
  v.result_channels = static_cast<int>(p.out_channels);
  for (int i = 0; i < 3; i++) {
    v.source[i] = static_cast<int>(p.in[i]);
    v.result[i] = static_cast<int>(p.out[i]);
    v.kernel[i] = static_cast<int>(p.kernel[i]);
    v.stride[i] = static_cast<int>(p.stride[i]);
    v.pad[i] = static_cast<int>(p.pad[i]);
  }
  v.form = conv_form::direct;
  v.transposed = false;
  return v;
}

conv_view grad_input_view(const versemi_conv_problem& p) noexcept {
  conv_view v = forward_view(p);
  v.source_channels = static_cast<int>(p.out_channels);
  v.result_channels = static_cast<int>(p.in_channels);
  v.transposed = true;
  bool single = true, touching = true;
  for (int i = 0; i < 3; i++) {
    v.source[i] = static_cast<int>(p.out[i]);
    v.result[i] = static_cast<int>(p.in[i]);
    single = single && p.stride[i] == 1;
    touching = touching && p.stride[i] == p.kernel[i] && p.pad[i] == 0 && p.in[i] == p.out[i] * p.stride[i];
  }
  v.form = single ? conv_form::direct : touching ? conv_form::scatter : conv_form::gather;
  if (single)
    for (int i = 0; i < 3; i++) v.pad[i] = v.kernel[i] - 1 - v.pad[i];
  return v;
}

bool take_moments(context& device, const conv_view& view, int per_sample, conv_moment_slots* slots) {
  const std::size_t count = static_cast<std::size_t>(view.n) * static_cast<std::size_t>(per_sample) *
                            static_cast<std::size_t>(view.result_channels);
  slots->moments = device.scratch_of<conv_moments>(scratch_slot::moments, count);
  slots->per_sample = per_sample;
  return slots->moments != nullptr;
}

const char* conv_refuses(const context& device, const conv_family& family, std::int32_t op, const double* attributes) {
  return family.refuses(device, read_call(op, attributes).view);
}

// Activations as the precision says: results, and with them source and skip; everything else is float32. Where a sample has
// one voxel the result is no activation but a few numbers that others compute with: float32.
void conv_plan(const context& device, const conv_family& family, std::int32_t op, tensor* tensors,
               std::int32_t tensor_count, const double* attributes) {
  const conv_call call = read_call(op, attributes);
  const bool fused = op == VERSEMI_CONV3D_NORM_RELU, narrow = device.operands() == precision::bfloat16;
  const storage source = narrow ? storage::bfloat16 : storage::float32;
  const storage result = narrow && call.view.result_voxels() > 1 ? storage::bfloat16 : storage::float32;
  for (std::int32_t i = 0; i < tensor_count; i++) {
    if (i == 0) {
      if (!family.any_source_format) tensors[i].format = source;
    } else if ((fused && (i == 2 || i == 3 || i == 4)) || (!fused && i == 3)) {
      tensors[i].format = result;
    } else {
      tensors[i].format = storage::float32;
    }
  }
}

versemi_status conv_run(context& device, const conv_family& family, std::int32_t op, const tensor* tensors,
                        const double* attributes) {
  const conv_call call = read_call(op, attributes);
  const bool fused = op == VERSEMI_CONV3D_NORM_RELU;
  const conv_view& v = call.view;
  const std::int64_t moments = static_cast<std::int64_t>(v.n) * v.result_channels;

  const tensor& raw = fused && tensors[4].present() ? tensors[4] : tensors[3];
  conv_job job;
  job.view = v;
  job.source = tensors[0].data;
  job.source_format = tensors[0].format;
  job.weight = floats(tensors[1]);
  job.bias = fused || !tensors[2].present() ? nullptr : floats(tensors[2]);
  job.result = raw.data;
  job.result_format = raw.format;
  if (!fused) return family.convolve(device, job, nullptr);

  conv_moment_slots slots;
  versemi_status status = family.convolve(device, job, &slots);
  if (status.code != VERSEMI_OK) return status;
  float* own = nullptr;
  if (!tensors[5].present() || !tensors[6].present()) {
    own = device.scratch_of<float>(scratch_slot::statistics, static_cast<std::size_t>(moments) * 2);
    if (own == nullptr) return out_of_memory(static_cast<std::size_t>(moments) * 8);
  }
  norm_job norm;
  norm.n = v.n;
  norm.voxels = v.result_voxels();
  norm.channels = v.result_channels;
  norm.relu = call.relu;
  norm.epsilon = call.epsilon;
  norm.format = raw.format;
  norm.raw = raw.data;
  norm.skip = tensors[2].present() ? tensors[2].data : nullptr;
  norm.result = tensors[3].data;
  norm.mean = tensors[5].present() ? floats(tensors[5]) : own;
  norm.rstd = tensors[6].present() ? floats(tensors[6]) : own + moments;
  return finish_norm(device, norm, slots);
}

}  // namespace cuda
}  // namespace versemi
