// Instance and batch normalisation with ReLU, and their gradients.
#include "kernel_test.h"

using namespace versemi_test;

namespace {

struct shape {
  int64_t n, voxels, channels;
};
// Channels that divide a vector, that are divided by one, and neither; one and several chunks; one voxel.
const shape shapes[] = {{1, 1, 1},   {2, 7, 3},   {1, 40000, 1}, {2, 9001, 8},  {1, 4097, 16}, {3, 33, 5},
                        {2, 500, 20}, {1, 700, 64}, {2, 27, 130}, {1, 3, 256},   {1, 5000, 12}, {1, 2049, 32}};

std::string text(const char* name, const shape& s, bool relu) {
  return std::string(name) + " [" + std::to_string(s.n) + ", " + std::to_string(s.voxels) + ", " +
         std::to_string(s.channels) + "]" + (relu ? " relu" : "");
}

struct statistics {
  doubles mean, variance;
};
// Of x [n, voxels, channels], per sample and channel; two passes.
statistics statistics_of(const std::vector<float>& x, const shape& s) {
  statistics r{doubles(s.n * s.channels), doubles(s.n * s.channels)};
  for (int64_t n = 0; n < s.n; n++)
    for (int64_t c = 0; c < s.channels; c++) {
      const auto at = [&](int64_t v) { return static_cast<double>(x[(n * s.voxels + v) * s.channels + c]); };
      double mean = 0, variance = 0;
      for (int64_t v = 0; v < s.voxels; v++) mean += at(v);
      mean /= s.voxels;
      for (int64_t v = 0; v < s.voxels; v++) variance += (at(v) - mean) * (at(v) - mean);
      r.mean[n * s.channels + c] = mean;
      r.variance[n * s.channels + c] = variance / s.voxels;
    }
  return r;
}

std::vector<float> to_floats(const doubles& values) { return std::vector<float>(values.begin(), values.end()); }

void test_instance(const shape& s, bool relu) {
  generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels));
  const double epsilon = 1e-5;
  const int64_t count = s.n * s.voxels * s.channels;
  const std::vector<float> x = random.floats(count, 3.0f), grad = random.floats(count);
  const statistics stats = statistics_of(x, s);
  doubles rstd(stats.variance), y(count), grad_x(count);
  for (double& value : rstd) value = 1 / std::sqrt(value + epsilon);
  // The gradient is defined on the rounded statistics that the forward pass wrote.
  const std::vector<float> mean_in = to_floats(stats.mean), rstd_in = to_floats(rstd);
  for (int64_t n = 0; n < s.n; n++)
    for (int64_t c = 0; c < s.channels; c++) {
      const int64_t row = n * s.channels + c;
      double sum_g = 0, sum_gx = 0;
      const auto index = [&](int64_t v) { return (n * s.voxels + v) * s.channels + c; };
      const auto xhat = [&](int64_t v) { return (static_cast<double>(x[index(v)]) - mean_in[row]) * rstd_in[row]; };
      const auto g = [&](int64_t v) { return relu && !(x[index(v)] - mean_in[row] > 0) ? 0.0 : static_cast<double>(grad[index(v)]); };
      for (int64_t v = 0; v < s.voxels; v++) {
        const double value = (x[index(v)] - stats.mean[row]) * rstd[row];
        y[index(v)] = relu && value < 0 ? 0 : value;
        sum_g += g(v);
        sum_gx += g(v) * xhat(v);
      }
      for (int64_t v = 0; v < s.voxels; v++)
        grad_x[index(v)] = rstd_in[row] * (g(v) - sum_g / s.voxels - xhat(v) * sum_gx / s.voxels);
    }
  const double flag = relu ? 1 : 0, n = s.n, voxels = s.voxels, channels = s.channels;
  // One voxel: variance 0, rstd 316, so that the rounding of the mean is magnified.
  const double absolute = s.voxels == 1 ? 1e-3 : 4e-6, scale = s.voxels == 1 ? 317 : s.voxels < 10 ? 40 : 4;
  kernel_case(text("instance_norm_relu", s, relu), VERSEMI_INSTANCE_NORM_RELU, {n, voxels, channels, flag, epsilon})
      .in(x).out(y, 2e-6, absolute).out(stats.mean, 2e-7, 2e-7).out(rstd, 1e-5, 0).run();
  kernel_case(text("instance_norm_relu without statistics", s, relu), VERSEMI_INSTANCE_NORM_RELU, {n, voxels, channels, flag, epsilon})
      .in(x).out(y, 2e-6, absolute).none().none().run();
  kernel_case(text("instance_norm_relu_grad", s, relu), VERSEMI_INSTANCE_NORM_RELU_GRAD, {n, voxels, channels, flag})
      .in(grad).in(x).in(mean_in).in(rstd_in).out(grad_x, 1e-5, 2e-6 * scale).run();
}

