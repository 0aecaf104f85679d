// Minimal filtering against sums in double, on every instruction set of this machine: odd sizes and channel counts, every size
// of block, chunks and groups; equal bits for any number of threads; `exact` gives plain sums.
#include "conv_reference.h"

using namespace versemi_test;

namespace {

struct outcome {
  std::vector<float> forward, grad_input, raw, normalized, mean, rstd;
};

bool same(const outcome& a, const outcome& b) {
  return same_bits(a.forward, b.forward) && same_bits(a.grad_input, b.grad_input) && same_bits(a.raw, b.raw) &&
         same_bits(a.normalized, b.normalized) && same_bits(a.mean, b.mean) && same_bits(a.rstd, b.rstd);
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
  run_op(isa, VERSEMI_CONV3D_FORWARD, context,
          {constant(t.input), constant(t.weight), constant(t.bias_out), forward.buffer()}, attributes, where);
  run_op(isa, VERSEMI_CONV3D_GRAD_INPUT, context,
          {constant(t.grad_output), constant(t.weight), constant(t.bias_in), grad_input.buffer()}, attributes, where);
  run_op(isa, VERSEMI_CONV3D_NORM_RELU, context,
          {constant(t.input), constant(t.weight), absent, normalized.buffer(), raw.buffer(), mean.buffer(), rstd.buffer()},
          with_norm, where);
  for (const guarded* g : {&forward, &grad_input, &raw, &normalized, &mean, &rstd})
    check(g->intact(), where + ": writes outside");
  return {forward.values(), grad_input.values(), raw.values(), normalized.values(), mean.values(), rstd.values()};
}

tensors random_tensors(const versemi_conv_problem& p, uint64_t seed) {
  generator random(seed);
  tensors t;
  t.input = positive(random.floats(versemi_conv_input_count(&p)));
  t.weight = random.floats(versemi_conv_weight_count(&p));
  t.bias_out = random.floats(p.out_channels);
  t.bias_in = random.floats(p.in_channels);
  t.grad_output = random.floats(versemi_conv_output_count(&p));
  return t;
}

void check_moments(const outcome& o, const normalized& expected, const std::string& where) {
  bool good = true;
  for (std::size_t i = 0; i < o.mean.size(); i++)
    good = good && std::fabs(static_cast<double>(o.mean[i]) - expected.mean[i]) * expected.rstd[i] <= 1e-4 &&
           std::fabs(static_cast<double>(o.rstd[i]) / expected.rstd[i] - 1) <= 1e-4;
  check(good, where + ": moments");
}

}  // namespace

int main() {
  conv_contexts contexts;
  filtering_check filtering;
  std::vector<versemi_conv_problem> problems = {
      problem(1, 16, 16, 16, 16, 16, 3, 1, 1), problem(2, 9, 10, 11, 33, 20, 3, 1, 1), problem(1, 6, 6, 6, 64, 70, 3, 1, 1),
      problem(1, 12, 12, 26, 24, 40, 3, 1, 1), problem(1, 21, 13, 10, 16, 18, 3, 1, 0), problem(2, 8, 7, 6, 48, 17, 3, 1, 2),
      problem(2, 22, 20, 20, 128, 16, 3, 1, 1), problem(1, 11, 25, 49, 32, 32, 3, 1, 1), problem(3, 5, 6, 18, 72, 130, 3, 1, 1),
  };
  add_block_sizes(problems);
  keep_few(problems);
  uint64_t seed = 1;
  for (const versemi_conv_problem& p : problems) {
    const tensors t = random_tensors(p, seed++);
    const doubles forward = reference_forward(p, t.input, t.weight, t.bias_out), raw = reference_forward(p, t.input, t.weight, {});
    const doubles grad_input = reference_grad_input(p, t.grad_output, t.weight, t.bias_in);
    const normalized moments = reference_normalize(raw, p.n, p.out_channels, 1e-5, true, {});
    const tensors whole = {whole_numbers(t.input), whole_numbers(t.weight), whole_numbers(t.bias_out), whole_numbers(t.bias_in),
                           whole_numbers(t.grad_output)};
    const doubles whole_forward = reference_forward(p, whole.input, whole.weight, whole.bias_out),
                  whole_raw = reference_forward(p, whole.input, whole.weight, {}),
                  whole_grad_input = reference_grad_input(p, whole.grad_output, whole.weight, whole.bias_in);
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
      const std::string where = std::string(*isa) + " " + text_of(p);
      const outcome found = run_ops(*isa, contexts.threads[1], p, t, where);
      filtering.close(found.forward, forward, where + ": forward");
      filtering.close(found.grad_input, grad_input, where + ": grad_input");
      filtering.close(found.raw, raw, where + ": norm_relu raw");
      check_moments(found, moments, where);
      check(same(found, run_ops(*isa, contexts.threads[0], p, t, where)), where + ": 1 thread differs");
      check(same(found, run_ops(*isa, contexts.threads[2], p, t, where)), where + ": 3 threads differ");
      const outcome plain = run_ops(*isa, contexts.exact, p, t, where);
      check(!same(found, plain), where + ": minimal filtering is not in use, this case tests nothing");
      const outcome numbers = run_ops(*isa, contexts.exact, p, whole, where);
      check(deviation_of(numbers.forward, whole_forward).most == 0 && deviation_of(numbers.raw, whole_raw).most == 0 &&
                deviation_of(numbers.grad_input, whole_grad_input).most == 0,
            where + ": sums of whole numbers are not whole though they must be exact");
    }
  }
  return filtering.finish();
}
