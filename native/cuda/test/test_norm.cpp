// Instance and batch normalisation with ReLU, and their gradients, against double; activations as float32 and as bfloat16.
#include <algorithm>

#include "harness.h"

#include "cuda/norm.h"

using namespace versemi_test;

namespace {

struct shape {
  int64_t n, voxels, channels;
};
// Channels that fill packets, that are filled by several voxels, and neither (an odd number of elements); one and several
// chunks; more columns than a block has threads; one voxel.
const shape shapes[] = {{1, 1, 1}, {2, 7, 3}, {1, 6000, 1}, {2, 1400, 8}, {3, 700, 16}, {2, 130, 5}, {2, 96, 20}, {1, 80, 64},
                        {2, 27, 256}, {1, 3, 512}, {1, 5, 2100}, {1, 640, 12}};

std::string text(const char* name, const shape& s, bool relu, storage format) {
  return std::string(name) + " [" + std::to_string(s.n) + ", " + std::to_string(s.voxels) + ", " + std::to_string(s.channels) +
         "]" + (relu ? " relu" : "") + (format == storage::bfloat16 ? " bf16" : "");
}

std::vector<float> stored(std::vector<float> values, storage format) {
  return format == storage::bfloat16 ? rounded_to_bf16(values) : values;
}
std::vector<float> to_floats(const doubles& values) { return std::vector<float>(values.begin(), values.end()); }

struct statistics {
  doubles mean, variance;
};
statistics statistics_of(const std::vector<float>& x, const shape& s) {
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

void check_formats(const cuda_case& c, std::vector<std::size_t> activations, storage format, const std::string& what) {
  for (std::size_t i = 0; i < c.formats().size(); i++) {
    const bool activation = std::find(activations.begin(), activations.end(), i) != activations.end();
    check(c.formats()[i] == (activation ? format : storage::float32), what + ": format of tensor " + std::to_string(i));
  }
}

void test_instance(test_context& context, const shape& s, bool relu, storage format) {
  generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels));
  const double epsilon = 1e-5, voxels = static_cast<double>(s.voxels);
  const int64_t count = s.n * s.voxels * s.channels;
  const std::vector<float> x = stored(random.floats(count, 3.0f), format), grad = stored(random.floats(count), format);
  const statistics stats = statistics_of(x, s);
  doubles rstd(stats.variance), y(count), grad_x(count);
  for (double& value : rstd) value = 1 / std::sqrt(value + epsilon);
  // The gradient is defined on the rounded statistics that the forward pass wrote.
  const std::vector<float> mean_in = to_floats(stats.mean), rstd_in = to_floats(rstd);
  for (int64_t row = 0; row < s.n * s.channels; row++) {
    double sum_g = 0, sum_gx = 0;
    const auto index = [&](int64_t v) { return (row / s.channels * s.voxels + v) * s.channels + row % s.channels; };
    const auto xhat = [&](int64_t v) { return (static_cast<double>(x[index(v)]) - mean_in[row]) * rstd_in[row]; };
    const auto g = [&](int64_t v) { return relu && !(x[index(v)] - mean_in[row] > 0) ? 0.0 : static_cast<double>(grad[index(v)]); };
    for (int64_t v = 0; v < s.voxels; v++) {
      const double value = (x[index(v)] - stats.mean[row]) * rstd[row];
      y[index(v)] = relu && value < 0 ? 0 : value;
      sum_g += g(v);
      sum_gx += g(v) * xhat(v);
    }
    for (int64_t v = 0; v < s.voxels; v++) grad_x[index(v)] = rstd_in[row] * (g(v) - sum_g / voxels - xhat(v) * sum_gx / voxels);
  }
  const doubles attributes = {double(s.n), voxels, double(s.channels), relu ? 1.0 : 0.0, epsilon};
  // One voxel: variance 0, rstd 316, so that the rounding of the mean is magnified; a few voxels can be as close.
  const double absolute = s.voxels == 1 ? 1e-3 : s.voxels < 10 ? 2e-5 : 4e-6, scale = s.voxels == 1 ? 317 : s.voxels < 10 ? 40 : 4;
  cuda_case forward(text("instance_norm_relu", s, relu, format), VERSEMI_INSTANCE_NORM_RELU, attributes);
  forward.in(x, format).out(y, 2e-6, absolute).out(stats.mean, 2e-7, 2e-7).out(rstd, 1e-5, 0).run(context);
  check_formats(forward, {0, 1}, format, "instance_norm_relu");
  if (s.n < 100) cuda_case(text("instance_norm_relu without statistics", s, relu, format), VERSEMI_INSTANCE_NORM_RELU, attributes)
      .in(x, format).out(y, 2e-6, absolute).none().none().run(context);
  cuda_case backward(text("instance_norm_relu_grad", s, relu, format), VERSEMI_INSTANCE_NORM_RELU_GRAD,
                     {attributes[0], attributes[1], attributes[2], attributes[3]});
  backward.in(grad).in(x, format).in(mean_in).in(rstd_in).out(grad_x, 1e-5, 2e-6 * scale).run(context);
  check_formats(backward, {0, 1, 4}, format, "instance_norm_relu_grad");
}

