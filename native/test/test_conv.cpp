// The convolution family on every instruction set of this machine: against plain sums in double over a table of odd shapes, with
// guards around every output; equal bits on repeat and for any number of threads; adjoint identities.
#include "conv_reference.h"

using namespace versemi_test;

namespace {

std::vector<versemi_conv_problem> problems() {
  std::vector<versemi_conv_problem> list = {
      problem(1, 5, 6, 7, 1, 16, 3, 1, 1),     problem(2, 3, 4, 26, 1, 4, 3, 1, 1),
      problem(1, 4, 5, 30, 1, 8, 3, 1, 1),     problem(1, 6, 6, 6, 16, 16, 3, 1, 1),
      problem(2, 3, 5, 13, 4, 12, 3, 1, 1),    problem(1, 3, 3, 25, 8, 8, 3, 1, 1),
      problem(1, 4, 3, 12, 32, 32, 3, 1, 1),   problem(1, 2, 3, 14, 12, 24, 3, 1, 1),
      problem(1, 3, 3, 6, 64, 64, 3, 1, 1),    problem(1, 2, 2, 3, 40, 130, 3, 1, 1),
      problem(1, 1, 1, 1, 3, 5, 3, 1, 1),      problem(1, 2, 1, 2, 33, 48, 3, 1, 1),
      problem(1, 3, 3, 6, 128, 80, 3, 1, 1),   problem(1, 2, 2, 7, 256, 70, 3, 1, 1),
      problem(2, 4, 6, 8, 16, 32, 2, 2, 0),    problem(1, 7, 5, 9, 12, 20, 2, 2, 0),
      problem(1, 2, 2, 50, 32, 64, 2, 2, 0),   problem(1, 6, 4, 12, 256, 128, 2, 2, 0),
      problem(2, 5, 4, 11, 16, 8, 1, 1, 0),    problem(1, 3, 3, 3, 7, 1, 1, 1, 0),
      problem(1, 4, 4, 9, 8, 8, 1, 2, 0),      problem(1, 7, 8, 9, 5, 6, 3, 2, 1),
      problem(1, 9, 9, 9, 3, 17, 5, 1, 2),     problem(1, 9, 8, 10, 2, 3, 5, 3, 1),
      problem(1, 5, 5, 5, 6, 6, 4, 2, 1),      problem(1, 4, 4, 4, 10, 10, 3, 1, 0),
      problem(1, 6, 7, 8, 4, 4, 2, 3, 0),      problem(1, 2, 2, 2, 3, 3, 3, 1, 2),
      problem(1, 16, 16, 16, 16, 16, 3, 1, 1), problem(2, 4, 9, 33, 5, 34, 3, 1, 1),
      // Images: one input channel; several slices, an output that is smaller or larger than the input, few values in all.
      problem(2, 20, 15, 31, 1, 8, 3, 1, 1),   problem(1, 9, 10, 11, 1, 33, 3, 2, 1),
      problem(1, 6, 7, 9, 1, 5, 3, 1, 0),      problem(1, 5, 4, 6, 1, 20, 3, 1, 2),
      problem(1, 1, 1, 2, 1, 3, 3, 1, 1),
  };
  // Axes that differ, and an output that ends before or behind what the input fills.
  list.push_back({1, {5, 6, 17}, 6, {3, 6, 8}, 9, {3, 1, 3}, {2, 1, 2}, {1, 0, 0}});
  list.push_back({2, {4, 5, 6}, 5, {4, 5, 7}, 18, {1, 3, 2}, {1, 1, 1}, {0, 1, 1}});
  list.push_back({1, {3, 4, 6}, 3, {5, 4, 4}, 7, {2, 3, 3}, {1, 2, 3}, {2, 2, 4}});
  // Much padding: several tiles of a row lie wholly or partly before its first voxel.
  list.push_back({1, {2, 3, 4}, 20, {2, 3, 150}, 70, {1, 3, 3}, {1, 1, 1}, {0, 1, 70}});
  return list;
}

struct inputs {
  std::vector<float> input, weight, bias_out, bias_in, grad_output, skip_out, skip_in;
  inputs(const versemi_conv_problem& p, uint64_t seed) {
    generator random(seed);
    // Means away from zero, so that the variance has something to cancel.
    input = random.floats(versemi_conv_input_count(&p), 2.0f);
    weight = random.floats(versemi_conv_weight_count(&p), 0.5f);
    bias_out = random.floats(p.out_channels);
    bias_in = random.floats(p.in_channels);
    grad_output = random.floats(versemi_conv_output_count(&p));
    skip_out = random.floats(versemi_conv_output_count(&p));
    skip_in = random.floats(versemi_conv_input_count(&p));
  }
};

// All results of all ops, one after the other, with what is expected of each.
struct result {
  std::string name;
  std::vector<float> values;
};
struct expectation {
  doubles values;
  double reduction;  // number of products in one sum
  bool normalized;   // divided by the deviation, which may be small for few voxels
};

std::vector<result> run_all(const char* isa, versemi_context* context, const versemi_conv_problem& p, const inputs& x) {
  std::vector<result> list;
  const std::string where = std::string(isa) + " " + text_of(p);
  const std::vector<double> attributes = attributes_of(p);
  const int64_t in = versemi_conv_input_count(&p), out = versemi_conv_output_count(&p);
  const auto keep = [&](const guarded& g, const std::string& name) {
    check(g.intact(), where + ": writes outside of " + name);
    list.push_back({where + ": " + name, g.values()});
  };
  for (bool bias : {false, true}) {
    guarded output(out);
    run_op(isa, VERSEMI_CONV3D_FORWARD, context,
           {constant(x.input), constant(x.weight), bias ? constant(x.bias_out) : absent, output.buffer()}, attributes, where);
    keep(output, bias ? "forward with bias" : "forward");
    guarded grad_input(in);
    run_op(isa, VERSEMI_CONV3D_GRAD_INPUT, context,
           {constant(x.grad_output), constant(x.weight), bias ? constant(x.bias_in) : absent, grad_input.buffer()}, attributes,
           where);
    keep(grad_input, bias ? "grad_input with bias" : "grad_input");
    guarded grad_weight(versemi_conv_weight_count(&p)), grad_bias(p.out_channels);
    run_op(isa, VERSEMI_CONV3D_GRAD_WEIGHT, context,
           {constant(x.input), constant(x.grad_output), grad_weight.buffer(), bias ? grad_bias.buffer() : absent}, attributes,
           where);
    keep(grad_weight, bias ? "grad_weight beside bias" : "grad_weight");
    if (bias) keep(grad_bias, "grad_bias");
  }
  for (int variant = 0; variant < 4; variant++) {
    const bool transposed = variant >= 2, training = variant % 2 == 1;
    const int64_t count = transposed ? in : out, moments = p.n * (transposed ? p.in_channels : p.out_channels);
    std::vector<double> with_norm = attributes;
    with_norm.insert(with_norm.end(), {transposed ? 1.0 : 0.0, training ? 1.0 : 0.0, 1e-5});
    guarded output(count), raw(count), mean(moments), rstd(moments);
    run_op(isa, VERSEMI_CONV3D_NORM_RELU, context,
           {constant(transposed ? x.grad_output : x.input), constant(x.weight),
            training ? constant(transposed ? x.skip_in : x.skip_out) : absent, output.buffer(), training ? raw.buffer() : absent,
            training ? mean.buffer() : absent, training ? rstd.buffer() : absent},
           with_norm, where);
    const std::string name = transposed ? "norm_relu transposed" : "norm_relu";
    keep(output, name + (training ? " training" : ""));
    if (!training) continue;
    keep(raw, name + " raw");
    keep(mean, name + " mean");
    keep(rstd, name + " rstd");
  }
  return list;
}

std::vector<expectation> expect_all(const versemi_conv_problem& p, const inputs& x) {
  std::vector<expectation> list;
  const double taps = static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
  const double forward = taps * static_cast<double>(p.in_channels), backward = taps * static_cast<double>(p.out_channels);
  const double voxels = static_cast<double>(p.n * p.out[0] * p.out[1] * p.out[2]);
  const conv_gradients gradients = reference_grad_weight(p, x.input, x.grad_output);
  for (bool bias : {false, true}) {
    list.push_back({reference_forward(p, x.input, x.weight, bias ? x.bias_out : std::vector<float>()), forward, false});
    list.push_back({reference_grad_input(p, x.grad_output, x.weight, bias ? x.bias_in : std::vector<float>()), backward, false});
    list.push_back({gradients.weight, voxels, false});
    if (bias) list.push_back({gradients.bias, voxels, false});
  }
  const doubles raw_out = list[0].values, raw_in = list[1].values;
  for (int variant = 0; variant < 4; variant++) {
    const bool transposed = variant >= 2, training = variant % 2 == 1;
    const doubles& raw = transposed ? raw_in : raw_out;
    const double reduction = transposed ? backward : forward;
    const normalized r = reference_normalize(raw, p.n, transposed ? p.in_channels : p.out_channels, 1e-5, training,
                                             !training ? std::vector<float>() : transposed ? x.skip_in : x.skip_out);
    list.push_back({r.output, reduction, true});
    if (!training) continue;
    list.push_back({raw, reduction, false});
    list.push_back({r.mean, reduction, false});
    list.push_back({r.rstd, reduction, true});
  }
  return list;
}

bool same(const std::vector<result>& a, const std::vector<result>& b) {
  for (std::size_t i = 0; i < a.size(); i++)
    if (!same_bits(a[i].values, b[i].values)) return false;
  return true;
}

// <conv(x, w), g> = <x, conv_input^T(g, w)> = <w, conv_weight^T(x, g)>
void check_adjoint(const char* isa, versemi_context* context, const versemi_conv_problem& p, const inputs& x) {
  const std::string where = std::string(isa) + " " + text_of(p) + ": adjoint";
  const std::vector<double> attributes = attributes_of(p);
  guarded output(versemi_conv_output_count(&p)), grad_input(versemi_conv_input_count(&p)),
      grad_weight(versemi_conv_weight_count(&p));
  run_op(isa, VERSEMI_CONV3D_FORWARD, context,
          {constant(x.input), constant(x.weight), absent, output.buffer()}, attributes, where);
  run_op(isa, VERSEMI_CONV3D_GRAD_INPUT, context,
          {constant(x.grad_output), constant(x.weight), absent, grad_input.buffer()}, attributes, where);
  run_op(isa, VERSEMI_CONV3D_GRAD_WEIGHT, context,
          {constant(x.input), constant(x.grad_output), grad_weight.buffer(), absent}, attributes, where);
  const double a = dot(output.values(), x.grad_output), b = dot(grad_input.values(), x.input),
               c = dot(grad_weight.values(), x.weight);
  double scale = 1;
  for (std::size_t i = 0; i < x.grad_output.size(); i++) scale += std::fabs(output.data()[i] * x.grad_output[i]);
  check(std::fabs(a - b) <= 1e-5 * scale && std::fabs(a - c) <= 1e-5 * scale, where);
}

// Mean 4096, deviation about 0.3: sums of squares in float32 would lose everything. The convolution is the identity and the
// values are exact, so the moments are known.
void check_moments(const char* isa, versemi_context* context) {
  const versemi_conv_problem p = problem(2, 12, 13, 50, 18, 18, 1, 1, 0);
  std::vector<float> weight(18 * 18, 0.0f);
  for (std::size_t i = 0; i < 18; i++) weight[i * 19] = 1.0f;
  generator random(7);
  std::vector<float> input(static_cast<std::size_t>(versemi_conv_input_count(&p)));
  for (float& value : input) value = 4096.0f + std::nearbyint(random.next() * 512.0f) / 1024.0f;
  std::vector<double> attributes = attributes_of(p);
  attributes.insert(attributes.end(), {0, 1, 1e-5});
  guarded output(versemi_conv_output_count(&p)), mean(2 * 18), rstd(2 * 18);
  run_op(isa, VERSEMI_CONV3D_NORM_RELU, context,
          {constant(input), constant(weight), absent, output.buffer(), absent, mean.buffer(), rstd.buffer()},
          attributes, "moments");
  const std::size_t voxels = 12 * 13 * 50;
  for (std::size_t i = 0; i < 2 * 18; i++) {
    double sum = 0, squares = 0;
    for (std::size_t v = 0; v < voxels; v++) sum += input[(i / 18 * voxels + v) * 18 + i % 18] - 4096.0;
    for (std::size_t v = 0; v < voxels; v++) {
      const double deviation = input[(i / 18 * voxels + v) * 18 + i % 18] - 4096.0 - sum / static_cast<double>(voxels);
      squares += deviation * deviation;
    }
    const double expected = 1.0 / std::sqrt(squares / static_cast<double>(voxels) + 1e-5);
    check(std::fabs(mean.data()[i] - (4096.0 + sum / static_cast<double>(voxels))) <= 2.5e-4,
          std::string(isa) + ": mean far from zero");
    check(std::fabs(rstd.data()[i] / expected - 1) <= 1e-6, std::string(isa) + ": deviation of values far from zero");
  }
}

// A NaN or an infinity of the input must reach the output: nothing may treat it as "no value".
void check_nan(const char* isa, versemi_context* context) {
  const versemi_conv_problem p = problem(1, 3, 3, 14, 4, 20, 3, 1, 1);
  inputs x(p, 5);
  x.input[4 * 20] = std::numeric_limits<float>::quiet_NaN();
  std::vector<double> attributes = attributes_of(p);
  attributes.insert(attributes.end(), {0, 1, 1e-5});
  guarded output(versemi_conv_output_count(&p));
  run_op(isa, VERSEMI_CONV3D_NORM_RELU, context,
          {constant(x.input), constant(x.weight), absent, output.buffer(), absent, absent, absent}, attributes, "NaN");
  bool all = true;
  for (int64_t i = 0; i < output.count(); i++) all = all && std::isnan(output.data()[i]);
  check(all, std::string(isa) + ": a NaN in the input must make the normalised output NaN");
}

}  // namespace

