// Minimal filtering against sums in double, on every instruction set of this machine: odd sizes and channel counts, every size
// of block, chunks and groups; equal bits for any number of threads; `exact` gives plain sums.
#include "conv_reference.h"

using namespace versemi_test;

namespace {

// out[n, o, co] = sum over taps and ci, in double; `reversed`: grad-input, where x is the gradient.
std::vector<double> sums(const versemi_conv_problem& p, const std::vector<float>& x, const std::vector<float>& weight,
                         bool reversed) {
  const int64_t* from = reversed ? p.out : p.in;
  const int64_t* to = reversed ? p.in : p.out;
  const int64_t ci = reversed ? p.out_channels : p.in_channels, co = reversed ? p.in_channels : p.out_channels;
  // [tap][ci][co], so that the innermost loop is one of vectors.
  std::vector<double> w(static_cast<std::size_t>(27 * ci * co));
  for (int64_t tap = 0; tap < 27; tap++)
    for (int64_t i = 0; i < ci; i++)
      for (int64_t o = 0; o < co; o++)
        w[static_cast<std::size_t>((tap * ci + i) * co + o)] =
            static_cast<double>(weight[static_cast<std::size_t>(reversed ? (tap * co + o) * ci + i : (tap * ci + i) * co + o)]);
  std::vector<double> out(static_cast<std::size_t>(p.n * to[0] * to[1] * to[2] * co), 0.0);
  for (int64_t voxel = 0; voxel < p.n * to[0] * to[1] * to[2]; voxel++) {
    const int64_t place[3] = {voxel / to[2] / to[1] % to[0], voxel / to[2] % to[1], voxel % to[2]};
    const int64_t sample = voxel / to[2] / to[1] / to[0];
    double* sum = &out[static_cast<std::size_t>(voxel * co)];
    for (int64_t tap = 0; tap < 27; tap++) {
      const int64_t k[3] = {tap / 9, tap / 3 % 3, tap % 3};
      int64_t at[3];
      bool inside = true;
      for (int i = 0; i < 3; i++) {
        at[i] = reversed ? place[i] + p.pad[i] - k[i] : place[i] - p.pad[i] + k[i];
        inside = inside && at[i] >= 0 && at[i] < from[i];
      }
      if (!inside) continue;
      const float* value = &x[static_cast<std::size_t>((((sample * from[0] + at[0]) * from[1] + at[1]) * from[2] + at[2]) * ci)];
      for (int64_t i = 0; i < ci; i++) {
        const double* row = &w[static_cast<std::size_t>((tap * ci + i) * co)];
        const double v = static_cast<double>(value[i]);
        for (int64_t o = 0; o < co; o++) sum[o] += v * row[o];
      }
    }
  }
  return out;
}

struct deviation {
  double rms, most;  // of the differences, over the rms of what is expected
};

deviation compare(const std::vector<float>& found, const std::vector<double>& expected, double offset_of_bias,
                  const std::vector<float>& bias) {
  double squares = 0, errors = 0, most = 0;
  for (std::size_t i = 0; i < expected.size(); i++) {
    const double e = expected[i] + (offset_of_bias == 0 ? 0 : static_cast<double>(bias[i % bias.size()]));
    const double error = std::fabs(static_cast<double>(found[i]) - e);
    // Not what std::max makes of a NaN.
    if (!(error <= most)) most = error;
    squares += e * e;
    errors += error * error;
  }
  const double size = std::sqrt(squares / static_cast<double>(expected.size()));
  return deviation{std::sqrt(errors / static_cast<double>(expected.size())) / size, most / size};
}

struct outcome {
  std::vector<float> forward, grad_input, raw, normalized, mean, rstd;
};

bool same(const outcome& a, const outcome& b) {
  const auto equal = [](const std::vector<float>& x, const std::vector<float>& y) {
    return std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  };
  return equal(a.forward, b.forward) && equal(a.grad_input, b.grad_input) && equal(a.raw, b.raw) &&
         equal(a.normalized, b.normalized) && equal(a.mean, b.mean) && equal(a.rstd, b.rstd);
}

struct tensors {
  std::vector<float> input, weight, bias_out, bias_in, grad_output;
};

outcome run_ops(const char* isa, versemi_context* context, const versemi_conv_problem& p, const tensors& t,
                const std::string& where) {
  const std::vector<double> attributes = attributes_of(p);
  std::vector<double> with_norm = attributes;
  with_norm.insert(with_norm.end(), {0, 1, 1e-5});
  guarded forward(versemi_conv_output_count(&p)), grad_input(versemi_conv_input_count(&p)),
      raw(versemi_conv_output_count(&p)), normalized(versemi_conv_output_count(&p)), mean(p.n * p.out_channels),
      rstd(p.n * p.out_channels);
  run_row(row_of(isa, VERSEMI_CONV3D_FORWARD), context,
          {constant(t.input), constant(t.weight), constant(t.bias_out), forward.buffer()}, attributes, where);
  run_row(row_of(isa, VERSEMI_CONV3D_GRAD_INPUT), context,
          {constant(t.grad_output), constant(t.weight), constant(t.bias_in), grad_input.buffer()}, attributes, where);
  run_row(row_of(isa, VERSEMI_CONV3D_NORM_RELU), context,
          {constant(t.input), constant(t.weight), absent, normalized.buffer(), raw.buffer(), mean.buffer(), rstd.buffer()},
          with_norm, where);
  for (const guarded* g : {&forward, &grad_input, &raw, &normalized, &mean, &rstd})
    check(g->intact(), where + ": writes outside");
  return {forward.values(), grad_input.values(), raw.values(), normalized.values(), mean.values(), rstd.values()};
}

tensors random_tensors(const versemi_conv_problem& p, uint64_t seed) {
  generator random(seed);
  tensors t;
  t.input = random.floats(versemi_conv_input_count(&p));
  for (float& x : t.input) x = x < 0 ? 0 : x;  // as behind a ReLU: with a mean
  t.weight = random.floats(versemi_conv_weight_count(&p));
  t.bias_out = random.floats(p.out_channels);
  t.bias_in = random.floats(p.in_channels);
  t.grad_output = random.floats(versemi_conv_output_count(&p));
  return t;
}

// Largest errors seen, for the figure in the README.
deviation worst = {0, 0};

void check_close(const std::vector<float>& found, const std::vector<double>& expected, const std::vector<float>& bias,
                 const std::string& what) {
  const deviation d = compare(found, expected, bias.empty() ? 0 : 1, bias);
  if (d.rms > worst.rms) worst.rms = d.rms;
  if (d.most > worst.most) worst.most = d.most;
  char text[80];
  std::snprintf(text, sizeof text, ": error %.2g rms, %.2g at most, over the rms", d.rms, d.most);
  // The bar is 1e-3; what is usual is a hundredth of these.
  check(d.rms <= 1e-5 && d.most <= 1e-4, what + text);
}

void check_moments(const outcome& o, const versemi_conv_problem& p, const std::vector<double>& expected,
                   const std::string& where) {
  const std::size_t channels = static_cast<std::size_t>(p.out_channels), voxels = expected.size() / channels / static_cast<std::size_t>(p.n);
  bool good = true;
  for (std::size_t i = 0; i < o.mean.size(); i++) {
    double sum = 0, squares = 0;
    const double* from = &expected[i / channels * voxels * channels + i % channels];
    for (std::size_t v = 0; v < voxels; v++) sum += from[v * channels];
    const double mean = sum / static_cast<double>(voxels);
    for (std::size_t v = 0; v < voxels; v++) squares += (from[v * channels] - mean) * (from[v * channels] - mean);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(voxels) + 1e-5);
    good = good && std::fabs(static_cast<double>(o.mean[i]) - mean) * rstd <= 1e-4 &&
           std::fabs(static_cast<double>(o.rstd[i]) / rstd - 1) <= 1e-4;
  }
  check(good, where + ": moments");
}

}  // namespace

