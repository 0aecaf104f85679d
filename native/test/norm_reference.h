// Instance and batch normalisation with ReLU and their gradients in double, for the tests of every device.
#ifndef VERSEMI_TEST_NORM_REFERENCE_H
#define VERSEMI_TEST_NORM_REFERENCE_H

#include "kernel_test.h"

namespace versemi_test {

struct norm_shape {
  int64_t n, voxels, channels;
};

inline std::string text(const char* name, const norm_shape& s, bool relu) {
  return std::string(name) + " [" + std::to_string(s.n) + ", " + std::to_string(s.voxels) + ", " + std::to_string(s.channels) +
         "]" + (relu ? " relu" : "");
}

inline std::vector<float> to_floats(const doubles& values) { return std::vector<float>(values.begin(), values.end()); }

struct statistics {
  doubles mean, variance;
};
// Of x [n, voxels, channels], per sample and channel; two passes.
inline statistics statistics_of(const std::vector<float>& x, const norm_shape& s) {
  statistics r{doubles(s.n * s.channels), doubles(s.n * s.channels)};
  for (int64_t i = 0; i < s.n * s.channels; i++) {
    const auto at = [&](int64_t v) { return static_cast<double>(x[(i / s.channels * s.voxels + v) * s.channels + i % s.channels]); };
    double mean = 0, variance = 0;
    for (int64_t v = 0; v < s.voxels; v++) mean += at(v);
    mean /= static_cast<double>(s.voxels);
    for (int64_t v = 0; v < s.voxels; v++) variance += (at(v) - mean) * (at(v) - mean);
    r.mean[i] = mean;
    r.variance[i] = variance / static_cast<double>(s.voxels);
  }
  return r;
}

// Numbers as a device stores them; nullptr: as they are.
using stored_as = std::vector<float> (*)(std::vector<float>);

// Inputs and what is expected of them. The gradient is defined on the rounded statistics that the forward pass wrote.
struct instance_reference {
  std::vector<float> x, grad, mean_in, rstd_in;
  doubles mean, rstd, y, grad_x;
  double epsilon = 1e-5;

  instance_reference(const norm_shape& s, bool relu, stored_as stored = nullptr) {
    generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels));
    const double voxels = static_cast<double>(s.voxels);
    const int64_t count = s.n * s.voxels * s.channels;
    x = random.floats(count, 3.0f);
    grad = random.floats(count);
    if (stored != nullptr) x = stored(x), grad = stored(grad);
    const statistics stats = statistics_of(x, s);
    mean = stats.mean;
    rstd = stats.variance;
    y.resize(count);
    grad_x.resize(count);
    for (double& value : rstd) value = 1 / std::sqrt(value + epsilon);
    mean_in = to_floats(mean);
    rstd_in = to_floats(rstd);
    for (int64_t row = 0; row < s.n * s.channels; row++) {
      double sum_g = 0, sum_gx = 0;
      const auto index = [&](int64_t v) { return (row / s.channels * s.voxels + v) * s.channels + row % s.channels; };
      const auto xhat = [&](int64_t v) { return (static_cast<double>(x[index(v)]) - mean_in[row]) * rstd_in[row]; };
      const auto g = [&](int64_t v) { return relu && !(x[index(v)] - mean_in[row] > 0) ? 0.0 : static_cast<double>(grad[index(v)]); };
      for (int64_t v = 0; v < s.voxels; v++) {
        const double value = (x[index(v)] - mean[row]) * rstd[row];
        y[index(v)] = relu && value < 0 ? 0 : value;
        sum_g += g(v);
        sum_gx += g(v) * xhat(v);
      }
      for (int64_t v = 0; v < s.voxels; v++) grad_x[index(v)] = rstd_in[row] * (g(v) - sum_g / voxels - xhat(v) * sum_gx / voxels);
    }
  }
};

struct batch_reference {
  std::vector<float> x, grad, gamma, beta, moving_mean, moving_variance, mean_in, variance_in;
  doubles mean, variance, y, grad_x, grad_gamma, grad_beta;
  // Where the rows are part of a batch with these averages.
  std::vector<float> average_gradient, average_product;
  doubles part_grad_x;
  double epsilon = 1e-3;

  batch_reference(const norm_shape& s, bool relu, bool training, stored_as stored = nullptr) {
    generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels + 7));
    const int64_t rows = s.n * s.voxels, count = rows * s.channels;
    x = random.floats(count, -1.5f);
    grad = random.floats(count);
    if (stored != nullptr) x = stored(x), grad = stored(grad);
    gamma = random.floats(s.channels);
    beta = random.floats(s.channels);
    moving_mean = random.floats(s.channels, -1.5f);
    moving_variance = random.floats(s.channels, 1.5f);
    const statistics stats = statistics_of(x, {1, rows, s.channels});
    mean = stats.mean;
    variance = stats.variance;
    mean_in = to_floats(mean);
    variance_in = to_floats(variance);
    y.resize(count);
    grad_x.resize(count);
    average_gradient = random.floats(s.channels);
    average_product = random.floats(s.channels);
    part_grad_x.resize(count);
    grad_gamma.resize(s.channels);
    grad_beta.resize(s.channels);
    for (int64_t c = 0; c < s.channels; c++) {
      const double center = training ? mean_in[c] : moving_mean[c], spread = training ? variance_in[c] : moving_variance[c];
      const double rstd = 1 / std::sqrt(spread + epsilon), height = static_cast<double>(rows);
      const auto xhat = [&](int64_t r) { return (static_cast<double>(x[r * s.channels + c]) - center) * rstd; };
      const auto value = [&](int64_t r) { return xhat(r) * gamma[c] + beta[c]; };
      const auto g = [&](int64_t r) { return relu && !(value(r) > 0) ? 0.0 : static_cast<double>(grad[r * s.channels + c]); };
      for (int64_t r = 0; r < rows; r++) {
        y[r * s.channels + c] = relu && value(r) < 0 ? 0 : value(r);
        grad_beta[c] += g(r);
        grad_gamma[c] += g(r) * xhat(r);
      }
      for (int64_t r = 0; r < rows; r++) {
        grad_x[r * s.channels + c] = gamma[c] * rstd * (g(r) - grad_beta[c] / height - xhat(r) * grad_gamma[c] / height);
        part_grad_x[r * s.channels + c] = gamma[c] * rstd * (g(r) - average_gradient[c] - xhat(r) * average_product[c]);
      }
    }
  }
};

}  // namespace versemi_test

#endif