void test_batch(test_context& context, const shape& s, bool relu, bool training, storage format) {
  generator random(static_cast<uint64_t>(s.n + 10 * s.voxels + 100 * s.channels + 7));
  const double epsilon = 1e-3;
  const int64_t rows = s.n * s.voxels, count = rows * s.channels;
  const std::vector<float> x = stored(random.floats(count, -1.5f), format), grad = stored(random.floats(count), format),
                           gamma = random.floats(s.channels), beta = random.floats(s.channels),
                           moving_mean = random.floats(s.channels, -1.5f), moving_variance = random.floats(s.channels, 1.5f);
  const statistics stats = statistics_of(x, {1, rows, s.channels});
  const std::vector<float> mean_in = to_floats(stats.mean), variance_in = to_floats(stats.variance);
  doubles y(count), grad_x(count), grad_gamma(s.channels), grad_beta(s.channels);
  for (int64_t c = 0; c < s.channels; c++) {
    const double mean = training ? mean_in[c] : moving_mean[c], variance = training ? variance_in[c] : moving_variance[c];
    const double rstd = 1 / std::sqrt(variance + epsilon), height = static_cast<double>(rows);
    const auto xhat = [&](int64_t r) { return (static_cast<double>(x[r * s.channels + c]) - mean) * rstd; };
    const auto value = [&](int64_t r) { return xhat(r) * gamma[c] + beta[c]; };
    const auto g = [&](int64_t r) { return relu && !(value(r) > 0) ? 0.0 : static_cast<double>(grad[r * s.channels + c]); };
    for (int64_t r = 0; r < rows; r++) {
      y[r * s.channels + c] = relu && value(r) < 0 ? 0 : value(r);
      grad_beta[c] += g(r);
      grad_gamma[c] += g(r) * xhat(r);
    }
    for (int64_t r = 0; r < rows; r++)
      grad_x[r * s.channels + c] = gamma[c] * rstd * (g(r) - grad_beta[c] / height - xhat(r) * grad_gamma[c] / height);
  }
  const double flag = relu ? 1 : 0, height = static_cast<double>(rows), channels = static_cast<double>(s.channels);
  const double sum_error = 4e-7 * std::sqrt(height) + 1e-5;
  cuda_case forward(text(training ? "batch_norm_relu training" : "batch_norm_relu", s, relu, format), VERSEMI_BATCH_NORM_RELU,
                    {height, channels, training ? 1.0 : 0.0, flag, epsilon});
  forward.in(x, format).in(gamma).in(beta);
  if (!training) {
    forward.in(moving_mean).in(moving_variance).out(y, 4e-6, 4e-6).none().none().run(context);
    return;
  }
  forward.none().none().out(y, 4e-6, 4e-6).out(stats.mean, 2e-7, 2e-7).out(stats.variance, 2e-6, 1e-9).run(context);
  check_formats(forward, {0, 5}, format, "batch_norm_relu");
  cuda_case backward(text("batch_norm_relu_grad", s, relu, format), VERSEMI_BATCH_NORM_RELU_GRAD, {height, channels, flag, epsilon});
  backward.in(grad, format).in(x).in(gamma).in(beta).in(mean_in).in(variance_in)
      .out(grad_x, 1e-5, rows < 10 ? 1e-4 : 1e-5).out(grad_gamma, 1e-5, sum_error).out(grad_beta, 1e-5, sum_error).run(context);
  check_formats(backward, {0, 1, 6}, format, "batch_norm_relu_grad");
}

