// Problems of the convolution family, and the family written down plainly with sums in double: the specification of the
// kernels of every device.
#ifndef VERSEMI_TEST_CONV_REFERENCE_H
#define VERSEMI_TEST_CONV_REFERENCE_H

#include <algorithm>

#include "kernel_test.h"
#include "versemi/conv_problem.h"

namespace versemi_test {

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

// A cube of a kernel with `pad` zeros on both sides; the output covers every position.
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

// Where few cases are asked for, only problems of up to 100 million products stay: every shape of block and of edge, but no long sums.
inline void keep_few(std::vector<versemi_conv_problem>& problems) {
  if (!few_cases()) return;
  const auto large = [](const versemi_conv_problem& p) {
    return versemi_conv_output_count(&p) * p.in_channels * p.kernel[0] * p.kernel[1] * p.kernel[2] > 100'000'000;
  };
  problems.erase(std::remove_if(problems.begin(), problems.end(), large), problems.end());
}

inline std::string text_of(const versemi_conv_problem& p) {
  char text[300];
  std::snprintf(text, sizeof text, "n%d in %dx%dx%dx%d out %dx%dx%dx%d kernel %dx%dx%d stride %dx%dx%d pad %dx%dx%d",
                (int)p.n, (int)p.in[0], (int)p.in[1], (int)p.in[2], (int)p.in_channels, (int)p.out[0], (int)p.out[1],
                (int)p.out[2], (int)p.out_channels, (int)p.kernel[0], (int)p.kernel[1], (int)p.kernel[2],
                (int)p.stride[0], (int)p.stride[1], (int)p.stride[2], (int)p.pad[0], (int)p.pad[1], (int)p.pad[2]);
  return text;
}

// Calls visit(voxel of the input, tap, voxel of the output) for every tap that reads inside the input, voxels of all samples and
// taps numbered in row-major order.
template <typename Visit>
void for_each_tap(const versemi_conv_problem& p, Visit visit) {
  for (int64_t out = 0; out < p.n * p.out[0] * p.out[1] * p.out[2]; out++) {
    const int64_t place[3] = {out / p.out[2] / p.out[1] % p.out[0], out / p.out[2] % p.out[1], out % p.out[2]};
    const int64_t sample = out / p.out[2] / p.out[1] / p.out[0];
    for (int64_t tap = 0; tap < p.kernel[0] * p.kernel[1] * p.kernel[2]; tap++) {
      const int64_t k[3] = {tap / p.kernel[2] / p.kernel[1], tap / p.kernel[2] % p.kernel[1], tap % p.kernel[2]};
      int64_t in = sample;
      bool inside = true;
      for (int i = 0; i < 3; i++) {
        const int64_t at = place[i] * p.stride[i] + k[i] - p.pad[i];
        inside = inside && at >= 0 && at < p.in[i];
        in = in * p.in[i] + at;
      }
      if (inside) visit(in, tap, out);
    }
  }
}

// to[row] += value * from[row], in double.
inline void add_scaled(double value, const double* from, int64_t count, double* to) {
  for (int64_t i = 0; i < count; i++) to[i] += value * from[i];
}

inline doubles starting_with(const std::vector<float>& bias, int64_t voxels, int64_t channels) {
  doubles result(static_cast<std::size_t>(voxels * channels), 0.0);
  if (!bias.empty())
    for (std::size_t i = 0; i < result.size(); i++) result[i] = static_cast<double>(bias[i % bias.size()]);
  return result;
}

// An empty bias is none.
inline doubles reference_forward(const versemi_conv_problem& p, const std::vector<float>& input, const std::vector<float>& weight,
                                 const std::vector<float>& bias) {
  doubles output = starting_with(bias, p.n * p.out[0] * p.out[1] * p.out[2], p.out_channels);
  const doubles w = to_doubles(weight);  // [tap][input channel][output channel]
  for_each_tap(p, [&](int64_t in, int64_t tap, int64_t out) {
    for (int64_t i = 0; i < p.in_channels; i++)
      add_scaled(static_cast<double>(input[static_cast<std::size_t>(in * p.in_channels + i)]),
                 &w[static_cast<std::size_t>((tap * p.in_channels + i) * p.out_channels)], p.out_channels,
                 &output[static_cast<std::size_t>(out * p.out_channels)]);
  });
  return output;
}

inline doubles reference_grad_input(const versemi_conv_problem& p, const std::vector<float>& grad_output,
                                    const std::vector<float>& weight, const std::vector<float>& bias) {
  doubles grad_input = starting_with(bias, p.n * p.in[0] * p.in[1] * p.in[2], p.in_channels);
  doubles w(weight.size());  // [tap][output channel][input channel]
  const int64_t ci = p.in_channels, co = p.out_channels;
  for (std::size_t i = 0; i < weight.size(); i++) {
    const int64_t at = static_cast<int64_t>(i), tap = at / co / ci;
    w[static_cast<std::size_t>((tap * co + at % co) * ci + at / co % ci)] = static_cast<double>(weight[i]);
  }
  for_each_tap(p, [&](int64_t in, int64_t tap, int64_t out) {
    for (int64_t o = 0; o < co; o++)
      add_scaled(static_cast<double>(grad_output[static_cast<std::size_t>(out * co + o)]),
                 &w[static_cast<std::size_t>((tap * co + o) * ci)], ci, &grad_input[static_cast<std::size_t>(in * ci)]);
  });
  return grad_input;
}

struct conv_gradients {
  doubles weight, bias;
};

inline conv_gradients reference_grad_weight(const versemi_conv_problem& p, const std::vector<float>& input,
                                            const std::vector<float>& grad_output) {
  const int64_t ci = p.in_channels, co = p.out_channels;
  conv_gradients g{doubles(static_cast<std::size_t>(versemi_conv_weight_count(&p)), 0.0),
                   doubles(static_cast<std::size_t>(co), 0.0)};
  const doubles e = to_doubles(grad_output);
  for (std::size_t i = 0; i < e.size(); i++) g.bias[i % g.bias.size()] += e[i];
  for_each_tap(p, [&](int64_t in, int64_t tap, int64_t out) {
    for (int64_t i = 0; i < ci; i++)
      add_scaled(static_cast<double>(input[static_cast<std::size_t>(in * ci + i)]), &e[static_cast<std::size_t>(out * co)], co,
                 &g.weight[static_cast<std::size_t>((tap * ci + i) * co)]);
  });
  return g;
}

struct normalized {
  doubles output, mean, rstd;
};

// Of raw [n, voxels, channels], per sample and channel; skip: empty where nothing is added behind the ReLU.
inline normalized reference_normalize(const doubles& raw, int64_t n, int64_t channels, double epsilon, bool relu,
                                      const std::vector<float>& skip) {
  const std::size_t c = static_cast<std::size_t>(channels), rows = static_cast<std::size_t>(n) * c, voxels = raw.size() / rows;
  normalized r{doubles(raw.size()), doubles(rows, 0.0), doubles(rows, 0.0)};
  const auto row_of = [&](std::size_t i) { return i / (voxels * c) * c + i % c; };
  for (std::size_t i = 0; i < raw.size(); i++) r.mean[row_of(i)] += raw[i] / static_cast<double>(voxels);
  for (std::size_t i = 0; i < raw.size(); i++) {
    const double deviation = raw[i] - r.mean[row_of(i)];
    r.rstd[row_of(i)] += deviation * deviation / static_cast<double>(voxels);
  }
  for (double& value : r.rstd) value = 1 / std::sqrt(value + epsilon);
  for (std::size_t i = 0; i < raw.size(); i++) {
    const double value = (raw[i] - r.mean[row_of(i)]) * r.rstd[row_of(i)];
    r.output[i] = (relu && value <= 0 ? 0 : value) + (skip.empty() ? 0.0 : static_cast<double>(skip[i]));
  }
  return r;
}

// How far values are from what is expected, over the root mean square of that.
struct deviation {
  double rms = 0, most = 0;
};

inline deviation deviation_of(const std::vector<float>& found, const doubles& expected) {
  double squares = 0, errors = 0, most = 0;
  for (std::size_t i = 0; i < expected.size(); i++) {
    const double error = std::fabs(static_cast<double>(found[i]) - expected[i]);
    // Written so that a NaN stays, unlike with std::max.
    if (!(error <= most)) most = error;
    squares += expected[i] * expected[i];
    errors += error * error;
  }
  const double size = std::sqrt(squares / static_cast<double>(expected.size()));
  return deviation{std::sqrt(errors / static_cast<double>(expected.size())) / size, most / size};
}

// Checks of minimal filtering, and the largest deviation that they met.
class filtering_check {
 public:
  void close(const std::vector<float>& found, const doubles& expected, const std::string& what) {
    const deviation d = deviation_of(found, expected);
    if (!(d.rms <= worst_.rms)) worst_.rms = d.rms;
    if (!(d.most <= worst_.most)) worst_.most = d.most;
    char text[80];
    std::snprintf(text, sizeof text, ": error %.2g rms, %.2g at most, over the rms", d.rms, d.most);
    check(d.rms <= 1e-5 && d.most <= 1e-4, what + text);
  }
  int finish() const {
    std::printf("%d failures; largest error over the rms of the result: %.2g rms, %.2g of one value\n", failures, worst_.rms,
                worst_.most);
    return failures == 0 ? 0 : 1;
  }

 private:
  deviation worst_;
};

// Contexts of one, two and three threads, and one that takes plain sums.
struct conv_contexts {
  versemi_context* threads[3];
  versemi_context* exact;
  conv_contexts() {
    for (int i = 0; i < 3; i++) threads[i] = versemi::create_context(i + 1);
    exact = versemi::create_context(2);
    versemi::set_exact(exact, true);
  }
  ~conv_contexts() {
    for (versemi_context* context : threads) versemi::destroy_context(context);
    versemi::destroy_context(exact);
  }
  conv_contexts(const conv_contexts&) = delete;
  conv_contexts& operator=(const conv_contexts&) = delete;
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Behind a ReLU: values with a mean.
inline std::vector<float> positive(std::vector<float> values) {
  for (float& value : values) value = value < 0 ? 0 : value;
  return values;
}

// Whole numbers, whose plain sums are exact in float32 while those of minimal filtering are not.
inline std::vector<float> whole_numbers(std::vector<float> values) {
  for (float& value : values) value = std::nearbyint(value * 5);
  return values;
}

}  // namespace versemi_test

#endif
