// Cases of reduce, matmul and the ops that move elements, for any device: `kernel_case` is that of kernel_test.h or one with
// the same members.
#ifndef VERSEMI_TEST_TENSOR_OP_CASES_H
#define VERSEMI_TEST_TENSOR_OP_CASES_H

#include "kernel_test.h"

namespace versemi_test {

template <typename kernel_case>
struct tensor_op_cases {
  static constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

  static std::string text(const doubles& attributes) {
    std::string result;
    for (double a : attributes) result += " " + std::to_string(static_cast<int64_t>(a));
    return result;
  }

  static void test_reduce(int64_t outer, int64_t reduced, int64_t inner) {
    generator random(static_cast<uint64_t>(outer + reduced * 3 + inner * 5));
    const std::vector<float> x = random.floats(outer * reduced * inner, 0.3f);
    using reduce = versemi::reduce_kind;
    for (reduce kind : {reduce::sum, reduce::mean, reduce::max, reduce::min, reduce::prod}) {
      doubles y(static_cast<std::size_t>(outer * inner));
      for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
          double total = kind == reduce::prod ? 1 : kind == reduce::max ? -INFINITY : kind == reduce::min ? INFINITY : 0;
          for (int64_t r = 0; r < reduced; r++) {
            const double v = x[(o * reduced + r) * inner + i];
            total = kind == reduce::prod ? total * v : kind == reduce::max ? std::fmax(total, v) : kind == reduce::min ? std::fmin(total, v) : total + v;
          }
          y[o * inner + i] = kind == reduce::mean ? total / static_cast<double>(reduced) : total;
        }
      const doubles attributes = {double(kind), double(outer), double(reduced), double(inner)};
      // Products of many numbers below 1 underflow in float32.
      kernel_case("reduce" + text(attributes), VERSEMI_REDUCE, attributes).in(x).out(y, 2e-7, kind == reduce::prod ? 1e-37 : 1e-12).run();
    }
  }

