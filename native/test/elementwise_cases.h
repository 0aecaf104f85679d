// Cases of unary (special values) and binary (every broadcast pattern), for any device: `kernel_case` is that of kernel_test.h
// or one with the same members.
#ifndef VERSEMI_TEST_ELEMENTWISE_CASES_H
#define VERSEMI_TEST_ELEMENTWISE_CASES_H

#include "kernel_test.h"

namespace versemi_test {

template <typename kernel_case>
struct elementwise_cases {
  static constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN(), infinity = INFINITY;
  static constexpr float fnan = NAN, finf = INFINITY;

  using unary = versemi::unary_kind;
  using binary = versemi::binary_kind;

  static void special(unary kind, const std::vector<float>& x, const doubles& y, double a = 0, double b = 0) {
    kernel_case("special values of unary " + std::to_string(int(kind)), VERSEMI_UNARY, {double(kind), double(x.size()), a, b})
        .in(x).out(y, 4e-7, 1e-38).run();  // what is smaller than normal numbers may be 0
  }

  static void specials() {
    const std::vector<float> x = {fnan, -finf, finf, 0.0f, -2.5f, 7.0f};
    special(unary::identity, x, {not_a_number, -infinity, infinity, 0, -2.5, 7});
    special(unary::neg, x, {not_a_number, infinity, -infinity, 0, 2.5, -7});
    special(unary::abs, x, {not_a_number, infinity, infinity, 0, 2.5, 7});
    special(unary::sqrt, x, {not_a_number, not_a_number, infinity, 0, not_a_number, std::sqrt(7.0)});
    special(unary::exp, x, {not_a_number, 0, infinity, 1, std::exp(-2.5), std::exp(7.0)});
    special(unary::exp, {88.8f, 89.5f, -88.0f, -200.0f}, {infinity, infinity, 0, 0});
    special(unary::log, x, {not_a_number, not_a_number, infinity, -infinity, not_a_number, std::log(7.0)});
    special(unary::log, {1e-45f, 1e-40f, 1.0f}, {std::log(double(1e-45f)), std::log(double(1e-40f)), 0});
    special(unary::log1p, x, {not_a_number, not_a_number, infinity, 0, not_a_number, std::log1p(7.0)});
    special(unary::log1p, {-1.0f, 3e38f, 1e-30f}, {-infinity, std::log1p(double(3e38f)), 1e-30f});
    special(unary::expm1, x, {not_a_number, -1, infinity, 0, std::expm1(-2.5), std::expm1(7.0)});
    special(unary::expm1, {88.5f, 89.5f, 1e-30f}, {std::expm1(88.5), infinity, 1e-30f});
    special(unary::sigmoid, x, {not_a_number, 0, 1, 0.5, 1 / (1 + std::exp(2.5)), 1 / (1 + std::exp(-7.0))});
    special(unary::tanh, x, {not_a_number, -1, 1, 0, std::tanh(-2.5), std::tanh(7.0)});
    special(unary::tanh, {-100, 100, 1e-30f}, {-1, 1, 1e-30f});
    special(unary::softplus, x, {not_a_number, 0, infinity, std::log(2.0), std::log1p(std::exp(-2.5)), std::log1p(std::exp(7.0))});
    special(unary::relu, x, {not_a_number, 0, infinity, 0, 0, 7});
    special(unary::relu6, x, {not_a_number, 0, 6, 0, 0, 6});
    special(unary::leaky_relu, x, {not_a_number, -infinity, infinity, 0, -0.5, 7}, 0.2);
    special(unary::elu, x, {not_a_number, -1, infinity, 0, std::expm1(-2.5), 7});
    special(unary::sign, x, {0, -1, 1, 0, -1, 1});
    special(unary::floor, {fnan, -finf, finf, -2.5f, 2.5f, 3e9f}, {not_a_number, -infinity, infinity, -3, 2, 3e9});
    special(unary::ceil, {fnan, -2.5f, 2.5f, -0.5f}, {not_a_number, -2, 3, 0});
    special(unary::round, {fnan, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 8388609.0f}, {not_a_number, 0, 2, 2, 0, -2, 8388609});
    special(unary::clip, x, {not_a_number, -1, 2, 0, -1, 2}, -1, 2);
    special(unary::step, x, {not_a_number, 0.25, 1, 0.25, 0.25, 1}, 0.25);
    for (int64_t count : {0, 1, 16, 40001}) {
      generator random(5);
      const std::vector<float> values = random.floats(count);
      doubles expected;
      for (float v : values) expected.push_back(v > 0 ? v : 0);
      kernel_case("relu of " + std::to_string(count), VERSEMI_UNARY, {double(unary::relu), double(count), 0, 0}).in(values).out(expected, 0, 0).run();
    }
  }

