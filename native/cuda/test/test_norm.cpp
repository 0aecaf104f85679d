// Instance and batch normalisation with ReLU, and their gradients, against double; activations as float32 and as bfloat16.
#include <algorithm>

#include "test/harness.h"

#include "test/norm_reference.h"

using namespace versemi_test;

namespace {

// Channels that fill packets, that are filled by several voxels, and neither (an odd number of elements); one and several
// chunks; more columns than a block has threads; one voxel.
const norm_shape shapes[] = {{1, 1, 1}, {2, 7, 3}, {1, 6000, 1}, {2, 1400, 8}, {3, 700, 16}, {2, 130, 5}, {2, 96, 20}, {1, 80, 64},
                        {2, 27, 256}, {1, 3, 512}, {1, 5, 2100}, {1, 640, 12}};

std::string text(const char* name, const norm_shape& s, bool relu, storage format) {
  return versemi_test::text(name, s, relu) + (format == storage::bfloat16 ? " bf16" : "");
}
stored_as stored(storage format) { return format == storage::bfloat16 ? rounded_to_bf16 : nullptr; }

void check_formats(const cuda_case& c, std::vector<std::size_t> activations, storage format, const std::string& what) {
  for (std::size_t i = 0; i < c.formats().size(); i++) {
    const bool activation = std::find(activations.begin(), activations.end(), i) != activations.end();
    check(c.formats()[i] == (activation ? format : storage::float32), what + ": format of tensor " + std::to_string(i));
  }
}

void test_instance(test_context& context, const norm_shape& s, bool relu, storage format) {
  const instance_reference r(s, relu, stored(format));
  const doubles attributes = {double(s.n), double(s.voxels), double(s.channels), relu ? 1.0 : 0.0, r.epsilon};
  // One voxel: variance 0, rstd 316, so that the rounding of the mean is magnified; a few voxels can be as close.
  const double absolute = s.voxels == 1 ? 1e-3 : s.voxels < 10 ? 2e-5 : 4e-6, scale = s.voxels == 1 ? 317 : s.voxels < 10 ? 40 : 4;
  cuda_case forward(text("instance_norm_relu", s, relu, format), VERSEMI_INSTANCE_NORM_RELU, attributes);
  forward.in(r.x, format).out(r.y, 2e-6, absolute).out(r.mean, 2e-7, 2e-7).out(r.rstd, 1e-5, 0).run(context);
  check_formats(forward, {0, 1}, format, "instance_norm_relu");
  if (s.n < 100) cuda_case(text("instance_norm_relu without statistics", s, relu, format), VERSEMI_INSTANCE_NORM_RELU, attributes)
      .in(r.x, format).out(r.y, 2e-6, absolute).none().none().run(context);
  cuda_case backward(text("instance_norm_relu_grad", s, relu, format), VERSEMI_INSTANCE_NORM_RELU_GRAD,
                     {attributes[0], attributes[1], attributes[2], attributes[3]});
  backward.in(r.grad).in(r.x, format).in(r.mean_in).in(r.rstd_in).out(r.grad_x, 1e-5, 2e-6 * scale).run(context);
  check_formats(backward, {0, 1, 4}, format, "instance_norm_relu_grad");
}

void test_batch(test_context& context, const norm_shape& s, bool relu, bool training, storage format) {
  const batch_reference r(s, relu, training, stored(format));
  const int64_t rows = s.n * s.voxels;
  const double flag = relu ? 1 : 0, height = static_cast<double>(rows), channels = static_cast<double>(s.channels);
  const double sum_error = 4e-7 * std::sqrt(height) + 1e-5;
  cuda_case forward(text(training ? "batch_norm_relu training" : "batch_norm_relu", s, relu, format), VERSEMI_BATCH_NORM_RELU,
                    {height, channels, training ? 1.0 : 0.0, flag, r.epsilon});
  forward.in(r.x, format).in(r.gamma).in(r.beta);
  if (!training) {
    forward.in(r.moving_mean).in(r.moving_variance).out(r.y, 4e-6, 4e-6).none().none().run(context);
    return;
  }
  forward.none().none().out(r.y, 4e-6, 4e-6).out(r.mean, 2e-7, 2e-7).out(r.variance, 2e-6, 1e-9).run(context);
  check_formats(forward, {0, 5}, format, "batch_norm_relu");
  cuda_case(text("batch_norm_relu statistics", s, relu, format), VERSEMI_BATCH_NORM_RELU, {height, channels, 1, flag, r.epsilon})
      .in(r.x, format).in(r.gamma).in(r.beta).none().none().none().out(r.mean, 2e-7, 2e-7).out(r.variance, 2e-6, 1e-9).run(context);
  const auto gradient = [&](const char* what, double averages) {
    cuda_case c(text(what, s, relu, format), VERSEMI_BATCH_NORM_RELU_GRAD, {height, channels, flag, r.epsilon, averages});
    c.in(r.grad, format).in(r.x).in(r.gamma).in(r.beta).in(r.mean_in).in(r.variance_in);
    return c;
  };
  const double error = rows < 10 ? 1e-4 : 1e-5;
  cuda_case backward = gradient("batch_norm_relu_grad", 0);
  backward.none().none().out(r.grad_x, 1e-5, error).out(r.grad_gamma, 1e-5, sum_error).out(r.grad_beta, 1e-5, sum_error).run(context);
  check_formats(backward, {0, 1, 8}, format, "batch_norm_relu_grad");
  gradient("batch_norm_relu_grad sums", 0).none().none()
      .none().out(r.grad_gamma, 1e-5, sum_error).out(r.grad_beta, 1e-5, sum_error).run(context);
  gradient("batch_norm_relu_grad of a part", 1).in(r.average_gradient).in(r.average_product).out(r.part_grad_x, 1e-5, error).none().none().run(context);
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

}  // namespace

int main() {
  test_context narrow(precision::bfloat16), exact(precision::float32);
  for (const norm_shape& s : shapes)
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
  return finish("cuda norm");
}
