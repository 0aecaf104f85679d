// Weight gradients by wgmma: the descriptor of MN-major operands, and every shape of tile, with voxels split or not, against
// sums in double over the same bfloat16 operands.
#include "conv/hopper/conv_hopper_plan.h"
#include "test/harness.h"

using namespace versemi::cuda;
using namespace versemi::cuda::hopper;
using namespace versemi_test;

namespace {

void reference(const versemi_conv_problem& p, const std::vector<float>& input, const std::vector<float>& grad_output,
               doubles* grad_weight, doubles* grad_bias) {
  const std::int64_t ci = p.in_channels, co = p.out_channels;
  grad_weight->assign(static_cast<std::size_t>(versemi_conv_weight_count(&p)), 0);
  grad_bias->assign(static_cast<std::size_t>(co), 0);
  const float* g = grad_output.data();
  for (std::int64_t n = 0; n < p.n; n++)
    for (std::int64_t od = 0; od < p.out[0]; od++)
      for (std::int64_t oh = 0; oh < p.out[1]; oh++)
        for (std::int64_t ow = 0; ow < p.out[2]; ow++, g += co) {
          for (std::int64_t o = 0; o < co; o++) (*grad_bias)[static_cast<std::size_t>(o)] += g[o];
          for (int tap = 0; tap < 27; tap++) {
            const std::int64_t d = od + tap / 9 - p.pad[0], h = oh + tap / 3 % 3 - p.pad[1], w = ow + tap % 3 - p.pad[2];
            if (d < 0 || h < 0 || w < 0 || d >= p.in[0] || h >= p.in[1] || w >= p.in[2]) continue;
            const float* x = input.data() + (((n * p.in[0] + d) * p.in[1] + h) * p.in[2] + w) * ci;
            double* to = grad_weight->data() + tap * ci * co;
            for (std::int64_t i = 0; i < ci; i++)
              for (std::int64_t o = 0; o < co; o++) to[i * co + o] += static_cast<double>(x[i]) * g[o];
          }
        }
}

// Each sum in float32, in any order.
double tolerance(const versemi_conv_problem& p) {
  return 1.2e-7 * static_cast<double>(p.n * p.out[0] * p.out[1] * p.out[2]) + 1e-6;
}

void test(test_context& context, const versemi_conv_problem& p, int splits) {
  generator random(static_cast<std::uint64_t>(p.n * 100 + p.in[0] * 10 + p.in[2]));
  const std::vector<float> input = rounded_to_bf16(random.floats(versemi_conv_input_count(&p))),
                           grad_output = rounded_to_bf16(random.floats(versemi_conv_output_count(&p)));
  doubles grad_weight, grad_bias;
  reference(p, input, grad_output, &grad_weight, &grad_bias);

  // The row of the table.
  for (bool bias : {true, false}) {
    cuda_case row("grad-weight " + text_of(p), VERSEMI_CONV3D_GRAD_WEIGHT, attributes_of(p));
    row.in(input, storage::bfloat16).in(grad_output, storage::bfloat16).out(grad_weight, 1e-6, tolerance(p));
    bias ? row.out(grad_bias, 1e-6, tolerance(p)) : row.none();
    row.only("hopper-wgmma").run(context);
  }

  // Every shape.
  std::vector<std::uint16_t> input_bits, grad_bits;
  for (float value : input) input_bits.push_back(bf16_bits(value));
  for (float value : grad_output) grad_bits.push_back(bf16_bits(value));
  device_array<std::uint16_t> x(input_bits), g(grad_bits);
  device_array<float> result(static_cast<std::int64_t>(grad_weight.size()));
  for (bool by_samples : {true, false})
    for (shape_kind shape : {shape_kind::wide, shape_kind::middle, shape_kind::narrow}) {
      const plan chosen =
          gradient_plan_of(forward_view(p), shape, by_samples, splits, context.properties().multiprocessors);
      const std::string what = text_of(p) + (by_samples ? ", by samples" : ", by width") + ", shape " +
                               std::to_string(static_cast<int>(shape)) + ", splits " + std::to_string(chosen.g.splits);
      std::vector<float> first;
      for (unsigned order = 0; order < 2; order++) {
#if defined(VERSEMI_CUDA_EMULATED)
        emulator::set_order(order);
#endif
        result.poison();
        const grad_weight_call call = {p, x.data(), g.data(), storage::bfloat16, result.data(), nullptr};
        const versemi_status status = convolve_gradient_with(context, call, chosen);
        versemi_test::check(status.code == VERSEMI_OK, what + ": " + status.message);
        context.synchronize(what);
        const std::vector<float> found = result.download();
        if (order == 0) first = found;
        versemi_test::check(std::memcmp(found.data(), first.data(), found.size() * 4) == 0, what + ": other bits on repeat");
      }
#if defined(VERSEMI_CUDA_EMULATED)
      emulator::set_order(0);
#endif
      compare(first, grad_weight, 1e-6, tolerance(p), what);
      versemi_test::check(result.intact(), what + ": written outside");
    }
}

void test_layout_and_choice() {
  // Table "Matrix descriptor": address 0x1e800 >> 4, leading 2048 >> 4, stride 1024 >> 4, mode 1.
  versemi_test::check(matrix_descriptor_mn(0x1e800, 2048, 1024) == 0x4000004000801e80ull, "descriptor, MN-major");
  // Batch 8 on 132 multiprocessors, as NOTES.md counts.
  const auto chosen = [](std::int64_t size, std::int64_t channels) {
    return best_gradient_plan(forward_view(problem(8, size, size, size, channels, channels, 3, 1, 1)), 132);
  };
  const plan large = chosen(24, 64), medium = chosen(12, 128), small = chosen(6, 256);
  versemi_test::check(large.shape == shape_kind::wide && position_count(large.g) == 384 && large.g.splits == 43, "24^3");
  versemi_test::check(medium.shape == shape_kind::wide && position_count(medium.g) == 48 && medium.g.splits == 10, "12^3");
  versemi_test::check(small.shape == shape_kind::narrow && position_count(small.g) == 6 && small.g.splits == 1, "6^3");
}

}  // namespace

int main() {
  test_layout_and_choice();
  test_context context;
  if (context.properties().compute_capability == 90) {
    test(context, problem(3, 4, 7, 5, 64, 64, 3, 1, 1), 3);
    test(context, problem(9, 3, 3, 13, 128, 64, 3, 1, 1), 2);
    test(context, problem(2, 5, 4, 9, 64, 192, 3, 1, 0), 1);
    test(context, problem(1, 1, 1, 1, 64, 64, 3, 1, 1), 4);
  }
  return finish("test_hopper_grad_weight");
}
