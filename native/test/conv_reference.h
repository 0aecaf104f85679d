// Helpers of the convolution tests: problems, buffers with guard bytes, random numbers, and running one row of the table.
#ifndef VERSEMI_TEST_CONV_REFERENCE_H
#define VERSEMI_TEST_CONV_REFERENCE_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/context.h"
#include "cpu/dispatch.h"
#include "versemi/conv_problem.h"

namespace versemi_test {

inline int failures = 0;

inline void check(bool condition, const std::string& what) {
  if (condition) return;
  failures++;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

// Uniform in [-1, 1), reproducible.
class generator {
 public:
  explicit generator(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  float next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<float>(static_cast<double>(state_ >> 11) / 4503599627370496.0 - 1.0);
  }
  std::vector<float> floats(int64_t count, float mean = 0) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = next() + mean;
    return values;
  }

 private:
  uint64_t state_;
};

// Floats between two guards; poisoned with NaN.
class guarded {
 public:
  explicit guarded(int64_t count) : count_(count), data_(static_cast<std::size_t>(count + 2 * guard), poison()) {
    for (int64_t i = 0; i < guard; i++) data_[i] = data_[guard + count + i] = mark;
  }
  float* data() { return data_.data() + guard; }
  const float* data() const { return data_.data() + guard; }
  int64_t count() const { return count_; }
  versemi_buffer buffer() { return versemi_buffer{data(), count_ * 4}; }
  bool intact() const {
    for (int64_t i = 0; i < guard; i++)
      if (data_[i] != mark || data_[guard + count_ + i] != mark) return false;
    return true;
  }
  std::vector<float> values() const { return std::vector<float>(data(), data() + count_); }

 private:
  static constexpr int64_t guard = 32;
  static constexpr float mark = 1234.5f;
  static float poison() { return std::numeric_limits<float>::quiet_NaN(); }
  int64_t count_;
  std::vector<float> data_;
};

inline versemi_buffer constant(const std::vector<float>& values) {
  return versemi_buffer{const_cast<float*>(values.data()), static_cast<int64_t>(values.size()) * 4};
}
constexpr versemi_buffer absent = {nullptr, 0};

inline std::vector<double> attributes_of(const versemi_conv_problem& p) {
  std::vector<double> a;
  const auto add = [&](int64_t value) { a.push_back(static_cast<double>(value)); };
  add(p.n);
  for (int64_t v : p.in) add(v);
  add(p.in_channels);
  for (int64_t v : p.out) add(v);
  add(p.out_channels);
  for (int64_t v : p.kernel) add(v);
  for (int64_t v : p.stride) add(v);
  for (int64_t v : p.pad) add(v);
  return a;
}

// A problem whose output covers every position, `after` zeros behind the last voxel.
inline versemi_conv_problem problem(int64_t n, int64_t d, int64_t h, int64_t w, int64_t ci, int64_t co, int64_t kernel,
                                    int64_t stride, int64_t pad) {
  versemi_conv_problem p = {
      n, {d, h, w}, ci, {0, 0, 0}, co, {kernel, kernel, kernel}, {stride, stride, stride}, {pad, pad, pad}};
  for (int i = 0; i < 3; i++) p.out[i] = (p.in[i] + 2 * p.pad[i] - p.kernel[i]) / p.stride[i] + 1;
  return p;
}

// Sizes that make long and short blocks of minimal filtering along each axis, and an output that ends elsewhere than the input.
inline void add_block_sizes(std::vector<versemi_conv_problem>& problems) {
  problems.push_back({1, {2, 24, 24}, 32, {2, 24, 24}, 32, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}});
  problems.push_back({1, {24, 2, 24}, 32, {24, 2, 24}, 32, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}});
  problems.push_back({1, {24, 24, 2}, 32, {24, 24, 2}, 32, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}});
  problems.push_back({1, {12, 14, 16}, 32, {9, 12, 21}, 32, {3, 3, 3}, {1, 1, 1}, {0, 1, 2}});
}

inline std::string text_of(const versemi_conv_problem& p) {
  char text[300];
  std::snprintf(text, sizeof text, "n%d in %dx%dx%dx%d out %dx%dx%dx%d kernel %dx%dx%d stride %dx%dx%d pad %dx%dx%d",
                (int)p.n, (int)p.in[0], (int)p.in[1], (int)p.in[2], (int)p.in_channels, (int)p.out[0], (int)p.out[1],
                (int)p.out[2], (int)p.out_channels, (int)p.kernel[0], (int)p.kernel[1], (int)p.kernel[2],
                (int)p.stride[0], (int)p.stride[1], (int)p.stride[2], (int)p.pad[0], (int)p.pad[1], (int)p.pad[2]);
  return text;
}

// Row of an op: the first one, or the last (plain) one.
inline const versemi_kernel* row_of(const char* isa, int32_t op, bool plain = false) {
  int32_t count = 0;
  const versemi_kernel* table = versemi::kernels_for(isa, &count);
  const versemi_kernel* found = nullptr;
  for (int32_t i = 0; i < count; i++)
    if (table[i].op == op && (found == nullptr || plain)) found = &table[i];
  return found;
}

inline void run_row(const versemi_kernel* row, versemi_context* context, std::vector<versemi_buffer> buffers,
                    const std::vector<double>& attributes, const std::string& what) {
  if (row == nullptr) return check(false, what + ": no kernel");
  const char* reason = row->refuses(context, attributes.data(), static_cast<int32_t>(attributes.size()));
  if (reason != nullptr) return check(false, what + ": " + reason);
  const versemi_status status = row->run(context, buffers.data(), static_cast<int32_t>(buffers.size()),
                                         attributes.data(), static_cast<int32_t>(attributes.size()));
  check(status.code == VERSEMI_OK, what + ": " + status.message);
}

// |a - b| <= absolute + relative * |reference|, written so that NaN fails.
inline void compare(const std::vector<float>& found, const std::vector<float>& expected, double relative,
                    double absolute, const std::string& what) {
  double worst = -1;
  std::size_t at = 0, bad = 0;
  for (std::size_t i = 0; i < expected.size(); i++) {
    const double difference = std::fabs(static_cast<double>(found[i]) - expected[i]);
    const double allowed = absolute + relative * std::fabs(static_cast<double>(expected[i]));
    if (!(difference <= allowed)) {
      bad++;
      if (!(difference - allowed <= worst)) {
        worst = difference - allowed;
        at = i;
      }
    }
  }
  char text[160];
  if (bad > 0)
    std::snprintf(text, sizeof text, ": %zu of %zu differ, e.g. [%zu] expected %.9g, found %.9g", bad, expected.size(),
                  at, static_cast<double>(expected[at]), static_cast<double>(found[at]));
  check(bad == 0, what + (bad > 0 ? text : ""));
}

inline double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); i++) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace versemi_test

#endif
