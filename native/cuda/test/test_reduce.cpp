// reduce: the cases of every device, several passes, and inputs in bfloat16.
#include "test/harness.h"
#include "test/tensor_op_cases.h"

using namespace versemi_test;

int main() {
  tensor_op_cases<default_case>::reductions();
  tensor_op_cases<default_case>::test_reduce(1, 2100, 300);  // 32 rows are a piece: pieces of pieces of pieces
  tensor_op_cases<default_case>::test_reduce(2000, 7, 1);
  tensor_op_cases<default_case>::test_reduce(30, 20, 40);
  {
    // Ones, and a last element that a lost or doubled piece would not show: exact in double and in float32.
    std::vector<float> x(300 * 8192 + 5, 1.0f);
    x.back() = 12345;
    const double count = static_cast<double>(x.size());
    default_case("a sum over many pieces", VERSEMI_REDUCE, {0, 1, count, 1}).in(x).out({count - 1 + 12345}, 0, 0).run();
  }
  test_context context;
  generator random(2);
  for (const int inner : {1, 3, 40}) {
    const std::vector<float> x = random.floats(500 * inner);
    doubles sums(static_cast<std::size_t>(inner), 0.0);
    for (std::size_t i = 0; i < x.size(); i++) sums[i % sums.size()] += bf16_value(bf16_bits(x[i]));
    cuda_case c("sum of bfloat16", VERSEMI_REDUCE, {0, 1, 500, double(inner)});
    c.in(x, storage::bfloat16).out(sums, 1e-6, 1e-6).run(context);
    check(c.formats()[1] == storage::float32, "a sum is float32");
  }
  return finish("reduce");
}
