// Convolution + instance normalisation + ReLU + skip in all precisions, on every row that takes it.
#include "conv_cases.h"

using namespace versemi_test;

int main() {
  std::set<std::string> ran;
  for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
    test_context context(operands);
    check_conv_norm(context, problem(2, 5, 6, 7, 3, 5, 3, 1, 1), {false, true, true, true}, 1, &ran);
    check_conv_norm(context, problem(2, 4, 6, 8, 12, 20, 2, 2, 0), {true, true, true, true}, 2, &ran);
    check_conv_norm(context, problem(1, 7, 5, 9, 4, 8, 2, 2, 0), {true, false, false, false}, 3, &ran);
    check_conv_norm(context, problem(1, 5, 9, 9, 4, 8, 1, 1, 0), {false, true, false, false}, 4, &ran);
  }
  check(ran.count("conv3d-plain") == 1, "every row must have run");
  return finish("test_cuda_conv_norm");
}
