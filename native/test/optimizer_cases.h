// Cases of the optimiser's ops, for any device: `kernel_case` is that of kernel_test.h or one with the same members.
#ifndef VERSEMI_TEST_OPTIMIZER_CASES_H
#define VERSEMI_TEST_OPTIMIZER_CASES_H

#include "kernel_test.h"

namespace versemi_test {

template <typename kernel_case>
struct optimizer_cases {
  // Empty, tiny, just over a piece of 16384, one that spans several pieces.
  static inline const std::vector<int64_t> sizes = {3, 0, 1, 16381, 17, 40000, 8, 0};

  static doubles with_sizes(doubles attributes) {
    for (int64_t size : sizes) attributes.push_back(static_cast<double>(size));
    return attributes;
  }

  struct arena {
    std::vector<float> all;
    std::vector<std::vector<float>> parts;
    explicit arena(generator& random) {
      for (int64_t size : sizes) {
        parts.push_back(random.floats(size));
        all.insert(all.end(), parts.back().begin(), parts.back().end());
      }
    }
  };

  static void test_pack() {
    generator random(1);
    const arena gradients(random);
    for (int64_t absent_one : {-1, 3, 5}) {
      kernel_case c("pack_gradients", VERSEMI_PACK_GRADIENTS, with_sizes({double(sizes.size())}));
      doubles packed;
      double norm = 0;
      for (std::size_t i = 0; i < sizes.size(); i++) {
        const bool zero = static_cast<int64_t>(i) == absent_one;
        zero ? c.none() : c.in(gradients.parts[i]);
        for (float g : gradients.parts[i]) {
          packed.push_back(zero ? 0 : g);
          norm += zero ? 0 : static_cast<double>(g) * g;
        }
      }
      c.out(packed, 0, 0).out({norm}, 1e-7, 0).run();
    }
    kernel_case("pack_gradients of nothing", VERSEMI_PACK_GRADIENTS, {0}).out({}, 0, 0).out({0}, 0, 0).run();
    kernel_case("pack_gradients with NaN", VERSEMI_PACK_GRADIENTS, {2, 1, 2})
        .in({1}).in({NAN, 2}).out({1, std::nan(""), 2}, 0, 0).out({std::nan("")}, 0, 0).run();
  }

  static void test_adam(int step, double decay) {
    generator random(static_cast<uint64_t>(step));
    const arena gradients(random), first(random), weights(random);
    arena second(random);
    for (float& v : second.all) v = v * v;
    const double rate = 1e-3, beta1 = 0.5, beta2 = 0.999, epsilon = 1e-8, scale = 0.25;
    kernel_case c("adam_step " + std::to_string(step), VERSEMI_ADAM_STEP,
                  with_sizes({double(sizes.size()), rate, beta1, beta2, epsilon, decay, double(step), scale}));
    doubles m_out, v_out, w_out;
    std::size_t i = 0;
    std::vector<float> w_all = weights.all;
    for (; i < gradients.all.size(); i++) {
      const double g = gradients.all[i] * scale;
      const double m = beta1 * first.all[i] + (1 - beta1) * g, v = beta2 * second.all[i] + (1 - beta2) * g * g;
      m_out.push_back(m);
      v_out.push_back(v);
      const double mhat = m / (1 - std::pow(beta1, step)), vhat = v / (1 - std::pow(beta2, step));
      w_out.push_back(w_all[i] - rate * decay * w_all[i] - rate * mhat / (std::sqrt(vhat) + epsilon));
    }
    c.in(gradients.all).in_out(first.all, m_out, 2e-7, 3e-8).in_out(second.all, v_out, 4e-7, 1e-12);
    std::size_t at = 0;
    for (std::size_t k = 0; k < sizes.size(); k++) {
      const auto size = static_cast<std::size_t>(sizes[k]);
      // The update is at most about rate * 30 here; its relative error counts, not that of the weight.
      c.in_out(weights.parts[k], doubles(w_out.begin() + at, w_out.begin() + at + size), 1.2e-7, 2e-8);
      at += size;
    }
    c.run();
  }

  static void test_sgd(double decay) {
    generator random(7);
    const arena gradients(random), velocity(random), weights(random);
    const double rate = 1e-2, momentum = 0.9, scale = 0.25;
    kernel_case c("sgd_step", VERSEMI_SGD_STEP, with_sizes({double(sizes.size()), rate, momentum, decay, scale}));
    doubles v_out, w_out;
    for (std::size_t i = 0; i < gradients.all.size(); i++) {
      v_out.push_back(momentum * velocity.all[i] + scale * gradients.all[i] + decay * weights.all[i]);
      w_out.push_back(weights.all[i] - rate * v_out.back());
    }
    c.in(gradients.all).in_out(velocity.all, v_out, 4e-7, 2e-7);
    std::size_t at = 0;
    for (std::size_t k = 0; k < sizes.size(); k++) {
      const auto size = static_cast<std::size_t>(sizes[k]);
      c.in_out(weights.parts[k], doubles(w_out.begin() + at, w_out.begin() + at + size), 1.2e-7, 2e-8);
      at += size;
    }
    c.run();
  }

  static void test_ema() {
    generator random(3);
    const arena average(random), weights(random);
    kernel_case c("ema_step", VERSEMI_EMA_STEP, with_sizes({double(sizes.size()), 0.99}));
    doubles expected;
    for (std::size_t i = 0; i < average.all.size(); i++) expected.push_back(0.99 * average.all[i] + 0.01 * weights.all[i]);
    for (const std::vector<float>& part : weights.parts) c.in(part);
    c.in_out(average.all, expected, 2e-7, 2e-8).run();
  }

  static void all() {
    test_pack();
    test_adam(1, 0);
    test_adam(2, 0.01);
    test_adam(1000, 0);
    test_sgd(0);
    test_sgd(0.1);
    test_ema();
  }
};

}  // namespace versemi_test

#endif
