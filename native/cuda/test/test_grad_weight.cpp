// gradWeight and gradBias of every row that takes a problem, against double: padding, strides, odd sizes, channels that fill
// tiles and that do not, in all precisions and storages.
#include "harness.h"

using namespace versemi_test;

namespace {

void reference(const versemi_conv_problem& p, const std::vector<float>& input, const std::vector<float>& grad_output,
               doubles* grad_weight, doubles* grad_bias) {
  grad_weight->assign(versemi_conv_weight_count(&p), 0);
  grad_bias->assign(p.out_channels, 0);
  int64_t at = 0;
  for (int64_t n = 0; n < p.n; n++)
    for (int64_t d = 0; d < p.out[0]; d++)
      for (int64_t h = 0; h < p.out[1]; h++)
        for (int64_t w = 0; w < p.out[2]; w++, at += p.out_channels) {
          const float* g = grad_output.data() + at;
          for (int64_t co = 0; co < p.out_channels; co++) (*grad_bias)[co] += g[co];
          for (int64_t tap = 0; tap < p.kernel[0] * p.kernel[1] * p.kernel[2]; tap++) {
            const int64_t id = d * p.stride[0] - p.pad[0] + tap / p.kernel[2] / p.kernel[1],
                          ih = h * p.stride[1] - p.pad[1] + tap / p.kernel[2] % p.kernel[1],
                          iw = w * p.stride[2] - p.pad[2] + tap % p.kernel[2];
            if (id < 0 || id >= p.in[0] || ih < 0 || ih >= p.in[1] || iw < 0 || iw >= p.in[2]) continue;
            const float* x = input.data() + (((n * p.in[0] + id) * p.in[1] + ih) * p.in[2] + iw) * p.in_channels;
            double* to = grad_weight->data() + tap * p.in_channels * p.out_channels;
            for (int64_t ci = 0; ci < p.in_channels; ci++)
              for (int64_t co = 0; co < p.out_channels; co++) to[ci * p.out_channels + co] += static_cast<double>(x[ci]) * g[co];
          }
        }
}

const char* name_of(precision operands) {
  return operands == precision::bfloat16 ? ", bf16" : operands == precision::tf32 ? ", tf32" : ", float32";
}

// Operands are made exact in the precision, so that only the order of the sums differs from the reference.
int test(const versemi_conv_problem& p, precision operands, storage format, bool bias) {
  test_context context(operands);
  generator random(static_cast<uint64_t>(p.in_channels * 31 + p.out_channels * 7 + p.in[0] + p.kernel[0]));
  const std::vector<float> input = rounded_to_bf16(random.floats(versemi_conv_input_count(&p), 0.25f)),
                           grad_output = rounded_to_bf16(random.floats(versemi_conv_output_count(&p)));
  doubles grad_weight, grad_bias;
  reference(p, input, grad_output, &grad_weight, &grad_bias);
  const double error = 1e-6 * std::sqrt(static_cast<double>(p.n * p.out[0] * p.out[1] * p.out[2]) + 10);
  cuda_case c("grad_weight " + text_of(p) + name_of(operands), VERSEMI_CONV3D_GRAD_WEIGHT, attributes_of(p));
  c.in(input, format).in(grad_output, format).out(grad_weight, 1e-5, error);
  if (bias) c.out(grad_bias, 1e-5, error);
  else c.none();
  return c.run(context);
}

// In float32 operands are not rounded: numbers that bfloat16 and TF32 cannot hold.
void test_exact(const versemi_conv_problem& p) {
  test_context context(precision::float32);
  generator random(5);
  const std::vector<float> input = random.floats(versemi_conv_input_count(&p)), grad_output = random.floats(versemi_conv_output_count(&p));
  doubles grad_weight, grad_bias;
  reference(p, input, grad_output, &grad_weight, &grad_bias);
  cuda_case("grad_weight, exact operands, " + text_of(p), VERSEMI_CONV3D_GRAD_WEIGHT, attributes_of(p))
      .in(input).in(grad_output).out(grad_weight, 1e-5, 2e-5).out(grad_bias, 1e-5, 2e-5).run(context);
}

versemi_conv_problem uneven() {
  versemi_conv_problem p = {2, {5, 4, 7}, 3, {0, 0, 0}, 5, {1, 2, 3}, {1, 2, 1}, {0, 1, 2}};
  for (int i = 0; i < 3; i++) p.out[i] = (p.in[i] + 2 * p.pad[i] - p.kernel[i]) / p.stride[i] + 1;
  return p;
}

}  // namespace

int main() {
  // Few numbers, and what the tensor cores refuse.
  for (const versemi_conv_problem& p : {problem(1, 1, 1, 1, 1, 1, 1, 1, 0), problem(1, 6, 7, 5, 4, 9, 3, 1, 1), uneven(),
                                        problem(1, 4, 5, 6, 12, 20, 3, 1, 1)})
    for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
      test(p, operands, operands == precision::bfloat16 ? storage::bfloat16 : storage::float32, true);
      test(p, operands, storage::float32, false);
    }
  // Two rows each: tensor cores and plain.
  for (const versemi_conv_problem& p : {
           problem(1, 9, 10, 11, 1, 16, 3, 1, 1),   // first layer: rows are gathered
           problem(1, 3, 4, 5, 1, 8, 3, 1, 1),
           problem(1, 4, 5, 6, 3, 16, 3, 1, 1),     // first layer, three channels
           problem(2, 5, 6, 7, 16, 8, 1, 1, 0),     // before the head
           problem(1, 3, 4, 5, 32, 16, 1, 1, 0),
           problem(2, 6, 8, 10, 16, 32, 2, 2, 0),   // down
           problem(1, 7, 9, 11, 8, 16, 2, 2, 0),    // a last voxel that no window reaches
           problem(1, 4, 4, 6, 64, 32, 2, 2, 0),    // several blocks of input channels
           problem(2, 5, 6, 7, 8, 8, 3, 1, 1),      // units of several taps in one tile
           problem(1, 6, 6, 6, 16, 16, 3, 1, 1),    // lines of 6
           problem(1, 5, 6, 17, 16, 32, 3, 1, 1),
           problem(1, 7, 4, 9, 32, 32, 3, 1, 1),
           problem(1, 3, 4, 5, 64, 64, 3, 1, 1),
           problem(1, 4, 5, 6, 8, 24, 3, 1, 0),     // no padding; three blocks of 8 columns
           problem(1, 7, 8, 9, 16, 8, 3, 2, 1),     // stride and overlap
       }) {
    for (precision operands : {precision::bfloat16, precision::tf32}) {
      const int rows = test(p, operands, operands == precision::bfloat16 ? storage::bfloat16 : storage::float32, true);
      check(rows == 2, "tensor cores take " + text_of(p));
    }
    test(p, precision::bfloat16, storage::float32, false);
  }
  test_exact(problem(1, 5, 6, 7, 8, 8, 3, 1, 1));
  return finish("cuda grad_weight");
}