  static double apply(binary kind, double a, double b) {
    switch (kind) {
      case binary::add: return a + b;
      case binary::sub: return a - b;
      case binary::mul: return a * b;
      case binary::div: return a / b;
      case binary::div_no_nan: return b == 0 ? 0 : a / b;
      case binary::max: return std::isnan(a) || std::isnan(b) ? not_a_number : a > b ? a : b;
      case binary::min: return std::isnan(a) || std::isnan(b) ? not_a_number : a < b ? a : b;
      case binary::pow: return std::pow(a, b);
      case binary::squared_difference: return (a - b) * (a - b);
    }
    return not_a_number;
  }

  // a_shape and b_shape broadcast to `shape` (sizes equal or 1).
  static void test_binary(binary kind, const std::vector<int64_t>& shape, const std::vector<int64_t>& a_shape, const std::vector<int64_t>& b_shape) {
    generator random(static_cast<uint64_t>(shape.size() * 10) + static_cast<uint64_t>(kind));
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
    if (kind == binary::pow)
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
    std::string name = "binary " + std::to_string(int(kind));
    for (std::size_t i = 0; i < rank; i++) name += " " + std::to_string(a_shape[i]) + ":" + std::to_string(b_shape[i]);
    kernel_case(name, VERSEMI_BINARY, attributes).in(a).in(b).out(expected, 3e-7, 1e-37).run();
  }

  static void broadcasts() {
    for (binary kind : {binary::add, binary::sub, binary::mul, binary::div, binary::div_no_nan, binary::max, binary::min, binary::pow,
                        binary::squared_difference}) {
      test_binary(kind, {}, {}, {});
      test_binary(kind, {37}, {37}, {37});
      test_binary(kind, {40000}, {40000}, {40000});
      test_binary(kind, {5, 7, 9}, {5, 7, 9}, {1, 1, 1});
      test_binary(kind, {5, 7, 9}, {1, 1, 1}, {5, 7, 9});
      test_binary(kind, {3, 11, 8}, {3, 11, 8}, {1, 1, 8});
      test_binary(kind, {500, 3}, {1, 3}, {500, 3});
    }
    test_binary(binary::sub, {3000, 16}, {3000, 16}, {1, 16});
    test_binary(binary::sub, {30, 160}, {30, 160}, {1, 160});
    test_binary(binary::sub, {2, 5, 1, 6}, {2, 1, 1, 6}, {2, 5, 1, 6});
    test_binary(binary::sub, {2, 5, 4, 6}, {2, 1, 4, 1}, {1, 5, 1, 6});
    test_binary(binary::sub, {2, 5, 4}, {2, 5, 4}, {2, 5, 1});
    test_binary(binary::sub, {7, 5}, {7, 1}, {1, 5});
    test_binary(binary::sub, {2, 17000}, {2, 17000}, {2, 1});
    test_binary(binary::sub, {3, 20000}, {1, 20000}, {3, 20000});
    test_binary(binary::sub, {2, 1, 3, 1, 2, 5}, {2, 1, 1, 1, 2, 1}, {1, 1, 3, 1, 2, 5});
    test_binary(binary::sub, {0, 4}, {0, 4}, {1, 4});
    const std::vector<float> a = {fnan, 1, fnan, finf, -0.0f, 2}, b = {1, fnan, fnan, finf, 0.0f, 2};
    for (binary kind : {binary::max, binary::min, binary::add, binary::div_no_nan}) {
      doubles expected;
      for (std::size_t i = 0; i < a.size(); i++) expected.push_back(apply(kind, a[i], b[i]));
      kernel_case("NaN in binary " + std::to_string(int(kind)), VERSEMI_BINARY, {double(kind), 1, double(a.size()), 1, 1})
          .in(a).in(b).out(expected, 1e-7, 0).run();
    }
  }
};

}  // namespace versemi_test

#endif
