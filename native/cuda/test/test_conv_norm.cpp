// Convolution + instance normalisation + ReLU + skip in all precisions, on every row that takes it.
#include "test/conv_cases.h"

using namespace versemi_test;

int main() {
  std::set<std::string> ran;
  for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
    test_context context(operands);
    check_conv_norm(context, problem(2, 5, 6, 7, 3, 5, 3, 1, 1), {false, true, true, true}, 1, &ran);
    check_conv_norm(context, problem(2, 4, 6, 8, 12, 20, 2, 2, 0), {true, true, true, true}, 2, &ran);
    check_conv_norm(context, problem(1, 7, 5, 9, 4, 8, 2, 2, 0), {true, false, false, false}, 3, &ran);
    check_conv_norm(context, problem(1, 5, 9, 9, 4, 8, 1, 1, 0), {false, true, false, false}, 4, &ran);
    check_conv_norm(context, problem(2, 5, 8, 17, 32, 32, 3, 1, 1), {false, true, true, true}, 5, &ran);
    check_conv_norm(context, problem(1, 6, 9, 15, 16, 16, 3, 1, 1), {true, true, false, false}, 6, &ran);
    check_conv_norm(context, problem(1, 3, 9, 16, 32, 64, 3, 1, 1), {false, false, false, true}, 7, &ran);
    check_conv_norm(context, problem(2, 5, 6, 33, 1, 16, 3, 1, 1), {false, true, true, true}, 8, &ran);
    check_conv_norm(context, problem(1, 4, 9, 8, 1, 8, 3, 1, 1), {false, true, false, false}, 9, &ran);
    check_conv_norm(context, problem(2, 4, 6, 8, 16, 32, 2, 2, 0), {true, true, true, true}, 10, &ran);
    check_conv_norm(context, problem(1, 12, 8, 16, 16, 32, 2, 2, 0), {false, true, true, true}, 11, &ran);
    check_conv_norm(context, problem(2, 4, 5, 7, 64, 64, 3, 1, 1), {false, true, false, true}, 12, &ran);
    check_conv_norm(context, problem(2, 10, 10, 10, 64, 32, 2, 2, 0), {true, false, true, true}, 13, &ran);
  }
  for (const char* row : {"conv3d-gemm", "conv3d-halo", "conv3d-first", "conv3d-plain"}) check(ran.count(row) == 1, std::string(row) + " must have run");
  return finish("test_cuda_conv_norm");
}
