// unary and binary: the cases of every device, the functions over their whole range, and bfloat16 in memory.
#include "test/elementwise_cases.h"
#include "test/harness.h"

using namespace versemi_test;

namespace {

using cases = elementwise_cases<default_case>;

std::vector<float> ramp(std::int64_t count) {
  generator random(7);
  return random.floats(count);
}

// Whichever operands are bfloat16, whatever the length: the sums are of the rounded values, and the result is bfloat16 where all
// full-size operands are.
void test_formats() {
  test_context context;
  for (const std::int64_t count : {1, 7, 8, 31, 4099})
    for (const storage a : {storage::float32, storage::bfloat16})
      for (const storage b : {storage::float32, storage::bfloat16}) {
        const std::vector<float> x = ramp(count), y = ramp(count + 1);
        doubles sum, row_sum;
        const auto value = [](float v, storage format) { return format == storage::bfloat16 ? bf16_value(bf16_bits(v)) : v; };
        for (std::size_t i = 0; i < x.size(); i++) {
          sum.push_back(static_cast<double>(value(x[i], a)) + value(y[i], b));
          row_sum.push_back(static_cast<double>(value(x[i], a)) + y[0]);
        }
        cuda_case both("add of formats", VERSEMI_BINARY, {double(cases::binary::add), 1, double(count), 1, 1});
        both.in(x, a).in({y.begin(), y.end() - 1}, b).out(sum, 1e-7, 0).run(context);
        const bool halves = a == storage::bfloat16 && b == storage::bfloat16;
        check(both.formats()[2] == (halves ? storage::bfloat16 : storage::float32), "format of a sum");
        if (count == 1) continue;
        cuda_case row("add of one value", VERSEMI_BINARY, {double(cases::binary::add), 1, double(count), 1, 0});
        row.in(x, a).in({y[0]}).out(row_sum, 1e-7, 0).run(context);
        check(row.formats()[2] == a, "format of a sum with one value");
        cuda_case negative("neg of a format", VERSEMI_UNARY, {double(cases::unary::neg), double(count), 0, 0});
        doubles negated;
        for (float v : x) negated.push_back(-value(v, a));
        negative.in(x, a).out(negated, 0, 0).run(context);
        check(negative.formats()[1] == a, "format of neg");
      }
}

void test_range(cases::unary kind, double (*f)(double), float low, float high, double relative) {
  std::vector<float> x = ramp(3000);
  doubles y;
  for (float& v : x) {
    v = low + (high - low) * (v * 0.5f + 0.5f);
    y.push_back(f(v));
  }
  default_case("range of unary " + std::to_string(int(kind)), VERSEMI_UNARY, {double(kind), double(x.size()), 0, 0})
      .in(x).out(y, relative, 1e-37).run();
}

}  // namespace

int main() {
  cases::specials();
  cases::broadcasts();
  test_formats();
  test_range(cases::unary::exp, std::exp, -80, 80, 3e-7);
  test_range(cases::unary::log, std::log, 1e-3f, 100, 4e-7);
  test_range(cases::unary::log1p, std::log1p, -0.9f, 100, 4e-7);
  test_range(cases::unary::expm1, std::expm1, -5, 5, 4e-7);
  test_range(cases::unary::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 40, 5e-7);
  test_range(cases::unary::tanh, std::tanh, -9, 9, 4e-7);
  test_range(cases::unary::softplus, [](double x) { return std::log1p(std::exp(x)); }, -80, 80, 5e-7);
  test_range(cases::unary::rsqrt, [](double x) { return 1 / std::sqrt(x); }, 1e-3f, 100, 3e-7);
  test_range(cases::unary::square, [](double x) { return x * x; }, -100, 100, 1e-7);
  test_range(cases::unary::reciprocal, [](double x) { return 1 / x; }, 1, 100, 1e-7);
  return finish("elementwise");
}
