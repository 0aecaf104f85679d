// The dynamic head and its gradients, for the width with unrolled loops (8) and others.
#include "kernel_test.h"

using namespace versemi_test;

namespace {

struct shape {
  int64_t n, prompts, voxels, width;
};
// Blocks are 64 voxels, float sums end after 4096, chunks are longer above 64 * 4096 voxels.
const shape shapes[] = {{1, 1, 1, 8},   {2, 5, 64, 8}, {1, 2, 63, 8},  {3, 1, 65, 8}, {1, 3, 9001, 8}, {2, 2, 130, 1},
                        {1, 2, 300, 3}, {2, 1, 77, 4}, {1, 2, 200, 5}, {1, 1, 90, 16}, {1, 1, 270000, 8}};

int64_t parameter_count(int64_t width) { return 2 * width * width + 4 * width + 2; }

struct head {
  const float *w1, *w2, *w3, *b1, *b2, *b3;
  int64_t width;
  head(const float* p, int64_t w)
      : w1(p), w2(p + w * w), w3(p + 2 * w * w), b1(w3 + 2 * w), b2(b1 + w), b3(b2 + w), width(w) {}
};

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

void test(const shape& s) {
  generator random(static_cast<uint64_t>(s.n + 3 * s.prompts + 5 * s.voxels + 7 * s.width));
  const int64_t count = parameter_count(s.width), w = s.width;
  // Multiples of 1/16: pre-activations are exact, so that no ReLU differs from the reference by its rounding.
  const auto coarse = [&](int64_t size) {
    std::vector<float> values = random.floats(size);
    for (float& value : values) value = std::round(value * 16) / 16 + 1.0f / 64;
    return values;
  };
  const std::vector<float> features = coarse(s.n * s.voxels * w), parameters = coarse(s.n * s.prompts * count),
                           grad = random.floats(s.n * s.prompts * s.voxels);
  doubles logits(s.n * s.prompts * s.voxels), grad_features(features.size(), 0.0), grad_parameters(parameters.size(), 0.0);
  for (int64_t n = 0; n < s.n; n++)
    for (int64_t p = 0; p < s.prompts; p++) {
      const head h(parameters.data() + (n * s.prompts + p) * count, w);
      double* g = grad_parameters.data() + (n * s.prompts + p) * count;
      double *g1 = g, *g2 = g + w * w, *g3 = g + 2 * w * w, *t1 = g3 + 2 * w, *t2 = t1 + w, *t3 = t2 + w;
      for (int64_t v = 0; v < s.voxels; v++) {
        const float* f = features.data() + (n * s.voxels + v) * w;
        const doubles x(f, f + w), h1 = layer(h.w1, h.b1, x), h2 = layer(h.w2, h.b2, h1);
        double out[2] = {h.b3[0], h.b3[1]};
        for (int r = 0; r < 2; r++)
          for (int64_t k = 0; k < w; k++) out[r] += h.w3[r * w + k] * h2[k];
        const int64_t at = (n * s.prompts + p) * s.voxels + v;
        logits[at] = out[1] - out[0];
        doubles d2(w), d1(w, 0.0);
        for (int r = 0; r < 2; r++) {
          const double d = r == 1 ? grad[at] : -grad[at];
          t3[r] += d;
          for (int64_t k = 0; k < w; k++) {
            g3[r * w + k] += d * h2[k];
            if (h2[k] > 0) d2[k] += d * h.w3[r * w + k];
          }
        }
        for (int64_t j = 0; j < w; j++) {
          t2[j] += d2[j];
          for (int64_t k = 0; k < w; k++) {
            g2[j * w + k] += d2[j] * h1[k];
            if (h1[k] > 0) d1[k] += d2[j] * h.w2[j * w + k];
          }
        }
        for (int64_t j = 0; j < w; j++) {
          t1[j] += d1[j];
          for (int64_t k = 0; k < w; k++) {
            g1[j * w + k] += d1[j] * x[k];
            grad_features[(n * s.voxels + v) * w + k] += d1[j] * h.w1[j * w + k];
          }
        }
      }
    }
  const doubles attributes = {double(s.n), double(s.prompts), double(s.voxels), double(s.width)};
  const std::string name = " [" + std::to_string(s.n) + ", " + std::to_string(s.prompts) + ", " + std::to_string(s.voxels) +
                           "] width " + std::to_string(s.width);
  const double width_scale = static_cast<double>(w * w) / 8;
  kernel_case("dynamic_head" + name, VERSEMI_DYNAMIC_HEAD, attributes)
      .in(features).in(parameters).out(logits, 2e-6, 2e-6 * width_scale).run();
  kernel_case("dynamic_head_grad" + name, VERSEMI_DYNAMIC_HEAD_GRAD, attributes)
      .in(grad).in(features).in(parameters).out(grad_features, 4e-6, 2e-6 * width_scale)
      .out(grad_parameters, 4e-6, 1e-6 * width_scale * std::sqrt(static_cast<double>(s.voxels) + 10)).run();
}

}  // namespace

int main() {
  for (const shape& s : shapes) test(s);
  return finish("head");
}
