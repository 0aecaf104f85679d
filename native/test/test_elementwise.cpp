// unary (errors in units in the last place, special values) and binary (every broadcast pattern).
#include <functional>

#include "kernel_test.h"

using namespace versemi_test;

namespace {

const double not_a_number = std::nan(""), infinity = INFINITY;
const float fnan = NAN, finf = INFINITY;

// Order of unaryKinds and binaryKinds in src/tfjs/kernel-table.ts.
enum unary_kind { identity, neg, abs_kind, square, sqrt_kind, rsqrt, reciprocal, exp_kind, log_kind, log1p_kind, expm1_kind, sigmoid,
                  tanh_kind, relu, relu6, leaky_relu, elu, softplus, sign, floor_kind, ceil_kind, round_kind, clip, step };
enum binary_kind { add, sub, mul, div_kind, div_no_nan, max_kind, min_kind, pow_kind, squared_difference };

struct function_case {
  unary_kind kind;
  const char* name;
  std::function<double(double)> f;
  float low, high;
  double ulps;  // allowed error; 0.5 is correctly rounded
};

// Between -extreme and extreme with many small numbers, all in [low, high].
std::vector<float> samples(float low, float high) {
  generator random(11);
  std::vector<float> x;
  for (int i = 0; i < 20000; i++) x.push_back(low + (high - low) * (random.next() * 0.5f + 0.5f));
  for (int i = 0; i < 20000; i++) {
    const float small = std::ldexp(random.next(), static_cast<int>(random.next() * 20 - 20));
    if (small >= low && small <= high) x.push_back(small);
    if (1 + small >= low && 1 + small <= high) x.push_back(1 + small);
  }
  x.push_back(low);
  x.push_back(high);
  return x;
}

double ulp(double value) {
  const float f = std::fabs(static_cast<float>(value));
  if (f < std::numeric_limits<float>::min()) return std::ldexp(1.0, -149);
  return static_cast<double>(std::nextafter(f, finf)) - f;
}

void test_accuracy(const function_case& c) {
  const std::vector<float> x = samples(c.low, c.high);
  for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
    versemi_context* context = versemi::create_context(2);
    guarded y(static_cast<int64_t>(x.size()));
    run_row(row_of(*isa, VERSEMI_UNARY), context, {constant(x), y.buffer()}, {double(c.kind), double(x.size()), 0, 0}, c.name);
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < x.size(); i++) {
      const double expected = c.f(x[i]), found = y.data()[i];
      if (found == expected || static_cast<float>(expected) == y.data()[i]) continue;
      const double error = std::fabs(found - expected) / ulp(expected);
      if (!(error <= worst)) worst = error, at = i;
    }
    char text[200];
    std::snprintf(text, sizeof text, "%s on %s: %.2f units in the last place at %.9g (%.9g instead of %.9g), allowed %.1f", c.name,
                  *isa, worst, x[at], y.data()[at], c.f(x[at]), c.ulps);
    std::printf("%s\n", text);
    check(worst <= c.ulps && y.intact(), text);
    versemi::destroy_context(context);
  }
}

void special(unary_kind kind, const std::vector<float>& x, const doubles& y, double a = 0, double b = 0) {
  kernel_case("special values of unary " + std::to_string(kind), VERSEMI_UNARY, {double(kind), double(x.size()), a, b})
      .in(x).out(y, 4e-7, 0).run();
}

