// The dynamic head and its gradients in double, and cases whose pre-activations are exact, for the tests of every device.
#ifndef VERSEMI_TEST_HEAD_REFERENCE_H
#define VERSEMI_TEST_HEAD_REFERENCE_H

#include "kernel_test.h"

namespace versemi_test {

struct head_shape {
  int64_t n, prompts, voxels, width;
};

inline int64_t head_parameter_count(int64_t width) { return 2 * width * width + 4 * width + 2; }

struct head_parameters {
  const float *w1, *w2, *w3, *b1, *b2, *b3;
  head_parameters(const float* p, int64_t w) : w1(p), w2(p + w * w), w3(p + 2 * w * w), b1(w3 + 2 * w), b2(b1 + w), b3(b2 + w) {}
};

// h = relu(W x + b); rows of W are outputs.
inline doubles head_layer(const float* weights, const float* bias, const doubles& x) {
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
// round: what hidden layers and the gradients before their ReLUs are rounded with, where a device takes them so.
inline expected_head reference_head(const head_shape& s, const std::vector<float>& features, const std::vector<float>& parameters,
                                    const std::vector<float>& grad, double (*round)(double) = nullptr) {
  const auto rounded = [&](doubles values) {
    if (round != nullptr)
      for (double& value : values) value = round(value);
    return values;
  };
  const int64_t count = head_parameter_count(s.width), w = s.width;
  expected_head r{doubles(grad.size()), doubles(features.size()), doubles(parameters.size())};
  for (int64_t row = 0; row < s.n * s.prompts; row++) {
    const int64_t n = row / s.prompts;
    const head_parameters h(parameters.data() + row * count, w);
    double *g1 = r.grad_parameters.data() + row * count, *g2 = g1 + w * w, *g3 = g2 + w * w, *t1 = g3 + 2 * w, *t2 = t1 + w,
           *t3 = t2 + w;
    for (int64_t v = 0; v < s.voxels; v++) {
      const float* f = features.data() + (n * s.voxels + v) * w;
      const doubles x(f, f + w), h1 = rounded(head_layer(h.w1, h.b1, x)), h2 = head_layer(h.w2, h.b2, h1), h2_read = rounded(h2);
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

// Multiples of 1/16 and a shift: pre-activations are exact, so that no ReLU differs from the reference by its rounding; all of
// them are bfloat16 numbers too.
struct head_inputs {
  std::vector<float> features, parameters, grad;
  doubles attributes;
  std::string name;
  explicit head_inputs(const head_shape& s)
      : attributes{double(s.n), double(s.prompts), double(s.voxels), double(s.width)},
        name(" [" + std::to_string(s.n) + ", " + std::to_string(s.prompts) + ", " + std::to_string(s.voxels) + "] width " +
             std::to_string(s.width)) {
    generator random(static_cast<uint64_t>(s.n + 3 * s.prompts + 5 * s.voxels + 7 * s.width));
    const auto coarse = [&](int64_t size, float shift) {
      std::vector<float> values = random.floats(size);
      for (float& value : values) value = std::round(value * 16) / 16 + shift;
      return values;
    };
    features = coarse(s.n * s.voxels * s.width, 1.0f / 32);
    parameters = coarse(s.n * s.prompts * head_parameter_count(s.width), 1.0f / 64);
    grad = coarse(s.n * s.prompts * s.voxels, 0);
  }
};

}  // namespace versemi_test

#endif
