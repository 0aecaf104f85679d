// The dynamic head and its gradients against double: width 8 and others, features as float32 and as bfloat16.
#include "harness.h"

using namespace versemi_test;

namespace {

struct shape {
  int64_t n, prompts, voxels, width;
};
// Fewer and more voxels than blocks and chunks hold, other widths than 8, more prompts than one pass takes.
const shape shapes[] = {{1, 1, 1, 8},  {2, 5, 64, 8},  {1, 2, 63, 8},   {3, 1, 65, 8},  {1, 3, 2500, 8}, {1, 19, 130, 8},
                        {2, 2, 130, 1}, {1, 2, 100, 3}, {2, 1, 77, 4},  {1, 1, 90, 16}, {1, 1, 33, 64}};

int64_t parameter_count(int64_t width) { return 2 * width * width + 4 * width + 2; }

struct head {
  const float *w1, *w2, *w3, *b1, *b2, *b3;
  head(const float* p, int64_t w) : w1(p), w2(p + w * w), w3(p + 2 * w * w), b1(w3 + 2 * w), b2(b1 + w), b3(b2 + w) {}
};

double round_bf16(double value) { return bf16_value(bf16_bits(static_cast<float>(value))); }

// h = relu(W x + b); rows of W are outputs.
doubles layer(const float* weights, const float* bias, const doubles& x) {
  doubles h(x.size());
  for (std::size_t j = 0; j < x.size(); j++) {
    h[j] = bias[j];
    for (std::size_t k = 0; k < x.size(); k++) h[j] += weights[j * x.size() + k] * x[k];
    if (h[j] < 0) h[j] = 0;
  }
  return h;
}

struct expected_head {
  doubles logits, grad_features, grad_parameters;
};
// rounds: hidden layers and the gradients before their ReLUs are rounded to bfloat16, as the tensor cores take them.
expected_head reference(const shape& s, const std::vector<float>& features, const std::vector<float>& parameters,
                        const std::vector<float>& grad, bool rounds) {
  const auto rounded = [&](doubles values) {
    if (rounds)
      for (double& value : values) value = round_bf16(value);
    return values;
  };
  const int64_t count = parameter_count(s.width), w = s.width;
  expected_head r{doubles(grad.size()), doubles(features.size()), doubles(parameters.size())};
  for (int64_t row = 0; row < s.n * s.prompts; row++) {
    const int64_t n = row / s.prompts;
    const head h(parameters.data() + row * count, w);
    double *g1 = r.grad_parameters.data() + row * count, *g2 = g1 + w * w, *g3 = g2 + w * w, *t1 = g3 + 2 * w, *t2 = t1 + w,
           *t3 = t2 + w;
    for (int64_t v = 0; v < s.voxels; v++) {
      const float* f = features.data() + (n * s.voxels + v) * w;
      const doubles x(f, f + w), h1 = rounded(layer(h.w1, h.b1, x)), h2 = layer(h.w2, h.b2, h1), h2_read = rounded(h2);
      double out[2] = {h.b3[0], h.b3[1]};
      for (int o = 0; o < 2; o++)
        for (int64_t k = 0; k < w; k++) out[o] += h.w3[o * w + k] * h2_read[k];
      r.logits[row * s.voxels + v] = out[1] - out[0];
      doubles d2(w), d1(w, 0.0);
      for (int o = 0; o < 2; o++) {
        const double d = o == 1 ? grad[row * s.voxels + v] : -grad[row * s.voxels + v];
        t3[o] += d;
        for (int64_t k = 0; k < w; k++) {
          g3[o * w + k] += d * h2[k];
          if (h2[k] > 0) d2[k] += d * h.w3[o * w + k];
        }
      }
      d2 = rounded(d2);
      for (int64_t j = 0; j < w; j++) {
        t2[j] += d2[j];
        for (int64_t k = 0; k < w; k++) {
          g2[j * w + k] += d2[j] * h1[k];
          if (h1[k] > 0) d1[k] += d2[j] * h.w2[j * w + k];
        }
      }
      d1 = rounded(d1);
      for (int64_t j = 0; j < w; j++) {
        t1[j] += d1[j];
        for (int64_t k = 0; k < w; k++) {
          g1[j * w + k] += d1[j] * x[k];
          r.grad_features[(n * s.voxels + v) * w + k] += d1[j] * h.w1[j * w + k];
        }
      }
    }
  }
  return r;
}

void test(test_context& context, const shape& s, storage format) {
  generator random(static_cast<uint64_t>(s.n + 3 * s.prompts + 5 * s.voxels + 7 * s.width));
  // Multiples of 1/16: pre-activations are exact, so that no ReLU differs from the reference by its rounding; all of them are
  // bfloat16 numbers too.
  const auto coarse = [&](int64_t size, float shift) {
    std::vector<float> values = random.floats(size);
    for (float& value : values) value = std::round(value * 16) / 16 + shift;
    return values;
  };
  const std::vector<float> features = coarse(s.n * s.voxels * s.width, 1.0f / 32),
                           parameters = coarse(s.n * s.prompts * parameter_count(s.width), 1.0f / 64),
                           grad = coarse(s.n * s.prompts * s.voxels, 0);
  const doubles attributes = {double(s.n), double(s.prompts), double(s.voxels), double(s.width)};
  const std::string name = " [" + std::to_string(s.n) + ", " + std::to_string(s.prompts) + ", " + std::to_string(s.voxels) +
                           "] width " + std::to_string(s.width) + (format == storage::bfloat16 ? " bf16" : "");
  const double width_scale = static_cast<double>(s.width * s.width) / 8;
  const expected_head exact = reference(s, features, parameters, grad, false), rounded = reference(s, features, parameters, grad, true);
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
  const shape s = {1, 2, 70, 8};
  std::vector<float> features(70 * 8, 0.5f);
  const std::vector<float> parameters(2 * 162, 0.25f);
  doubles logits = reference(s, features, parameters, std::vector<float>(140), false).logits;
  features[8 * 40 + 3] = NAN;
  logits[40] = logits[110] = std::nan("");
  cuda_case("NaN through the head", VERSEMI_DYNAMIC_HEAD, {1, 2, 70, 8})
      .in(features, format).in(parameters).out(logits, 1e-2, 1e-5).run(context);
}

}  // namespace

int main() {
  test_context narrow(precision::bfloat16), exact(precision::float32);
  for (const shape& s : shapes) {
    test(exact, s, storage::float32);
    test(narrow, s, storage::bfloat16);
  }
  test(narrow, {530, 1, 300, 8}, storage::bfloat16);
  test(narrow, {1060, 1, 520, 8}, storage::bfloat16);
  test_nan(exact, storage::float32);
  test_nan(narrow, storage::bfloat16);
  return finish("cuda head");
}