void test_unary() {
  const std::vector<function_case> cases = {
      {exp_kind, "exp", [](double x) { return std::exp(x); }, -87.3f, 88.7f, 3},
      {log_kind, "log", [](double x) { return std::log(x); }, 1e-38f, 1e38f, 4},
      {log_kind, "log near 1", [](double x) { return std::log(x); }, 0.5f, 2.0f, 4},
      {log1p_kind, "log1p", [](double x) { return std::log1p(x); }, -0.999f, 1e6f, 4},
      {log1p_kind, "log1p near 0", [](double x) { return std::log1p(x); }, -0.5f, 0.5f, 4},
      {expm1_kind, "expm1", [](double x) { return std::expm1(x); }, -100.0f, 88.7f, 4},
      {expm1_kind, "expm1 near 0", [](double x) { return std::expm1(x); }, -0.5f, 0.5f, 4},
      {sigmoid, "sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -87.0f, 40.0f, 4},
      {tanh_kind, "tanh", [](double x) { return std::tanh(x); }, -12.0f, 12.0f, 4},
      {tanh_kind, "tanh near 0", [](double x) { return std::tanh(x); }, -0.5f, 0.5f, 4},
      {softplus, "softplus", [](double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))); }, -86.0f, 100.0f, 4},
      {elu, "elu", [](double x) { return x >= 0 ? x : std::expm1(x); }, -20.0f, 20.0f, 4},
      {sqrt_kind, "sqrt", [](double x) { return std::sqrt(x); }, 0.0f, 1e30f, 0.5},
      {rsqrt, "rsqrt", [](double x) { return 1 / std::sqrt(x); }, 1e-30f, 1e30f, 1.5},
      {reciprocal, "reciprocal", [](double x) { return 1 / x; }, 1e-30f, 1e30f, 0.5},
      {square, "square", [](double x) { return x * x; }, -1e10f, 1e10f, 0.5},
      {floor_kind, "floor", [](double x) { return std::floor(x); }, -1e9f, 1e9f, 0},
      {floor_kind, "floor of small numbers", [](double x) { return std::floor(x); }, -100.0f, 100.0f, 0},
      {ceil_kind, "ceil", [](double x) { return std::ceil(x); }, -100.0f, 100.0f, 0},
      {round_kind, "round", [](double x) { return std::nearbyint(x); }, -100.0f, 100.0f, 0},
  };
  for (const function_case& c : cases) test_accuracy(c);
  const std::vector<float> x = {fnan, -finf, finf, 0.0f, -2.5f, 7.0f};
  special(identity, x, {not_a_number, -infinity, infinity, 0, -2.5, 7});
  special(neg, x, {not_a_number, infinity, -infinity, 0, 2.5, -7});
  special(abs_kind, x, {not_a_number, infinity, infinity, 0, 2.5, 7});
  special(sqrt_kind, x, {not_a_number, not_a_number, infinity, 0, not_a_number, std::sqrt(7.0)});
  special(exp_kind, x, {not_a_number, 0, infinity, 1, std::exp(-2.5), std::exp(7.0)});
  special(exp_kind, {88.8f, 89.5f, -88.0f, -200.0f}, {infinity, infinity, 0, 0});
  special(log_kind, x, {not_a_number, not_a_number, infinity, -infinity, not_a_number, std::log(7.0)});
  special(log_kind, {1e-45f, 1e-40f, 1.0f}, {std::log(double(1e-45f)), std::log(double(1e-40f)), 0});
  special(log1p_kind, x, {not_a_number, not_a_number, infinity, 0, not_a_number, std::log1p(7.0)});
  special(log1p_kind, {-1.0f, 3e38f, 1e-30f}, {-infinity, std::log1p(double(3e38f)), 1e-30f});
  special(expm1_kind, x, {not_a_number, -1, infinity, 0, std::expm1(-2.5), std::expm1(7.0)});
  special(expm1_kind, {88.5f, 89.5f, 1e-30f}, {std::expm1(88.5), infinity, 1e-30f});
  special(sigmoid, x, {not_a_number, 0, 1, 0.5, 1 / (1 + std::exp(2.5)), 1 / (1 + std::exp(-7.0))});
  special(tanh_kind, x, {not_a_number, -1, 1, 0, std::tanh(-2.5), std::tanh(7.0)});
  special(tanh_kind, {-100, 100, 1e-30f}, {-1, 1, 1e-30f});
  special(softplus, x, {not_a_number, 0, infinity, std::log(2.0), std::log1p(std::exp(-2.5)), std::log1p(std::exp(7.0))});
  special(relu, x, {not_a_number, 0, infinity, 0, 0, 7});
  special(relu6, x, {not_a_number, 0, 6, 0, 0, 6});
  special(leaky_relu, x, {not_a_number, -infinity, infinity, 0, -0.5, 7}, 0.2);
  special(elu, x, {not_a_number, -1, infinity, 0, std::expm1(-2.5), 7});
  special(sign, x, {0, -1, 1, 0, -1, 1});
  special(floor_kind, {fnan, -finf, finf, -2.5f, 2.5f, 3e9f}, {not_a_number, -infinity, infinity, -3, 2, 3e9});
  special(ceil_kind, {fnan, -2.5f, 2.5f, -0.5f}, {not_a_number, -2, 3, 0});
  special(round_kind, {fnan, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 8388609.0f}, {not_a_number, 0, 2, 2, 0, -2, 8388609});
  special(clip, x, {not_a_number, -1, 2, 0, -1, 2}, -1, 2);
  special(step, x, {not_a_number, 0.25, 1, 0.25, 0.25, 1}, 0.25);
  for (int64_t count : {0, 1, 16, 40001}) {
    generator random(5);
    const std::vector<float> values = random.floats(count);
    doubles expected;
    for (float v : values) expected.push_back(v > 0 ? v : 0);
    kernel_case("relu of " + std::to_string(count), VERSEMI_UNARY, {double(relu), double(count), 0, 0}).in(values).out(expected, 0, 0).run();
  }
}

