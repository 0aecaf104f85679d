// The dynamic head and its gradients against double: width 8 and others, features as float32 and as bfloat16.
#include "test/harness.h"
#include "test/head_reference.h"

using namespace versemi_test;

namespace {

// Fewer and more voxels than blocks and chunks hold, other widths than 8, more prompts than one pass takes.
const head_shape shapes[] = {{1, 1, 1, 8},  {2, 5, 64, 8},  {1, 2, 63, 8},   {3, 1, 65, 8},  {1, 3, 2500, 8}, {1, 19, 130, 8},
                        {2, 2, 130, 1}, {1, 2, 100, 3}, {2, 1, 77, 4},  {1, 1, 90, 16}, {1, 1, 33, 64}};

double round_bf16(double value) { return bf16_value(bf16_bits(static_cast<float>(value))); }

void test(test_context& context, const head_shape& s, storage format) {
  const head_inputs x(s);
  const std::vector<float>&features = x.features, &parameters = x.parameters, &grad = x.grad;
  const doubles& attributes = x.attributes;
  const std::string name = x.name + (format == storage::bfloat16 ? " bf16" : "");
  const double width_scale = static_cast<double>(s.width * s.width) / 8;
  // The tensor cores take hidden layers and their gradients as bfloat16.
  const expected_head exact = reference_head(s, features, parameters, grad),
                      rounded = reference_head(s, features, parameters, grad, round_bf16);
  const auto run = [&](const char* forward, const char* backward, const expected_head& expected, double more) {
    if (forward != nullptr)
      cuda_case("dynamic_head" + name, VERSEMI_DYNAMIC_HEAD, attributes).only(forward)
          .in(features, format).in(parameters).out(expected.logits, 2e-6 * more, 2e-6 * width_scale * more).run(context);
    if (backward != nullptr)
      cuda_case("dynamic_head_grad" + name, VERSEMI_DYNAMIC_HEAD_GRAD, attributes).only(backward)
          .in(grad).in(features, format).in(parameters).out(expected.grad_features, 4e-6 * more, 2e-6 * width_scale * more)
          .out(expected.grad_parameters, 4e-6 * more, 1e-6 * width_scale * more * std::sqrt(static_cast<double>(s.voxels) + 10))
          .run(context);
  };
  // So many samples that a warp takes several tiles of them.
  if (s.n > 500) return run("head-mma", s.n > 1000 ? nullptr : "head-mma", rounded, 8);
  run("head-any", "head-any", exact, 1);
  if (s.width == 8) run("head-8", nullptr, exact, 1);
  // Weights are held to 16 bits.
  if (s.width == 8 && s.prompts <= 16 && context.operands() == precision::bfloat16) run("head-mma", "head-mma", rounded, 8);
}

// A NaN in one voxel comes through to its logits and to no other voxel's.
void test_nan(test_context& context, storage format) {
  const head_shape s = {1, 2, 70, 8};
  std::vector<float> features(70 * 8, 0.5f);
  const std::vector<float> parameters(2 * 162, 0.25f);
  doubles logits = reference_head(s, features, parameters, std::vector<float>(140)).logits;
  features[8 * 40 + 3] = NAN;
  logits[40] = logits[110] = std::nan("");
  cuda_case("NaN through the head", VERSEMI_DYNAMIC_HEAD, {1, 2, 70, 8})
      .in(features, format).in(parameters).out(logits, 1e-2, 1e-5).run(context);
}

}  // namespace

int main() {
  test_context narrow(precision::bfloat16), exact(precision::float32);
  for (const head_shape& s : shapes) {
    test(exact, s, storage::float32);
    test(narrow, s, storage::bfloat16);
  }
  test(narrow, {530, 1, 300, 8}, storage::bfloat16);
  test(narrow, {1060, 1, 520, 8}, storage::bfloat16);
  test_nan(exact, storage::float32);
  test_nan(narrow, storage::bfloat16);
  return finish("cuda head");
}
