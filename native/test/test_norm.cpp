// Instance and batch normalisation with ReLU, and their gradients.
#include "norm_reference.h"

using namespace versemi_test;

namespace {

// Channels that divide a vector, that are divided by one, and neither; one and several chunks; one voxel.
const norm_shape shapes[] = {{1, 1, 1},   {2, 7, 3},   {1, 40000, 1}, {2, 9001, 8},  {1, 4097, 16}, {3, 33, 5},
                        {2, 500, 20}, {1, 700, 64}, {2, 27, 130}, {1, 3, 256},   {1, 5000, 12}, {1, 2049, 32}};

void test_instance(const norm_shape& s, bool relu) {
  const instance_reference r(s, relu);
  const double flag = relu ? 1 : 0, n = s.n, voxels = s.voxels, channels = s.channels;
  // One voxel: variance 0, rstd 316, so that the rounding of the mean is magnified.
  const double absolute = s.voxels == 1 ? 1e-3 : 4e-6, scale = s.voxels == 1 ? 317 : s.voxels < 10 ? 40 : 4;
  kernel_case(text("instance_norm_relu", s, relu), VERSEMI_INSTANCE_NORM_RELU, {n, voxels, channels, flag, r.epsilon})
      .in(r.x).out(r.y, 2e-6, absolute).out(r.mean, 2e-7, 2e-7).out(r.rstd, 1e-5, 0).run();
  kernel_case(text("instance_norm_relu without statistics", s, relu), VERSEMI_INSTANCE_NORM_RELU, {n, voxels, channels, flag, r.epsilon})
      .in(r.x).out(r.y, 2e-6, absolute).none().none().run();
  kernel_case(text("instance_norm_relu_grad", s, relu), VERSEMI_INSTANCE_NORM_RELU_GRAD, {n, voxels, channels, flag})
      .in(r.grad).in(r.x).in(r.mean_in).in(r.rstd_in).out(r.grad_x, 1e-5, 2e-6 * scale).run();
}

void test_batch(const norm_shape& s, bool relu, bool training) {
  const batch_reference r(s, relu, training);
  const int64_t rows = s.n * s.voxels;
  const double flag = relu ? 1 : 0, height = rows, channels = s.channels;
  const double sum_error = 4e-7 * std::sqrt(static_cast<double>(rows)) + 1e-5;
  kernel_case forward(text(training ? "batch_norm_relu training" : "batch_norm_relu", s, relu), VERSEMI_BATCH_NORM_RELU,
                      {height, channels, training ? 1.0 : 0.0, flag, r.epsilon});
  forward.in(r.x).in(r.gamma).in(r.beta);
  if (training) {
    forward.none().none().out(r.y, 4e-6, 4e-6).out(r.mean, 2e-7, 2e-7).out(r.variance, 1e-6, 1e-9).run();
    kernel_case(text("batch_norm_relu statistics", s, relu), VERSEMI_BATCH_NORM_RELU, {height, channels, 1, flag, r.epsilon})
        .in(r.x).in(r.gamma).in(r.beta).none().none().none().out(r.mean, 2e-7, 2e-7).out(r.variance, 1e-6, 1e-9).run();
    const auto gradient = [&](const char* what, double averages) {
      kernel_case c(text(what, s, relu), VERSEMI_BATCH_NORM_RELU_GRAD, {height, channels, flag, r.epsilon, averages});
      c.in(r.grad).in(r.x).in(r.gamma).in(r.beta).in(r.mean_in).in(r.variance_in);
      return c;
    };
    const double error = rows < 10 ? 1e-4 : 1e-5;
    gradient("batch_norm_relu_grad", 0).none().none()
        .out(r.grad_x, 1e-5, error).out(r.grad_gamma, 1e-5, sum_error).out(r.grad_beta, 1e-5, sum_error).run();
    gradient("batch_norm_relu_grad sums", 0).none().none()
        .none().out(r.grad_gamma, 1e-5, sum_error).out(r.grad_beta, 1e-5, sum_error).run();
    gradient("batch_norm_relu_grad of a part", 1).in(r.average_gradient).in(r.average_product).out(r.part_grad_x, 1e-5, error).none().none().run();
  } else {
    forward.in(r.moving_mean).in(r.moving_variance).out(r.y, 4e-6, 4e-6).none().none().run();
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
  for (const norm_shape& s : shapes)
    for (bool relu : {false, true}) {
      test_instance(s, relu);
      for (bool training : {false, true}) test_batch(s, relu, training);
    }
  test_constants();
  return finish("norm");
}