int main() {
  versemi_context* contexts[3];
  for (int threads = 1; threads <= 3; threads++) contexts[threads - 1] = versemi::create_context(threads);
  versemi_context* exact = versemi::create_context(2);
  versemi::set_exact(exact, true);
  std::vector<versemi_conv_problem> problems = {
      problem(1, 16, 16, 16, 16, 16, 3, 1, 1), problem(2, 9, 10, 11, 33, 20, 3, 1, 1), problem(1, 6, 6, 6, 64, 70, 3, 1, 1),
      problem(1, 12, 12, 26, 24, 40, 3, 1, 1), problem(1, 21, 13, 10, 16, 18, 3, 1, 0), problem(2, 8, 7, 6, 48, 17, 3, 1, 2),
      problem(2, 22, 20, 20, 128, 16, 3, 1, 1), problem(1, 11, 25, 49, 32, 32, 3, 1, 1), problem(3, 5, 6, 18, 72, 130, 3, 1, 1),
  };
  add_block_sizes(problems);
  uint64_t seed = 1;
  for (const versemi_conv_problem& p : problems) {
    const tensors t = random_tensors(p, seed++);
    const std::vector<double> forward = sums(p, t.input, t.weight, false);
    const std::vector<double> grad_input = sums(p, t.grad_output, t.weight, true);
    // The same with whole numbers: plain sums in float32 are exact, minimal filtering is not.
    tensors whole = t;
    for (std::vector<float>* values : {&whole.input, &whole.weight, &whole.grad_output, &whole.bias_out, &whole.bias_in})
      for (float& value : *values) value = std::nearbyint(value * 5);
    const std::vector<double> whole_forward = sums(p, whole.input, whole.weight, false);
    const std::vector<double> whole_grad_input = sums(p, whole.grad_output, whole.weight, true);
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
      const std::string where = std::string(*isa) + " " + text_of(p);
      const outcome found = run_ops(*isa, contexts[1], p, t, where);
      check_close(found.forward, forward, t.bias_out, where + ": forward");
      check_close(found.grad_input, grad_input, t.bias_in, where + ": grad_input");
      check_close(found.raw, forward, {}, where + ": norm_relu raw");
      check_moments(found, p, forward, where);
      check(same(found, run_ops(*isa, contexts[0], p, t, where)), where + ": 1 thread differs");
      check(same(found, run_ops(*isa, contexts[2], p, t, where)), where + ": 3 threads differ");
      const outcome plain = run_ops(*isa, exact, p, t, where);
      check(!same(found, plain), where + ": minimal filtering is not in use, this case tests nothing");
      const outcome numbers = run_ops(*isa, exact, p, whole, where);
      check(compare(numbers.forward, whole_forward, 1, whole.bias_out).most == 0 &&
                compare(numbers.raw, whole_forward, 0, {}).most == 0 &&
                compare(numbers.grad_input, whole_grad_input, 1, whole.bias_in).most == 0,
            where + ": sums of whole numbers are not whole though they must be exact");
    }
  }
  for (versemi_context* context : contexts) versemi::destroy_context(context);
  versemi::destroy_context(exact);
  std::printf("%d failures; largest error over the rms of the result: %.2g rms, %.2g of one value\n", failures, worst.rms,
              worst.most);
  return failures == 0 ? 0 : 1;
}
