// What every test of kernels needs: checks, random numbers, buffers with guard bytes, running an op of the table; and
// `kernel_case`, which runs one call of an op on every instruction set and several numbers of threads: against the double
// reference, with guards around every output, inputs that must not change, and equal bits on repeat and for any number of threads.
#ifndef VERSEMI_TEST_KERNEL_TEST_H
#define VERSEMI_TEST_KERNEL_TEST_H

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cpu/context.h"
#include "cpu/dispatch.h"

namespace versemi_test {

inline int failures = 0;

// VERSEMI_TEST_CASES=few: short lists of cases, where an emulator of another processor or a sanitizer would take minutes for the
// long ones.
inline bool few_cases() {
  const char* cases = std::getenv("VERSEMI_TEST_CASES");
  return cases != nullptr && std::strcmp(cases, "few") == 0;
}

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

using doubles = std::vector<double>;

inline doubles to_doubles(const std::vector<float>& values) { return doubles(values.begin(), values.end()); }

// |found - expected| <= absolute + relative * |expected|; NaN and infinity must be where they are expected.
inline void compare(const std::vector<float>& found, const doubles& expected, double relative, double absolute,
                    const std::string& what) {
  std::size_t bad = 0, at = 0;
  for (std::size_t i = 0; i < expected.size(); i++) {
    const double f = found[i], e = expected[i];
    const bool same = (std::isnan(e) && std::isnan(f)) || f == e ||
                      std::fabs(f - e) <= absolute + relative * std::fabs(e);
    if (!same && bad++ == 0) at = i;
  }
  if (bad == 0) return;
  char text[200];
  std::snprintf(text, sizeof text, ": %zu of %zu differ, first [%zu] expected %.9g, found %.9g", bad, expected.size(), at,
                expected[at], static_cast<double>(found[at]));
  check(false, what + text);
}

// The first row of an op that takes a call, as the device chooses it; nullptr with the reasons in `reasons`.
inline const versemi_kernel* row_for(const char* isa, int32_t op, versemi_context* context, const std::vector<double>& attributes,
                                     std::string* reasons) {
  int32_t count = 0;
  const versemi_kernel* table = versemi::kernels_for(isa, &count);
  for (const versemi_kernel* row = table; row < table + count; row++) {
    if (row->op != op) continue;
    const char* reason = row->refuses(context, attributes.data(), static_cast<int32_t>(attributes.size()));
    if (reason == nullptr) return row;
    *reasons += std::string(row->name) + ": " + reason + "; ";
  }
  return nullptr;
}

inline void run_op(const char* isa, int32_t op, versemi_context* context, std::vector<versemi_buffer> buffers,
                   const std::vector<double>& attributes, const std::string& what) {
  std::string reasons;
  const versemi_kernel* row = row_for(isa, op, context, attributes, &reasons);
  if (row == nullptr) return check(false, what + ": no kernel; " + reasons);
  const versemi_status status = row->run(context, buffers.data(), static_cast<int32_t>(buffers.size()), attributes.data(),
                                         static_cast<int32_t>(attributes.size()));
  check(status.code == VERSEMI_OK, what + ": " + status.message);
}

inline double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); i++) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

class kernel_case {
 public:
  kernel_case(std::string name, int32_t op, doubles attributes)
      : name_(std::move(name)), op_(op), attributes_(std::move(attributes)) {}

  kernel_case& in(const std::vector<float>& values) { return add({kind::input, values, {}, 0, 0}); }
  kernel_case& none() { return add({kind::absent, {}, {}, 0, 0}); }
  kernel_case& out(const doubles& expected, double relative, double absolute) {
    return add({kind::output, {}, expected, relative, absolute});
  }
  // A buffer that is changed in place.
  kernel_case& in_out(const std::vector<float>& values, const doubles& expected, double relative, double absolute) {
    return add({kind::in_out, values, expected, relative, absolute});
  }

  void run() const {
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
      std::vector<std::vector<float>> first;
      for (int threads : few_cases() ? std::vector<int>{1, 3} : std::vector<int>{1, 2, 3, 3}) {
        const std::string where = name_ + " on " + *isa + ", " + std::to_string(threads) + " threads";
        const std::vector<std::vector<float>> results = once(*isa, threads, where);
        if (first.empty()) {
          first = results;
          continue;
        }
        for (std::size_t i = 0; i < results.size(); i++)
          check(results[i].empty() || std::memcmp(results[i].data(), first[i].data(), results[i].size() * 4) == 0,
                where + ": other bits than with one thread in output " + std::to_string(i));
      }
    }
  }

 private:
  enum class kind { input, absent, output, in_out };
  struct argument {
    kind what;
    std::vector<float> values;
    doubles expected;
    double relative, absolute;
  };

  kernel_case& add(argument a) {
    arguments_.push_back(std::move(a));
    return *this;
  }

  std::vector<std::vector<float>> once(const char* isa, int threads, const std::string& where) const {
    versemi_context* context = versemi::create_context(threads);
    std::vector<guarded> memory;
    memory.reserve(arguments_.size());
    // Inputs have nothing around them, so that the address sanitizer sees a read outside.
    std::vector<std::vector<float>> inputs;
    inputs.reserve(arguments_.size());
    std::vector<versemi_buffer> buffers;
    for (const argument& a : arguments_) {
      inputs.push_back(a.values);
      memory.emplace_back(static_cast<int64_t>(a.expected.size()));
      guarded& g = memory.back();
      if (a.what == kind::in_out && !a.values.empty()) std::memcpy(g.data(), a.values.data(), a.values.size() * 4);
      if (a.what == kind::absent) {
        buffers.push_back(versemi_test::absent);
      } else {
        buffers.push_back(a.what == kind::input ? constant(inputs.back()) : g.buffer());
      }
    }
    run_op(isa, op_, context, buffers, attributes_, where);
    std::vector<std::vector<float>> results;
    for (std::size_t i = 0; i < arguments_.size(); i++) {
      const argument& a = arguments_[i];
      const std::string what = where + ", buffer " + std::to_string(i);
      check(memory[i].intact(), what + ": written outside");
      if (a.what == kind::input)
        check(a.values.empty() || std::memcmp(inputs[i].data(), a.values.data(), a.values.size() * 4) == 0, what + ": an input changed");
      if (a.what != kind::output && a.what != kind::in_out) continue;
      results.push_back(memory[i].values());
      compare(results.back(), a.expected, a.relative, a.absolute, what);
    }
    versemi::destroy_context(context);
    return results;
  }

  std::string name_;
  int32_t op_;
  doubles attributes_;
  std::vector<argument> arguments_;
};

inline int finish(const char* program) {
  if (failures == 0) std::printf("%s: all passed\n", program);
  return failures == 0 ? 0 : 1;
}

}  // namespace versemi_test

#endif
