// Runs one call of an op on every instruction set and several numbers of threads: against the double reference, with
// guards around every output, inputs that must not change, and equal bits on repeat and for any number of threads.
#ifndef VERSEMI_TEST_KERNEL_TEST_H
#define VERSEMI_TEST_KERNEL_TEST_H

#include "conv_reference.h"

namespace versemi_test {

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
      for (int threads : {1, 2, 3, 3}) {
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
    run_row(row_of(isa, op_), context, buffers, attributes_, where);
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