  static void test_matmul(int64_t batch, int64_t m, int64_t k, int64_t n, bool shared_b) {
    generator random(static_cast<uint64_t>(batch + m * 3 + k * 5 + n * 7));
    const std::vector<float> a = random.floats(batch * m * k), b = random.floats((shared_b ? 1 : batch) * k * n);
    for (bool ta : {false, true})
      for (bool tb : {false, true}) {
        doubles y(static_cast<std::size_t>(batch * m * n));
        for (int64_t s = 0; s < batch; s++)
          for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
              double total = 0;
              for (int64_t l = 0; l < k; l++) {
                const double left = a[s * m * k + (ta ? l * m + i : i * k + l)];
                total += left * b[(shared_b ? 0 : s * k * n) + (tb ? j * k + l : l * n + j)];
              }
              y[(s * m + i) * n + j] = total;
            }
        const doubles attributes = {double(batch), double(m), double(k), double(n), ta ? 1.0 : 0.0, tb ? 1.0 : 0.0, double(m * k),
                                    shared_b ? 0.0 : double(k * n)};
        kernel_case("matmul" + text(attributes), VERSEMI_MATMUL, attributes)
            .in(a).in(b).out(y, 1e-6, 4e-7 * std::sqrt(static_cast<double>(k) + 1)).run();
      }
  }

  using shape = std::vector<int64_t>;

  static int64_t count_of(const shape& s) {
    int64_t count = 1;
    for (int64_t size : s) count *= size;
    return count;
  }

  // Index of an element from its coordinates.
  static int64_t index_of(const shape& s, const shape& at) {
    int64_t index = 0;
    for (std::size_t i = 0; i < s.size(); i++) index = index * s[i] + at[i];
    return index;
  }

  static shape coordinates(const shape& s, int64_t index) {
    shape at(s.size());
    for (std::size_t i = s.size(); i-- > 0; index /= s[i]) at[i] = index % s[i];
    return at;
  }

  static doubles attributes_of(const std::vector<shape>& lists) {
    doubles attributes = {double(lists[0].size())};
    for (const shape& list : lists)
      for (int64_t value : list) attributes.push_back(double(value));
    return attributes;
  }

  // Every output element is source(coordinates in the output): an index into the input, or -1 for `otherwise`.
  template <typename Source>
  static void test_move(const char* name, int32_t op, const doubles& attributes, const shape& in, const shape& out, Source source,
                 double otherwise = 0) {
    generator random(static_cast<uint64_t>(count_of(in)));
    const std::vector<float> x = random.floats(count_of(in));
    doubles y(static_cast<std::size_t>(count_of(out)));
    for (int64_t i = 0; i < count_of(out); i++) {
      const int64_t from = source(coordinates(out, i));
      y[i] = from < 0 ? otherwise : x[from];
    }
    kernel_case(name + text(attributes), op, attributes).in(x).out(y, 0, 0).run();
  }

  static void test_transpose(const shape& in, const shape& permutation) {
    shape out;
    for (int64_t axis : permutation) out.push_back(in[axis]);
    test_move("transpose", VERSEMI_TRANSPOSE, attributes_of({in, permutation}), in, out, [&](const shape& at) {
      shape from(in.size());
      for (std::size_t i = 0; i < in.size(); i++) from[permutation[i]] = at[i];
      return index_of(in, from);
    });
  }

  static void test_slice(const shape& in, const shape& begin, const shape& size) {
    test_move("slice", VERSEMI_SLICE, attributes_of({in, begin, size}), in, size, [&](shape at) {
      for (std::size_t i = 0; i < in.size(); i++) at[i] += begin[i];
      return index_of(in, at);
    });
  }

  static void test_pad(const shape& in, const shape& before, const shape& after) {
    doubles attributes = attributes_of({in, before, after});
    attributes.push_back(2.5);
    shape out = in;
    for (std::size_t i = 0; i < in.size(); i++) out[i] += before[i] + after[i];
    test_move("pad", VERSEMI_PAD, attributes, in, out, [&](shape at) {
      for (std::size_t i = 0; i < in.size(); i++) {
        at[i] -= before[i];
        if (at[i] < 0 || at[i] >= in[i]) return int64_t{-1};
      }
      return index_of(in, at);
    }, 2.5);
  }

  static void test_tile(const shape& in, const shape& repetitions) {
    shape out = in;
    for (std::size_t i = 0; i < in.size(); i++) out[i] *= repetitions[i];
    test_move("tile", VERSEMI_TILE, attributes_of({in, repetitions}), in, out, [&](shape at) {
      for (std::size_t i = 0; i < in.size(); i++) at[i] %= in[i];
      return index_of(in, at);
    });
  }

  static void test_concat(int64_t outer, const shape& inner) {
    generator random(9);
    doubles attributes = {double(inner.size()), double(outer)};
    for (int64_t size : inner) attributes.push_back(double(size));
    kernel_case c("concat" + text(attributes), VERSEMI_CONCAT, attributes);
    std::vector<std::vector<float>> parts;
    for (int64_t size : inner) {
      parts.push_back(random.floats(outer * size));
      c.in(parts.back());
    }
    doubles y;
    for (int64_t o = 0; o < outer; o++)
      for (std::size_t i = 0; i < inner.size(); i++)
        y.insert(y.end(), parts[i].begin() + o * inner[i], parts[i].begin() + (o + 1) * inner[i]);
    c.out(y, 0, 0).run();
  }

  static void reductions() {
    test_reduce(1, 1, 1);
    test_reduce(3, 0, 2);
    test_reduce(2, 1000, 1);
    test_reduce(1, 200001, 1);
    test_reduce(1, 50000, 3);
    test_reduce(2, 9000, 16);
    test_reduce(3, 5, 700);
    test_reduce(1, 300, 513);
    test_reduce(70, 3, 4);
    kernel_case("maximum with NaN", VERSEMI_REDUCE, {2, 2, 3, 1}).in({1, NAN, 3, 1, 2, 3}).out({not_a_number, 3}, 0, 0).run();
    kernel_case("minimum with NaN", VERSEMI_REDUCE, {3, 1, 2, 2}).in({NAN, 1, 2, 3}).out({not_a_number, 1}, 0, 0).run();
  }

  static void products() {
    for (bool shared : {false, true}) {
      test_matmul(1, 1, 1, 1, shared);
      test_matmul(2, 7, 5, 33, shared);
      test_matmul(3, 1, 261, 162, shared);
      test_matmul(2, 70, 40, 17, shared);
      test_matmul(1, 9, 0, 4, shared);
      test_matmul(1, 16, 300, 64, shared);
    }
  }

  static void moves() {
    test_transpose({3, 4}, {1, 0});
    test_transpose({33, 65}, {1, 0});
    test_transpose({2, 3, 4, 5}, {0, 3, 1, 2});
    test_transpose({2, 3, 4, 5}, {3, 2, 1, 0});
    test_transpose({2, 3, 4, 5}, {1, 0, 2, 3});
    test_transpose({2, 1, 4, 1, 3}, {4, 3, 2, 1, 0});
    test_transpose({7}, {0});
    test_transpose({}, {});
    test_transpose({100, 3, 90}, {2, 1, 0});
    test_slice({4, 5, 6}, {1, 0, 2}, {2, 5, 3});
    test_slice({4, 5}, {0, 2}, {4, 1});
    test_slice({9}, {3}, {6});
    test_slice({4, 5}, {1, 1}, {0, 2});
    test_slice({300, 200}, {1, 0}, {299, 200});
    test_pad({3, 4}, {1, 0}, {0, 2});
    test_pad({3, 1}, {0, 1}, {2, 2});
    test_pad({5}, {2}, {3});
    test_pad({2, 30, 40, 3}, {0, 1, 1, 0}, {0, 1, 1, 0});
    test_pad({0, 2}, {1, 0}, {1, 0});
    test_tile({3, 4}, {2, 3});
    test_tile({3, 1}, {1, 4});
    test_tile({1}, {5});
    test_tile({2, 3, 1, 2}, {1, 2, 7, 1});
    test_tile({2, 3}, {0, 1});
    test_concat(1, {3});
    test_concat(3, {2, 5, 1});
    test_concat(5, {1, 1});
    test_concat(2, {20000, 0, 7});
    for (int64_t count : {0, 1, 17, 33000})
      kernel_case("fill", VERSEMI_FILL, {double(count), -1.5}).out(doubles(static_cast<std::size_t>(count), -1.5), 0, 0).run();
  }
};

}  // namespace versemi_test

#endif
