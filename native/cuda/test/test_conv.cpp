// Forward and grad-input of the convolution family: shapes, borders, channel counts, strides, in all precisions, on every row
// that takes them.
#include "conv_cases.h"

using namespace versemi_test;

namespace {

std::vector<versemi_conv_problem> odd_problems() {
  std::vector<versemi_conv_problem> list = {
      problem(1, 5, 6, 7, 1, 16, 3, 1, 1), problem(2, 3, 5, 13, 4, 12, 3, 1, 1), problem(1, 2, 2, 3, 40, 130, 3, 1, 1),
      problem(1, 1, 1, 1, 3, 5, 3, 1, 1),  problem(1, 7, 5, 9, 12, 20, 2, 2, 0), problem(1, 3, 3, 3, 7, 1, 1, 1, 0),
      problem(1, 4, 4, 9, 8, 8, 1, 2, 0),  problem(1, 7, 8, 9, 5, 6, 3, 2, 1),   problem(1, 9, 8, 10, 2, 3, 5, 3, 1),
      problem(1, 4, 4, 4, 10, 10, 3, 1, 0), problem(1, 2, 2, 2, 3, 3, 3, 1, 2)};
  // Axes that differ, and an output that ends before or behind what the input fills.
  list.push_back({1, {5, 6, 17}, 6, {3, 6, 8}, 9, {3, 1, 3}, {2, 1, 2}, {1, 0, 0}});
  list.push_back({1, {3, 4, 6}, 3, {5, 4, 4}, 7, {2, 3, 3}, {1, 2, 3}, {2, 2, 4}});
  list.push_back({1, {3, 4, 9}, 16, {3, 4, 10}, 16, {1, 3, 2}, {1, 1, 1}, {0, 1, 1}});
  return list;
}

}  // namespace

int main() {
  std::set<std::string> ran;
  for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
    test_context context(operands);
    std::uint64_t seed = 1;
    for (const versemi_conv_problem& p : odd_problems()) check_conv(context, p, seed++, &ran);
  }
  check(ran.count("conv3d-plain") == 1, "every row must have run");
  return finish("test_cuda_conv");
}
