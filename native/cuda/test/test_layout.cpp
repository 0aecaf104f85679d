// transpose, slice, pad, concat, tile, fill: the cases of every device, and the same with bfloat16 in memory.
#include "test/harness.h"
#include "test/tensor_op_cases.h"

using namespace versemi_test;

namespace {

// Inputs in bfloat16; what is moved must come out with its bits, in bfloat16.
class half_case : public cuda_case {
 public:
  using cuda_case::cuda_case;
  half_case& in(const std::vector<float>& values) { return cuda_case::in(values, storage::bfloat16), *this; }
  half_case& out(const doubles& expected, double, double) {
    doubles rounded;
    for (double v : expected) rounded.push_back(bf16_value(bf16_bits(static_cast<float>(v))));
    return cuda_case::out(rounded, -1.0 / 256, 0), *this;  // takes back what bfloat16 would be allowed: exact
  }
  void run() {
    test_context context;
    cuda_case::run(context);
    for (std::size_t i = 1; i < formats().size(); i++) check(formats()[i] == storage::bfloat16, "bfloat16 stays bfloat16");
  }
};

void test_formats() {
  test_context context;
  const float third = 1.0f / 3;
  cuda_case pad("pad with a value that bfloat16 does not hold", VERSEMI_PAD, {1, 2, 1, 1, third});
  pad.in({1, 2}, storage::bfloat16).out({third, 1, 2, third}, 0, 0).run(context);
  check(pad.formats()[1] == storage::float32, "such a pad is float32");
  cuda_case mixed("concat of both formats", VERSEMI_CONCAT, {2, 1, 1, 2});
  mixed.in({third}).in({third, 2}, storage::bfloat16).out({third, bf16_value(bf16_bits(third)), 2}, 0, 0).run(context);
  check(mixed.formats()[2] == storage::float32, "a concat of both formats is float32");
}

}  // namespace

int main() {
  tensor_op_cases<default_case>::moves();
  tensor_op_cases<half_case>::moves();
  test_formats();
  return finish("layout");
}
