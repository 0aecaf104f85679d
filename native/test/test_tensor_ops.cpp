// reduce, matmul and the ops that move elements.
#include "tensor_op_cases.h"

using namespace versemi_test;

int main() {
  tensor_op_cases<kernel_case>::reductions();
  tensor_op_cases<kernel_case>::products();
  tensor_op_cases<kernel_case>::moves();
  return finish("tensor ops");
}