int main() {
  versemi_context* contexts[3];
  for (int threads = 1; threads <= 3; threads++) contexts[threads - 1] = versemi::create_context(threads);
  uint64_t seed = 1;
  for (const versemi_conv_problem& p : problems()) {
    const inputs x(p, seed++);
    const std::vector<expectation> expected = expect_all(p, x);
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++)
      for (const bool exact : {true, false}) {
        for (versemi_context* context : contexts) versemi::set_exact(context, exact);
        const std::vector<result> found = run_all(*isa, contexts[1], p, x);
        check(found.size() == expected.size(), "as many results as expectations");
        for (std::size_t i = 0; i < expected.size(); i++) {
          // Values are sums of products of size ~ 1: rounding grows with the root of their number.
          const double root = std::sqrt(expected[i].reduction);
          // Minimal filtering rounds mapped values, some times larger (test_winograd measures by how much).
          const double absolute = expected[i].normalized ? 2e-3 : (exact ? 3e-6 : 2e-5) * root + 1e-6;
          compare(found[i].values, expected[i].values, expected[i].normalized ? 2e-3 : 2e-6 * root, absolute, found[i].name);
        }
        check(same(found, run_all(*isa, contexts[1], p, x)), found[0].name + " and others: repeat differs");
        check(same(found, run_all(*isa, contexts[0], p, x)), found[0].name + " and others: 1 thread differs");
        check(same(found, run_all(*isa, contexts[2], p, x)), found[0].name + " and others: 3 threads differ");
        check_adjoint(*isa, contexts[2], p, x);
      }
  }
  for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
    check_nan(*isa, contexts[1]);
    check_moments(*isa, contexts[1]);
  }
  for (versemi_context* context : contexts) versemi::destroy_context(context);
  return finish("convolutions");
}