double apply(int kind, double a, double b) {
  switch (kind) {
    case add: return a + b;
    case sub: return a - b;
    case mul: return a * b;
    case div_kind: return a / b;
    case div_no_nan: return b == 0 ? 0 : a / b;
    case max_kind: return std::isnan(a) || std::isnan(b) ? not_a_number : a > b ? a : b;
    case min_kind: return std::isnan(a) || std::isnan(b) ? not_a_number : a < b ? a : b;
    case pow_kind: return std::pow(a, b);
    default: return (a - b) * (a - b);
  }
}

// a_shape and b_shape broadcast to `shape` (sizes equal or 1).
void test_binary(int kind, const std::vector<int64_t>& shape, const std::vector<int64_t>& a_shape, const std::vector<int64_t>& b_shape) {
  generator random(static_cast<uint64_t>(shape.size() * 10 + kind));
  const std::size_t rank = shape.size();
  doubles attributes = {double(kind), double(rank)};
  for (int64_t size : shape) attributes.push_back(double(size));
  std::vector<int64_t> strides[2];
  int64_t counts[2];
  for (int operand = 0; operand < 2; operand++) {
    const std::vector<int64_t>& own = operand == 0 ? a_shape : b_shape;
    strides[operand].resize(rank);
    int64_t step = 1;
    for (std::size_t i = rank; i-- > 0;) {
      strides[operand][i] = own[i] == 1 ? 0 : step;
      step *= own[i];
    }
    counts[operand] = step;
    for (int64_t stride : strides[operand]) attributes.push_back(double(stride));
  }
  std::vector<float> a = random.floats(counts[0]), b = random.floats(counts[1]);
  if (kind == pow_kind)
    for (float& v : a) v = std::fabs(v);
  if (counts[1] > 2) b[1] = 0;
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  doubles expected(static_cast<std::size_t>(count));
  for (int64_t i = 0; i < count; i++) {
    int64_t rest = i, at[2] = {0, 0};
    for (std::size_t axis = rank; axis-- > 0;) {
      for (int operand = 0; operand < 2; operand++) at[operand] += rest % shape[axis] * strides[operand][axis];
      rest /= shape[axis];
    }
    expected[i] = apply(kind, a[at[0]], b[at[1]]);
  }
  std::string name = "binary " + std::to_string(kind);
  for (std::size_t i = 0; i < rank; i++) name += " " + std::to_string(a_shape[i]) + ":" + std::to_string(b_shape[i]);
  kernel_case(name, VERSEMI_BINARY, attributes).in(a).in(b).out(expected, 3e-7, 1e-37).run();
}

void test_broadcasts() {
  for (int kind = 0; kind <= squared_difference; kind++) {
    test_binary(kind, {}, {}, {});
    test_binary(kind, {37}, {37}, {37});
    test_binary(kind, {40000}, {40000}, {40000});
    test_binary(kind, {5, 7, 9}, {5, 7, 9}, {1, 1, 1});
    test_binary(kind, {5, 7, 9}, {1, 1, 1}, {5, 7, 9});
    test_binary(kind, {3, 11, 8}, {3, 11, 8}, {1, 1, 8});
    test_binary(kind, {500, 3}, {1, 3}, {500, 3});
  }
  test_binary(sub, {3000, 16}, {3000, 16}, {1, 16});
  test_binary(sub, {30, 160}, {30, 160}, {1, 160});
  test_binary(sub, {2, 5, 1, 6}, {2, 1, 1, 6}, {2, 5, 1, 6});
  test_binary(sub, {2, 5, 4, 6}, {2, 1, 4, 1}, {1, 5, 1, 6});
  test_binary(sub, {2, 5, 4}, {2, 5, 4}, {2, 5, 1});
  test_binary(sub, {7, 5}, {7, 1}, {1, 5});
  test_binary(sub, {2, 17000}, {2, 17000}, {2, 1});
  test_binary(sub, {3, 20000}, {1, 20000}, {3, 20000});
  test_binary(sub, {2, 1, 3, 1, 2, 5}, {2, 1, 1, 1, 2, 1}, {1, 1, 3, 1, 2, 5});
  test_binary(sub, {0, 4}, {0, 4}, {1, 4});
  const std::vector<float> a = {fnan, 1, fnan, finf, -0.0f, 2}, b = {1, fnan, fnan, finf, 0.0f, 2};
  for (int kind : {max_kind, min_kind, add, div_no_nan}) {
    doubles expected;
    for (std::size_t i = 0; i < a.size(); i++) expected.push_back(apply(kind, a[i], b[i]));
    kernel_case("NaN in binary " + std::to_string(kind), VERSEMI_BINARY, {double(kind), 1, double(a.size()), 1, 1})
        .in(a).in(b).out(expected, 1e-7, 0).run();
  }
}

}  // namespace

int main() {
  test_unary();
  test_broadcasts();
  return finish("elementwise");
}
