// unary (errors in units in the last place, special values) and binary (every broadcast pattern).
#include <functional>

#include "elementwise_cases.h"

using namespace versemi_test;

namespace {

struct cases : elementwise_cases<kernel_case> {
  struct function_case {
    unary kind;
    const char* name;
    std::function<double(double)> f;
    float low, high;
    double ulps;  // allowed error; 0.5 is correctly rounded
  };

  // Between -extreme and extreme with many small numbers, all in [low, high].
  static std::vector<float> samples(float low, float high) {
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

  static double ulp(double value) {
    const float f = std::fabs(static_cast<float>(value));
    if (f < std::numeric_limits<float>::min()) return std::ldexp(1.0, -149);
    return static_cast<double>(std::nextafter(f, finf)) - f;
  }

  static void test_accuracy(const function_case& c) {
    const std::vector<float> x = samples(c.low, c.high);
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
      versemi_context* context = versemi::create_context(2);
      guarded y(static_cast<int64_t>(x.size()));
      run_op(*isa, VERSEMI_UNARY, context, {constant(x), y.buffer()}, {double(c.kind), double(x.size()), 0, 0}, c.name);
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

  static void accuracy() {
    const std::vector<function_case> cases = {
        {unary::exp, "exp", [](double x) { return std::exp(x); }, -87.3f, 88.7f, 3},
        {unary::log, "log", [](double x) { return std::log(x); }, 1e-38f, 1e38f, 4},
        {unary::log, "log near 1", [](double x) { return std::log(x); }, 0.5f, 2.0f, 4},
        {unary::log1p, "log1p", [](double x) { return std::log1p(x); }, -0.999f, 1e6f, 4},
        {unary::log1p, "log1p near 0", [](double x) { return std::log1p(x); }, -0.5f, 0.5f, 4},
        {unary::expm1, "expm1", [](double x) { return std::expm1(x); }, -100.0f, 88.7f, 4},
        {unary::expm1, "expm1 near 0", [](double x) { return std::expm1(x); }, -0.5f, 0.5f, 4},
        {unary::sigmoid, "sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -87.0f, 40.0f, 4},
        {unary::tanh, "tanh", [](double x) { return std::tanh(x); }, -12.0f, 12.0f, 4},
        {unary::tanh, "tanh near 0", [](double x) { return std::tanh(x); }, -0.5f, 0.5f, 4},
        {unary::softplus, "softplus", [](double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))); }, -86.0f, 100.0f, 4},
        {unary::elu, "elu", [](double x) { return x >= 0 ? x : std::expm1(x); }, -20.0f, 20.0f, 4},
        {unary::sqrt, "sqrt", [](double x) { return std::sqrt(x); }, 0.0f, 1e30f, 0.5},
        {unary::rsqrt, "rsqrt", [](double x) { return 1 / std::sqrt(x); }, 1e-30f, 1e30f, 1.5},
        {unary::reciprocal, "reciprocal", [](double x) { return 1 / x; }, 1e-30f, 1e30f, 0.5},
        {unary::square, "square", [](double x) { return x * x; }, -1e10f, 1e10f, 0.5},
        {unary::floor, "floor", [](double x) { return std::floor(x); }, -1e9f, 1e9f, 0},
        {unary::floor, "floor of small numbers", [](double x) { return std::floor(x); }, -100.0f, 100.0f, 0},
        {unary::ceil, "ceil", [](double x) { return std::ceil(x); }, -100.0f, 100.0f, 0},
        {unary::round, "round", [](double x) { return std::nearbyint(x); }, -100.0f, 100.0f, 0},
    };
    for (const function_case& c : cases) test_accuracy(c);
  }
};

}  // namespace

int main() {
  cases::accuracy();
  cases::specials();
  cases::broadcasts();
  return finish("elementwise");
}
