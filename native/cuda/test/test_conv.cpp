// Forward and grad-input of the convolution family: shapes, borders, channel counts, strides, in all precisions, on every row
// that takes them.
#include "test/conv_cases.h"

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

// 3^3, stride 1, few source channels, in one direction at least: tiles that are full and not, volumes of one slice and of many,
// more than one sample, other paddings.
std::vector<versemi_conv_problem> halo_problems() {
  return {problem(1, 3, 6, 13, 16, 16, 3, 1, 1),  problem(2, 5, 8, 17, 32, 32, 3, 1, 1), problem(1, 1, 12, 14, 16, 32, 3, 1, 1),
          problem(1, 7, 7, 18, 32, 16, 3, 1, 0),  problem(1, 2, 9, 20, 32, 64, 3, 1, 2), problem(3, 9, 8, 16, 16, 16, 3, 1, 1),
          {1, {4, 8, 16}, 16, {3, 9, 15}, 16, {3, 3, 3}, {1, 1, 1}, {0, 1, 2}}};
}

std::vector<versemi_conv_problem> first_problems() {
  return {problem(2, 5, 6, 33, 1, 16, 3, 1, 1), problem(1, 4, 9, 8, 1, 8, 3, 1, 1), problem(1, 3, 3, 40, 1, 32, 3, 1, 0),
          problem(1, 2, 3, 5, 8, 1, 3, 1, 1)};
}

// Channels in whole 16 bytes: rows that fill tiles and do not, several tiles and samples, chunks that hold parts of two taps,
// columns of one and of several blocks, reductions that are split.
std::vector<versemi_conv_problem> gemm_problems() {
  std::vector<versemi_conv_problem> list = {
      problem(2, 4, 6, 8, 16, 32, 2, 2, 0),  problem(1, 6, 12, 20, 8, 16, 2, 2, 0), problem(1, 4, 4, 6, 64, 128, 2, 2, 0),
      problem(2, 3, 4, 5, 64, 64, 3, 1, 1),  problem(1, 2, 2, 3, 128, 64, 3, 1, 1), problem(1, 2, 3, 3, 256, 8, 3, 1, 1),
      problem(1, 5, 8, 16, 16, 8, 1, 1, 0),  problem(2, 3, 9, 10, 8, 8, 3, 1, 1),   problem(1, 3, 4, 5, 24, 40, 3, 1, 1),
      problem(1, 7, 5, 9, 16, 24, 2, 2, 0),  problem(1, 5, 6, 7, 8, 16, 3, 2, 1),   problem(1, 2, 2, 40, 16, 48, 1, 1, 0),
      problem(1, 3, 4, 5, 8, 8, 3, 1, 2),    problem(1, 4, 5, 6, 8, 16, 5, 1, 2)};
  list.push_back({2, {4, 3, 6}, 8, {2, 3, 2}, 16, {2, 1, 3}, {2, 1, 3}, {0, 0, 0}});
  return list;
}

}  // namespace

int main() {
  std::set<std::string> ran;
  for (precision operands : {precision::bfloat16, precision::tf32, precision::float32}) {
    test_context context(operands);
    std::uint64_t seed = 1;
    for (const auto& list : {odd_problems(), halo_problems(), first_problems(), gemm_problems()})
      for (const versemi_conv_problem& p : list) check_conv(context, p, seed++, &ran);
  }
  for (const char* row : {"conv3d-gemm", "conv3d-halo", "conv3d-first", "conv3d-plain"}) check(ran.count(row) == 1, std::string(row) + " must have run");
  return finish("test_cuda_conv");
}
