// One problem of the convolution family on every row of the CUDA table that takes it, against plain sums in double.
#ifndef VERSEMI_CUDA_TEST_CONV_CASES_H
#define VERSEMI_CUDA_TEST_CONV_CASES_H

#include <algorithm>
#include <set>

#include "test/harness.h"

namespace versemi_test {

inline const char* text_of(precision operands) {
  return operands == precision::bfloat16 ? "bf16" : operands == precision::tf32 ? "tf32" : "float32";
}

// Names of the rows that take a call, best first.
inline std::vector<std::string> rows_that_take(test_context& context, std::int32_t op, const doubles& attributes) {
  std::int32_t count = 0;
  const versemi::cuda::kernel* const* rows = versemi::cuda::rows_of(op, &count);
  std::vector<std::string> names;
  for (std::int32_t i = 0; i < count; i++) {
    const char* reason = rows[i]->refuses(context, attributes.data(), static_cast<std::int32_t>(attributes.size()));
    if (reason == nullptr) names.push_back(rows[i]->name);
  }
  return names;
}

// A value that bfloat16 and TF32 hold exactly: all precisions and rows then make the same products, and only the order of the
// sums differs (and the rounding of what is stored).
struct conv_inputs {
  std::vector<float> input, weight, bias_out, bias_in, grad_output, skip_out, skip_in;
  conv_inputs(const versemi_conv_problem& p, std::uint64_t seed, float mean = 0.5f, bool exact = true) {
    generator random(seed);
    const auto make = [&](std::int64_t count, float around) {
      std::vector<float> values = random.floats(count, around);
      return exact ? rounded_to_bf16(values) : values;
    };
    input = make(versemi_conv_input_count(&p), mean);
    weight = make(versemi_conv_weight_count(&p), 0.25f);
    bias_out = make(p.out_channels, 0);
    bias_in = make(p.in_channels, 0);
    grad_output = make(versemi_conv_output_count(&p), mean);
    skip_out = make(versemi_conv_output_count(&p), 0);
    skip_in = make(versemi_conv_input_count(&p), 0);
  }
};

// Forward and grad-input, with and without bias. Rows that ran are added to `ran`.
inline void check_conv(test_context& context, const versemi_conv_problem& p, std::uint64_t seed, std::set<std::string>* ran) {
  const conv_inputs x(p, seed);
  const doubles attributes = attributes_of(p);
  for (bool backward : {false, true}) {
    const std::int32_t op = backward ? VERSEMI_CONV3D_GRAD_INPUT : VERSEMI_CONV3D_FORWARD;
    const std::vector<float>& source = backward ? x.grad_output : x.input;
    const std::vector<float>& bias = backward ? x.bias_in : x.bias_out;
    const double taps = static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
    const double reduction = taps * static_cast<double>(backward ? p.out_channels : p.in_channels);
    const bool with_bias = seed % 2 == 0;
    const std::vector<float> added = with_bias ? bias : std::vector<float>();
    const doubles expected = backward ? reference_grad_input(p, source, x.weight, added) : reference_forward(p, source, x.weight, added);
    for (const std::string& row : rows_that_take(context, op, attributes)) {
      cuda_case call(std::string(backward ? "grad-input " : "forward ") + text_of(context.operands()) + " " + text_of(p), op,
                     attributes);
      call.in(source).in(x.weight);
      with_bias ? call.in(bias) : call.none();
      call.out(expected, 3e-6 * std::sqrt(reduction), 3e-6 * std::sqrt(reduction) + 1e-6).only(row.c_str());
      call.run(context);
      ran->insert(row);
#if defined(VERSEMI_CUDA_EMULATED)
      // Of the last launch: the product itself, where its reduction is not split.
      const versemi::cuda::emulator::wavefronts& read = versemi::cuda::emulator::ldmatrix_wavefronts();
      check(read.taken == read.needed, row + " " + text_of(p) + ": ldmatrix meets bank conflicts");
#endif
    }
  }
}

struct norm_variant {
  bool transposed, relu, skip, training;
};

// Convolution + normalisation, in all its outputs.
inline void check_conv_norm(test_context& context, const versemi_conv_problem& p, norm_variant variant, std::uint64_t seed,
                            std::set<std::string>* ran, float mean = 0.5f) {
  const conv_inputs x(p, seed, mean);
  const std::vector<float>& source = variant.transposed ? x.grad_output : x.input;
  const std::vector<float>& skip = variant.transposed ? x.skip_in : x.skip_out;
  const double epsilon = 1e-5;
  const doubles raw = variant.transposed ? reference_grad_input(p, source, x.weight, {}) : reference_forward(p, source, x.weight, {});
  const normalized expected = reference_normalize(raw, p.n, variant.transposed ? p.in_channels : p.out_channels, epsilon,
                                                  variant.relu, variant.skip ? skip : std::vector<float>());
  double largest = 0, largest_rstd = 0;
  for (double value : raw) largest = std::max(largest, std::fabs(value));
  for (double value : expected.rstd) largest_rstd = std::max(largest_rstd, value);
  doubles attributes = attributes_of(p);
  attributes.insert(attributes.end(), {variant.transposed ? 1.0 : 0.0, variant.relu ? 1.0 : 0.0, epsilon});
  const bool narrow = context.operands() == precision::bfloat16;
  for (const std::string& row : rows_that_take(context, VERSEMI_CONV3D_NORM_RELU, attributes)) {
    // The result lies in memory before it is normalised, so its rounding grows by rstd. The plain row takes the moments of
    // what it has stored, the others those of the exact sums.
    const double rounding = narrow ? 1.0 / 256 : 1e-6 * std::sqrt(static_cast<double>(p.in_channels) * 27);
    const double sums = row == "conv3d-plain" && narrow ? 1.0 / 256 : 2e-6 * std::sqrt(static_cast<double>(p.in_channels) * 27);
    cuda_case call(std::string("norm ") + (variant.transposed ? "transposed " : "") + text_of(context.operands()) + " " + text_of(p),
                   VERSEMI_CONV3D_NORM_RELU, attributes);
    call.in(source).in(x.weight);
    variant.skip ? call.in(skip) : call.none();
    call.out(expected.output, 1e-5 + rounding, (rounding + sums) * largest * largest_rstd + 1e-5);
    if (variant.training) {
      call.out(raw, 3e-6 * std::sqrt(27.0 * static_cast<double>(p.in_channels)), 1e-5 * std::sqrt(static_cast<double>(p.in_channels)));
      call.out(expected.mean, sums, sums * largest);
      call.out(expected.rstd, 1e-5 + sums * (row == "conv3d-plain" ? 8 : 1) * largest * largest_rstd, 0);
    } else {
      call.none().none().none();
    }
    call.only(row.c_str()).run(context);
    ran->insert(row);
  }
}

}  // namespace versemi_test

#endif
