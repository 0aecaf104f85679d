// Cases of the overlap sums, the aggregate and their gradients, for any device: `kernel_case` is that of kernel_test.h or one
// with the same members.
#ifndef VERSEMI_TEST_LOSS_CASES_H
#define VERSEMI_TEST_LOSS_CASES_H

#include "kernel_test.h"

namespace versemi_test {

template <typename kernel_case>
struct loss_cases {
  static constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  static double softplus(double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))); }

  // Logits from certain background to certain foreground.
  static std::vector<float> logits_of(generator& random, int64_t count) {
    std::vector<float> values = random.floats(count);
    for (float& value : values) value = value * value * value * 30;
    return values;
  }

  static void test_sums(int64_t row_count, bool masked, bool soft, int64_t rows = 1) {
    const int64_t count = rows * row_count;
    generator random(static_cast<uint64_t>(count * 4 + masked * 2 + soft));
    const std::vector<float> x = logits_of(random, count), first = {0.5f, -0.25f, 0.75f, 2.0f, 9.0f};
    std::vector<float> grads;
    for (int64_t row = 0; row < rows; row++)
      for (float g : first) grads.push_back(g * static_cast<float>(row + 1));
    std::vector<float> y = random.floats(count), m = random.floats(count);
    for (int64_t i = 0; i < count; i++) {
      y[i] = soft ? std::fabs(y[i]) : y[i] > 0 ? 1.0f : 0.0f;
      m[i] = m[i] > -0.2f ? 1.0f : 0.0f;
    }
    doubles all_sums(5 * rows, 0.0), grad_logits(count), grad_target(count);
    for (int64_t i = 0; i < count; i++) {
      double* sums = all_sums.data() + 5 * (i / row_count);
      const float* grad = grads.data() + 5 * (i / row_count);
      const double target = y[i], logit = x[i], mask = masked ? m[i] : 1, s = sigmoid(logit), p = s * mask, t = target * mask;
      sums[0] += p * t;
      sums[1] += p * p;
      sums[2] += t * t;
      // (1 - y) softplus(x) + y softplus(-x): the same as softplus(x) - y x, without cancellation
      sums[3] += mask * ((1 - target) * softplus(logit) + target * softplus(-logit));
      sums[4] += mask;
      const double slope = s * sigmoid(-logit) * mask, residual = (1 - target) * s - target * sigmoid(-logit);
      grad_logits[i] = (grad[0] * t + 2 * grad[1] * p) * slope + grad[3] * mask * residual;
      grad_target[i] = mask * (grad[0] * p + 2 * grad[2] * t - grad[3] * logit);
    }
    const std::string name = " of " + std::to_string(rows) + " x " + std::to_string(row_count) + (masked ? " masked" : "") + (soft ? " soft" : "");
    const doubles attributes = {static_cast<double>(rows), static_cast<double>(row_count)};
    const auto with_mask = [&](kernel_case c) { return masked ? c.in(m) : c.none(); };
    with_mask(kernel_case("overlap_sums" + name, VERSEMI_OVERLAP_SUMS, attributes).in(x).in(y)).out(all_sums, 4e-7, 1e-30).run();
    const double close = soft ? 2e-6 : 1e-6;
    const kernel_case grad_case =
        with_mask(kernel_case("overlap_sums_grad" + name, VERSEMI_OVERLAP_SUMS_GRAD, attributes).in(grads).in(x).in(y));
    kernel_case(grad_case).out(grad_logits, close, soft ? 1e-6 : 1e-12).out(grad_target, 1e-6, 1e-6).run();
    kernel_case(grad_case).out(grad_logits, close, soft ? 1e-6 : 1e-12).none().run();
    kernel_case(grad_case).none().out(grad_target, 1e-6, 1e-6).run();
  }

  // Voxels that are classified with certainty add about e^-20 each: a sum of them must not drown in rounding.
  static void test_certain() {
    const std::vector<float> x(1000, -20.0f), y(1000, 0.0f);
    const double p = sigmoid(-20), loss = softplus(-20);
    kernel_case("certain background", VERSEMI_OVERLAP_SUMS, {1, 1000})
        .in(x).in(y).none().out({0, 1000 * p * p, 0, 1000 * loss, 1000}, 1e-6, 0).run();
    const std::vector<float> extremes = {-1000, 1000, 0, -INFINITY, INFINITY}, ones(5, 1.0f);
    kernel_case("extreme logits", VERSEMI_OVERLAP_SUMS_GRAD, {1, 5})
        .in({1, 1, 1, 1, 1}).in(extremes).in(ones).none().out({-1, 0, 0.25 + 0.25 - 0.5, -1, 0}, 1e-6, 1e-7).none().run();
    kernel_case("NaN comes through", VERSEMI_OVERLAP_SUMS, {1, 3})
        .in({0, NAN, 0}).in({1, 1, 1}).none().out({not_a_number, not_a_number, 3, not_a_number, 3}, 0, 0).run();
  }

  static void test_aggregate(int64_t n, int64_t prompts, int64_t voxels, int64_t real) {
    generator random(static_cast<uint64_t>(n + prompts * 7 + voxels * 11 + real));
    std::vector<float> x = random.floats(n * prompts * voxels);
    for (float& value : x) value = std::round(value * 4);  // many ties
    const std::vector<float> grad = random.floats(n * voxels);
    doubles aggregate(n * voxels), grad_x(x.size(), 0.0);
    for (int64_t s = 0; s < n; s++)
      for (int64_t v = 0; v < voxels; v++) {
        int64_t best = 0;
        const auto at = [&](int64_t k) { return (s * prompts + k) * voxels + v; };
        for (int64_t k = 1; k < real; k++)
          if (x[at(k)] > x[at(best)]) best = k;
        const double p = sigmoid(x[at(best)]);
        aggregate[s * voxels + v] = p;
        grad_x[at(best)] = grad[s * voxels + v] * p * (1 - p);
      }
    const doubles attributes = {double(n), double(prompts), double(voxels), double(real)};
    const std::string name = " [" + std::to_string(n) + ", " + std::to_string(real) + " of " + std::to_string(prompts) + ", " +
                             std::to_string(voxels) + "]";
    kernel_case("aggregate_max" + name, VERSEMI_AGGREGATE_MAX, attributes).in(x).out(aggregate, 4e-7, 0).run();
    kernel_case("aggregate_max_grad" + name, VERSEMI_AGGREGATE_MAX_GRAD, attributes).in(grad).in(x).out(grad_x, 1e-6, 0).run();
  }

  // Special numbers, and the shapes that every device takes.
  static void small() {
    test_certain();
    test_aggregate(1, 1, 1, 1);
    test_aggregate(2, 5, 33, 4);
    test_aggregate(3, 4, 7, 1);
    kernel_case("aggregate_max of NaN", VERSEMI_AGGREGATE_MAX, {1, 3, 2, 3})
        .in({1, 1, NAN, 2, 5, 0}).out({not_a_number, sigmoid(2)}, 1e-6, 0).run();
    kernel_case("aggregate_max_grad of NaN", VERSEMI_AGGREGATE_MAX_GRAD, {1, 3, 2, 3})
        .in({1, 1}).in({1, 1, NAN, 2, 5, 0}).out({0, 0, not_a_number, sigmoid(2) * sigmoid(-2), 0, 0}, 1e-6, 0).run();
  }
  static void sums_of(int64_t count) {
    for (bool masked : {false, true})
      for (bool soft : {false, true})
        for (int64_t rows : {1, 3}) test_sums(count, masked, soft, rows);
  }
};

}  // namespace versemi_test

#endif
