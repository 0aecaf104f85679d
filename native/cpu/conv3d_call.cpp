#include "conv3d_call.h"

namespace versemi {
namespace {

struct buffer_rule {
  const char* name;
  int64_t count;  // floats
  bool optional;
  float** target;
};

template <std::size_t size>
versemi_status take_buffers(const buffer_rule (&rules)[size], const versemi_buffer* buffers,
                            int32_t buffer_count) noexcept {
  if (buffer_count != static_cast<int32_t>(size))
    return failure(VERSEMI_INVALID_ARGUMENT, "expected %d buffers, found %d", static_cast<int>(size), buffer_count);
  for (std::size_t i = 0; i < size; i++) {
    const buffer_rule& rule = rules[i];
    const versemi_buffer& buffer = buffers[i];
    *rule.target = static_cast<float*>(buffer.data);
    if (buffer.data == nullptr) {
      if (!rule.optional) return failure(VERSEMI_INVALID_ARGUMENT, "the buffer `%s` is missing", rule.name);
      continue;
    }
    const long long expected = rule.count * static_cast<int64_t>(sizeof(float));
    if (buffer.bytes < expected)
      return failure(VERSEMI_INVALID_ARGUMENT, "the buffer `%s` has %lld bytes, expected %lld", rule.name,
                     static_cast<long long>(buffer.bytes), expected);
  }
  return ok();
}

versemi_status read_problem(versemi_conv_problem* problem, const double* attributes, int32_t attribute_count,
                            int32_t expected_count) noexcept {
  if (attribute_count != expected_count)
    return failure(VERSEMI_INVALID_ARGUMENT, "expected %d attributes, found %d", expected_count, attribute_count);
  const char* reason = versemi_read_conv_problem(problem, attributes, attribute_count);
  return reason == nullptr ? ok() : failure(VERSEMI_INVALID_ARGUMENT, "%s", reason);
}

}  // namespace

versemi_status read_conv3d_forward(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                   const double* attributes, int32_t attribute_count) noexcept {
  const versemi_status status = read_problem(&call->problem, attributes, attribute_count, VERSEMI_CONV_ATTRIBUTES);
  if (status.code != VERSEMI_OK) return status;
  const versemi_conv_problem* p = &call->problem;
  const buffer_rule rules[] = {
      {"input", versemi_conv_input_count(p), false, &call->input},
      {"weight", versemi_conv_weight_count(p), false, &call->weight},
      {"bias", p->out_channels, true, &call->bias},
      {"output", versemi_conv_output_count(p), false, &call->output},
  };
  return take_buffers(rules, buffers, buffer_count);
}

versemi_status read_conv3d_grad_input(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                      const double* attributes, int32_t attribute_count) noexcept {
  const versemi_status status = read_problem(&call->problem, attributes, attribute_count, VERSEMI_CONV_ATTRIBUTES);
  if (status.code != VERSEMI_OK) return status;
  const versemi_conv_problem* p = &call->problem;
  const buffer_rule rules[] = {
      {"gradOutput", versemi_conv_output_count(p), false, &call->output},
      {"weight", versemi_conv_weight_count(p), false, &call->weight},
      {"bias", p->in_channels, true, &call->bias},
      {"gradInput", versemi_conv_input_count(p), false, &call->input},
  };
  return take_buffers(rules, buffers, buffer_count);
}

versemi_status read_conv3d_grad_weight(conv3d_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                       const double* attributes, int32_t attribute_count) noexcept {
  const versemi_status status = read_problem(&call->problem, attributes, attribute_count, VERSEMI_CONV_ATTRIBUTES);
  if (status.code != VERSEMI_OK) return status;
  const versemi_conv_problem* p = &call->problem;
  const buffer_rule rules[] = {
      {"input", versemi_conv_input_count(p), false, &call->input},
      {"gradOutput", versemi_conv_output_count(p), false, &call->output},
      {"gradWeight", versemi_conv_weight_count(p), false, &call->weight},
      {"gradBias", p->out_channels, true, &call->bias},
  };
  return take_buffers(rules, buffers, buffer_count);
}

versemi_status read_conv3d_norm_relu(conv3d_norm_call* call, const versemi_buffer* buffers, int32_t buffer_count,
                                     const double* attributes, int32_t attribute_count) noexcept {
  const versemi_status status = read_problem(&call->problem, attributes, attribute_count, VERSEMI_CONV_ATTRIBUTES + 3);
  if (status.code != VERSEMI_OK) return status;
  call->transposed = attributes[VERSEMI_CONV_ATTRIBUTES] != 0;
  call->relu = attributes[VERSEMI_CONV_ATTRIBUTES + 1] != 0;
  call->epsilon = attributes[VERSEMI_CONV_ATTRIBUTES + 2];
  const versemi_conv_problem* p = &call->problem;
  const int64_t in = versemi_conv_input_count(p), out = versemi_conv_output_count(p);
  const int64_t result = call->transposed ? in : out, statistics = p->n * call->channels();
  float *source = nullptr, *weight = nullptr, *skip = nullptr;
  const buffer_rule rules[] = {
      {"input", call->transposed ? out : in, false, &source},
      {"weight", versemi_conv_weight_count(p), false, &weight},
      {"skip", result, true, &skip},
      {"output", result, false, &call->result},
      {"raw", result, true, &call->raw},
      {"mean", statistics, true, &call->mean},
      {"rstd", statistics, true, &call->rstd},
  };
  const versemi_status taken = take_buffers(rules, buffers, buffer_count);
  call->source = source;
  call->weight = weight;
  call->skip = skip;
  return taken;
}

}  // namespace versemi
