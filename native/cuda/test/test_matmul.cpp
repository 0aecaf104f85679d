// matmul: the cases of every device, large tiles, and numbers that are not finite.
#include "test/harness.h"
#include "test/tensor_op_cases.h"

using namespace versemi_test;

int main() {
  tensor_op_cases<default_case>::products();
  tensor_op_cases<default_case>::test_matmul(1, 200, 19, 130, false);  // more than one large tile on a small device
  tensor_op_cases<default_case>::test_matmul(3, 130, 33, 129, true);
  const double none = std::nan("");
  default_case("infinity times zero", VERSEMI_MATMUL, {1, 2, 2, 2, 0, 0, 4, 4})
      .in({INFINITY, 1, 2, 3}).in({0, 1, 1, 1}).out({none, INFINITY, 3, 5}, 0, 0).run();
  default_case("infinity beside the edge", VERSEMI_MATMUL, {1, 1, 1, 1, 0, 0, 1, 1})
      .in({INFINITY}).in({2}).out({INFINITY}, 0, 0).run();
  return finish("matmul");
}
