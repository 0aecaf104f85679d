// Minimal filtering of the gradient of the weights against sums in double, on every instruction set of this machine: odd
// sizes and channel counts, every size of block, one part and several; adjoint of the forward op; equal bits for any number of
// threads; NaN; `exact` gives plain sums.
#include "conv_reference.h"

using namespace versemi_test;

namespace {

struct tensors {
  std::vector<float> input, grad_output;
};

struct outcome {
  std::vector<float> weight, bias;
};

bool same(const outcome& a, const outcome& b) {
  return same_bits(a.weight, b.weight) && same_bits(a.bias, b.bias);
}

outcome run(const char* isa, versemi_context* context, const versemi_conv_problem& p, const tensors& t,
            const std::string& where, bool with_bias = true) {
  guarded weight(versemi_conv_weight_count(&p)), bias(p.out_channels);
  run_op(isa, VERSEMI_CONV3D_GRAD_WEIGHT, context,
          {constant(t.input), constant(t.grad_output), weight.buffer(), with_bias ? bias.buffer() : absent}, attributes_of(p),
          where);
  check(weight.intact() && bias.intact(), where + ": writes outside");
  return {weight.values(), bias.values()};
}

tensors random_tensors(const versemi_conv_problem& p, uint64_t seed) {
  generator random(seed);
  tensors t;
  t.input = positive(random.floats(versemi_conv_input_count(&p)));
  t.grad_output = random.floats(versemi_conv_output_count(&p));
  return t;
}

// <forward(input, weight), e> = <weight, gradient(input, e)>; the forward op filters too, with errors of its own.
void check_adjoint(const char* isa, versemi_context* context, const versemi_conv_problem& p, const tensors& t,
                   const std::vector<float>& gradient, const std::string& where) {
  const std::vector<float> weight = generator(99).floats(versemi_conv_weight_count(&p));
  guarded output(versemi_conv_output_count(&p));
  run_op(isa, VERSEMI_CONV3D_FORWARD, context, {constant(t.input), constant(weight), absent, output.buffer()},
          attributes_of(p), where);
  const std::vector<float> made = output.values();
  const double left = dot(made, t.grad_output), right = dot(weight, gradient);
  const double size = std::sqrt(dot(weight, weight) * dot(gradient, gradient));
  check(std::fabs(left - right) <= 1e-5 * size, where + ": not the adjoint of the forward op");
}

// A NaN at the corner, inside and at the last voxel, in the input and in the gradient, reaches every tap that its voxel has.
void check_nan(const char* isa, versemi_context* context, const versemi_conv_problem& p, const tensors& t,
               const std::string& where) {
  for (int which = 0; which < 2; which++) {
    const int64_t* size = which == 0 ? p.in : p.out;
    const int64_t* other = which == 0 ? p.out : p.in;
    const int64_t channels = which == 0 ? p.in_channels : p.out_channels, channel = channels - 1;
    for (int place = 0; place < 3; place++) {
      tensors bad = t;
      int64_t at[3];
      for (int i = 0; i < 3; i++) at[i] = place == 0 ? 0 : place == 1 ? size[i] / 2 : size[i] - 1;
      const int64_t voxel = (((p.n - 1) * size[0] + at[0]) * size[1] + at[1]) * size[2] + at[2];
      (which == 0 ? bad.input : bad.grad_output)[static_cast<std::size_t>(voxel * channels + channel)] =
          std::numeric_limits<float>::quiet_NaN();
      const outcome found = run(isa, context, p, bad, where);
      bool all = true;
      for (int64_t tap = 0; tap < 27; tap++) {
        const int64_t k[3] = {tap / 9, tap / 3 % 3, tap % 3};
        bool inside = true;
        for (int i = 0; i < 3; i++) {
          const int64_t partner = which == 0 ? at[i] + p.pad[i] - k[i] : at[i] - p.pad[i] + k[i];
          inside = inside && partner >= 0 && partner < other[i];
        }
        if (!inside) continue;
        for (int64_t i = 0; i < p.in_channels; i++)
          for (int64_t o = 0; o < p.out_channels; o++)
            if ((which == 0 ? i : o) == channel)
              all = all && std::isnan(found.weight[static_cast<std::size_t>((tap * p.in_channels + i) * p.out_channels + o)]);
      }
      if (which == 1) all = all && std::isnan(found.bias[static_cast<std::size_t>(channel)]);
      check(all, where + (which == 0 ? ": a NaN of the input" : ": a NaN of the gradient") + " is lost");
    }
  }
}

}  // namespace

int main() {
  conv_contexts contexts;
  filtering_check filtering;
  std::vector<versemi_conv_problem> problems = {
      problem(1, 16, 16, 16, 16, 16, 3, 1, 1), problem(2, 9, 10, 11, 33, 20, 3, 1, 1), problem(1, 9, 8, 9, 64, 70, 3, 1, 1),
      problem(1, 12, 12, 26, 24, 40, 3, 1, 1), problem(1, 21, 13, 10, 16, 18, 3, 1, 0), problem(2, 8, 7, 6, 48, 17, 3, 1, 2),
      problem(2, 22, 20, 20, 128, 16, 3, 1, 1), problem(1, 11, 25, 49, 32, 32, 3, 1, 1), problem(3, 5, 6, 18, 72, 130, 3, 1, 1),
      // As in networks of base width 8; enough blocks for several parts.
      problem(2, 32, 30, 16, 8, 8, 3, 1, 1), problem(1, 27, 33, 21, 5, 7, 3, 1, 1), problem(2, 33, 31, 17, 16, 16, 3, 1, 1),
      problem(1, 26, 26, 26, 64, 64, 3, 1, 1), problem(2, 24, 24, 24, 32, 32, 3, 1, 1),
      // Few input channels, and so few output channels that filtering pays with vectors of any width.
      problem(1, 17, 18, 19, 2, 12, 3, 1, 1),
  };
  add_block_sizes(problems);
  keep_few(problems);
  uint64_t seed = 1;
  for (const versemi_conv_problem& p : problems) {
    const tensors t = random_tensors(p, seed++);
    const conv_gradients expected = reference_grad_weight(p, t.input, t.grad_output);
    const tensors whole = {whole_numbers(t.input), whole_numbers(t.grad_output)};
    const conv_gradients whole_expected = reference_grad_weight(p, whole.input, whole.grad_output);
    for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++) {
      const std::string where = std::string(*isa) + " " + text_of(p);
      const outcome found = run(*isa, contexts.threads[1], p, t, where);
      filtering.close(found.weight, expected.weight, where + ": weight");
      filtering.close(found.bias, expected.bias, where + ": bias");
      check(run(*isa, contexts.threads[1], p, t, where, false).weight == found.weight, where + ": differs without bias");
      check(same(found, run(*isa, contexts.threads[1], p, t, where)), where + ": differs when repeated");
      check(same(found, run(*isa, contexts.threads[0], p, t, where)), where + ": 1 thread differs");
      check(same(found, run(*isa, contexts.threads[2], p, t, where)), where + ": 3 threads differ");
      check_adjoint(*isa, contexts.threads[1], p, t, found.weight, where);
      check_nan(*isa, contexts.threads[1], p, t, where);
      check(run(*isa, contexts.exact, p, t, where).weight != found.weight,
            where + ": minimal filtering is not in use, this case tests nothing");
      const outcome numbers = run(*isa, contexts.exact, p, whole, where);
      check(deviation_of(numbers.weight, whole_expected.weight).most == 0 && deviation_of(numbers.bias, whole_expected.bias).most == 0,
            where + ": sums of whole numbers are not whole though they must be exact");
    }
  }
  return filtering.finish();
}