// A channel with a mean of 1000 times its deviation keeps its variance, and a constant one has variance 0: sums of squares
// in float32 would lose both.
void test_large_mean(test_context& context) {
  generator random(11);
  std::vector<float> x = random.floats(4000 * 4, 0);
  for (std::size_t i = 0; i < x.size(); i++) x[i] = i % 4 == 0 ? 1000.1f : x[i] + 600.0f;
  const statistics stats = statistics_of(x, {1, 4000, 4});
  doubles y(x.size()), rstd(4);
  for (int c = 0; c < 4; c++) rstd[c] = 1 / std::sqrt(stats.variance[c] + 1e-5);
  for (std::size_t i = 0; i < x.size(); i++) y[i] = i % 4 == 0 ? 0 : (x[i] - stats.mean[i % 4]) * rstd[i % 4];
  cuda_case("a large mean", VERSEMI_INSTANCE_NORM_RELU, {1, 4000, 4, 0, 1e-5})
      .in(x).out(y, 2e-6, 1e-4).out(stats.mean, 1e-7, 0).out(rstd, 1e-5, 0).run(context);
}

void test_nan(test_context& context) {
  // One NaN makes its channel NaN, in the sample where it is, and leaves the others alone.
  std::vector<float> x(2 * 50 * 2);
  for (std::size_t i = 0; i < x.size(); i++) x[i] = i % 4 < 2 ? 1.0f : -1.0f;
  x[1] = std::nanf("");
  doubles expected(x.size());
  for (std::size_t i = 0; i < x.size(); i++) expected[i] = i < 100 && i % 2 == 1 ? std::nan("") : x[i] > 0 ? 1 : 0;
  for (storage format : {storage::float32, storage::bfloat16})
    cuda_case("NaN comes through", VERSEMI_INSTANCE_NORM_RELU, {2, 50, 2, 1, 0})
        .in(x, format).out(expected, 1e-6, 0).none().none().run(context);
}

// What convolutions use: statistics and the second pass with a skip connection, the result over the input.
void test_shared_functions(test_context& context) {
  const shape s = {2, 60, 16};
  generator random(5);
  const std::vector<float> x = random.floats(s.n * s.voxels * s.channels), skip = random.floats(s.n * s.voxels * s.channels);
  const statistics stats = statistics_of(x, s);
  device_array<float> data(x), added(skip), mean(s.n * s.channels), rstd(s.n * s.channels);
  versemi_status status = versemi::cuda::instance_statistics(context, data.data(), storage::float32, s.n, s.voxels, s.channels,
                                                             1e-5, mean.data(), rstd.data());
  check(status.code == VERSEMI_OK, status.message);
  status = versemi::cuda::normalize_relu(context, data.data(), mean.data(), rstd.data(), added.data(), data.data(),
                                         storage::float32, s.n, s.voxels, s.channels, true);
  check(status.code == VERSEMI_OK, status.message);
  context.synchronize("normalise with a skip");
  doubles expected(x.size());
  for (std::size_t i = 0; i < x.size(); i++) {
    const std::size_t row = i / (60 * 16) * 16 + i % 16;
    const double value = (x[i] - stats.mean[row]) / std::sqrt(stats.variance[row] + 1e-5);
    expected[i] = (value > 0 ? value : 0) + skip[i];
  }
  compare(data.download(), expected, 2e-6, 4e-6, "normalise with a skip");
  check(data.intact(), "normalise with a skip: written outside");
}

}  // namespace

int main() {
  test_context narrow(precision::bfloat16), exact(precision::float32);
  for (const shape& s : shapes)
    for (bool relu : {false, true}) {
      test_instance(exact, s, relu, storage::float32);
      test_instance(narrow, s, relu, storage::bfloat16);
      for (bool training : {false, true}) {
        test_batch(exact, s, relu, training, storage::float32);
        test_batch(narrow, s, relu, training, storage::bfloat16);
      }
    }
  test_instance(narrow, {2, 40, 8}, true, storage::float32);
  // So many samples that a thread takes more than the four rows that it loads at once.
  test_instance(exact, {530, 5, 129}, true, storage::float32);
  test_instance(narrow, {530, 5, 129}, true, storage::bfloat16);
  test_large_mean(exact);
  test_nan(narrow);
  test_shared_functions(exact);
  return finish("cuda norm");
}
