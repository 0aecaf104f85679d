// See conv_view.h.
#include "conv/conv_view.h"

namespace versemi {
namespace cuda {
namespace {

constexpr std::int32_t norm_attributes = VERSEMI_CONV_ATTRIBUTES + 3;  // transposed, relu, epsilon

struct conv_call {
  versemi_conv_problem problem;
  conv_view view;
  bool relu = false;
  double epsilon = 0;
};

// nullptr, or what is wrong.
const char* read_call(conv_call* call, std::int32_t op, const double* attributes, std::int32_t attribute_count) {
  const bool fused = op == VERSEMI_CONV3D_NORM_RELU;
  if (attribute_count != (fused ? norm_attributes : VERSEMI_CONV_ATTRIBUTES)) return "a wrong number of attributes";
  const char* reason = versemi_read_conv_problem(&call->problem, attributes, attribute_count);
  if (reason != nullptr) return reason;
  const double* more = attributes + VERSEMI_CONV_ATTRIBUTES;
  const bool transposed = op == VERSEMI_CONV3D_GRAD_INPUT || (fused && more[0] != 0);
  call->view = transposed ? grad_input_view(call->problem) : forward_view(call->problem);
  if (fused) {
    call->relu = more[1] != 0;
    call->epsilon = more[2];
  }
  return nullptr;
}

versemi_status take(const tensor& t, const char* name, std::int64_t elements, bool optional) {
  if (!t.present() || t.data == nullptr)
    return optional ? ok() : failure(VERSEMI_INVALID_ARGUMENT, "the tensor `%s` is missing", name);
  if (t.elements < elements)
    return failure(VERSEMI_INVALID_ARGUMENT, "the tensor `%s` has %lld elements, expected %lld", name,
                   static_cast<long long>(t.elements), static_cast<long long>(elements));
  return ok();
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

const char* conv_refuses(const context& device, const conv_family& family, std::int32_t op, const double* attributes,
                         std::int32_t attribute_count) {
  conv_call call;
  const char* reason = read_call(&call, op, attributes, attribute_count);
  return reason != nullptr ? reason : family.refuses(device, call.view);
}

// Activations as the precision says: results, and with them source and skip; everything else is float32. Where a sample has
// one voxel the result is no activation but a few numbers that others compute with: float32.
void conv_plan(const context& device, const conv_family& family, std::int32_t op, tensor* tensors,
               std::int32_t tensor_count, const double* attributes, std::int32_t attribute_count) {
  conv_call call;
  if (read_call(&call, op, attributes, attribute_count) != nullptr) return;
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
                        std::int32_t tensor_count, const double* attributes, std::int32_t attribute_count) {
  conv_call call;
  const char* reason = read_call(&call, op, attributes, attribute_count);
  if (reason != nullptr) return failure(VERSEMI_INVALID_ARGUMENT, "%s", reason);
  const bool fused = op == VERSEMI_CONV3D_NORM_RELU;
  const std::int32_t expected = fused ? 7 : 4;
  if (tensor_count != expected)
    return failure(VERSEMI_INVALID_ARGUMENT, "expected %d tensors, found %d", expected, tensor_count);
  const conv_view& v = call.view;
  const std::int64_t sources = v.n * v.source_voxels() * v.source_channels;
  const std::int64_t results = v.n * v.result_voxels() * v.result_channels;
  const std::int64_t moments = static_cast<std::int64_t>(v.n) * v.result_channels;
  struct rule {
    const char* name;
    std::int64_t elements;
    bool optional;
  };
  const rule weights = {"weight", versemi_conv_weight_count(&call.problem), false};
  const rule plain[] = {{"source", sources, false}, weights, {"bias", v.result_channels, true}, {"result", results, false}};
  const rule with_norm[] = {{"input", sources, false}, weights,           {"skip", results, true}, {"output", results, false},
                            {"raw", results, true},    {"mean", moments, true}, {"rstd", moments, true}};
  for (std::int32_t i = 0; i < expected; i++) {
    const rule& r = fused ? with_norm[i] : plain[i];
    const versemi_status status = take(tensors[i], r.name, r.elements, r.optional);
    if (status.code != VERSEMI_OK) return status;
  }

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