void test_batch(const shape& s, bool relu, bool training) {
  generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels + 7));
  const double epsilon = 1e-3;
  const int64_t rows = s.n * s.voxels, count = rows * s.channels;
  const std::vector<float> x = random.floats(count, -1.5f), grad = random.floats(count), gamma = random.floats(s.channels),
                           beta = random.floats(s.channels), moving_mean = random.floats(s.channels, -1.5f);
  std::vector<float> moving_variance = random.floats(s.channels, 1.5f);
  statistics stats = statistics_of(x, {1, rows, s.channels});
  const std::vector<float> mean_in = to_floats(stats.mean), variance_in = to_floats(stats.variance);
  doubles y(count), grad_x(count), grad_gamma(s.channels), grad_beta(s.channels);
  for (int64_t c = 0; c < s.channels; c++) {
    const double mean = training ? mean_in[c] : moving_mean[c], variance = training ? variance_in[c] : moving_variance[c];
    const double rstd = 1 / std::sqrt(variance + epsilon);
    const auto xhat = [&](int64_t r) { return (static_cast<double>(x[r * s.channels + c]) - mean) * rstd; };
    const auto value = [&](int64_t r) { return xhat(r) * gamma[c] + beta[c]; };
    const auto g = [&](int64_t r) { return relu && !(value(r) > 0) ? 0.0 : static_cast<double>(grad[r * s.channels + c]); };
    for (int64_t r = 0; r < rows; r++) {
      y[r * s.channels + c] = relu && value(r) < 0 ? 0 : value(r);
      grad_beta[c] += g(r);
      grad_gamma[c] += g(r) * xhat(r);
    }
    for (int64_t r = 0; r < rows; r++)
      grad_x[r * s.channels + c] = gamma[c] * rstd * (g(r) - grad_beta[c] / rows - xhat(r) * grad_gamma[c] / rows);
  }
  const double flag = relu ? 1 : 0, height = rows, channels = s.channels;
  const double sum_error = 4e-7 * std::sqrt(static_cast<double>(rows)) + 1e-5;
  kernel_case forward(text(training ? "batch_norm_relu training" : "batch_norm_relu", s, relu), VERSEMI_BATCH_NORM_RELU,
                      {height, channels, training ? 1.0 : 0.0, flag, epsilon});
  forward.in(x).in(gamma).in(beta);
  if (training) {
    forward.none().none().out(y, 4e-6, 4e-6).out(stats.mean, 2e-7, 2e-7).out(stats.variance, 1e-6, 1e-9).run();
    kernel_case(text("batch_norm_relu_grad", s, relu), VERSEMI_BATCH_NORM_RELU_GRAD, {height, channels, flag, epsilon})
        .in(grad).in(x).in(gamma).in(beta).in(mean_in).in(variance_in)
        .out(grad_x, 1e-5, rows < 10 ? 1e-4 : 1e-5).out(grad_gamma, 1e-5, sum_error).out(grad_beta, 1e-5, sum_error).run();
  } else {
    forward.in(moving_mean).in(moving_variance).out(y, 4e-6, 4e-6).none().none().run();
  }
}

void test_constants() {
  // A constant channel with a large mean: variance 0 exactly, output 0, not amplified rounding noise.
  const std::vector<float> x(3 * 1000, 1000.1f);
  kernel_case("a constant channel", VERSEMI_INSTANCE_NORM_RELU, {1, 1000, 3, 0, 1e-5})
      .in(x).out(doubles(3000, 0.0), 0, 0).out(doubles(3, 1000.1f), 0, 0).out(doubles(3, 1 / std::sqrt(1e-5)), 1e-3, 0).run();
  // One NaN makes its channel NaN, in the sample where it is, and leaves the others alone.
  std::vector<float> y(2 * 50 * 2);
  for (std::size_t i = 0; i < y.size(); i++) y[i] = i % 4 < 2 ? 1.0f : -1.0f;
  y[1] = std::nanf("");
  doubles expected(y.size());
  for (std::size_t i = 0; i < y.size(); i++) expected[i] = i < 100 && i % 2 == 1 ? std::nan("") : y[i] > 0 ? 1 : 0;
  kernel_case("NaN comes through", VERSEMI_INSTANCE_NORM_RELU, {2, 50, 2, 1, 0})
      .in(y).out(expected, 1e-6, 0).none().none().run();
}

}  // namespace

int main() {
  for (const shape& s : shapes)
    for (bool relu : {false, true}) {
      test_instance(s, relu);
      for (bool training : {false, true}) test_batch(s, relu, training);
    }
  test_constants();
  return finish("norm");
}
