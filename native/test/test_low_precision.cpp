// Convolutions with operands in bfloat16 and int8, on every path that this machine has, and on AMX tiles in an emulator
// (amx_emulator.h): against sums in double of operands that are rounded here, with guards around every output; int8 exactly
// where scales are powers of two; equal bits on repeat and for any number of threads; what is not lowered stays float32.
#include <initializer_list>

#include "conv_reference.h"
#include "cpu/dot_products.h"

#if defined(VERSEMI_TEST_AMX)
namespace versemi {
namespace amx_emulated {
kernel_rows conv3d_kernels();
}
}  // namespace versemi
#endif

using namespace versemi_test;
using versemi::dot_path;
using versemi::operand_precision;

namespace {

// Where a test runs: kernels of an instruction set, and the best path that they may take.
struct target {
  const char* isa;  // nullptr: the emulator
  dot_path path;
  std::string name() const { return std::string(isa == nullptr ? "emulated" : isa) + " " + versemi::name_of(path); }
};

const versemi_kernel* row_on(const target& t, int32_t op) {
#if defined(VERSEMI_TEST_AMX)
  if (t.isa == nullptr) {
    const versemi::kernel_rows rows = versemi::amx_emulated::conv3d_kernels();
    for (int32_t i = 0; i < rows.count; i++)
      if (rows.rows[i].op == op) return &rows.rows[i];
  }
#endif
  return row_of(t.isa, op);
}

std::vector<target> targets(operand_precision precision) {
  std::vector<target> list;
  versemi_context* context = versemi::create_context(1);
  versemi::set_precision(context, precision);
  for (const char* const* isa = versemi::available_instruction_sets(); *isa != nullptr; isa++)
    for (const dot_path path :
         {dot_path::portable, dot_path::avx_vnni, dot_path::avx512_vnni, dot_path::avx512_bf16, dot_path::amx}) {
      versemi::set_dot_path_limit(context, path);
      if (versemi::choose_dot_path(context, *isa) == path) list.push_back({*isa, path});
    }
  versemi::destroy_context(context);
#if defined(VERSEMI_TEST_AMX)
  if (std::strcmp(versemi::available_instruction_sets()[0], "avx512") == 0) list.push_back({nullptr, dot_path::amx});
#endif
  return list;
}

// --- the specification ---------------------------------------------------------------------------------------------------

float to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const uint32_t down = bits & 0xffff0000u, up = down + 0x10000u, rest = bits & 0xffffu;
  const uint32_t chosen = rest > 0x8000u || (rest == 0x8000u && (down >> 16 & 1) != 0) ? up : down;
  std::memcpy(&value, &chosen, sizeof value);
  return value;
}

// A convolution as its windows: source voxel = base + step * tap along each axis. Forward, or transposed.
struct view {
  const versemi_conv_problem& p;
  bool transposed;
  const int64_t* from() const { return transposed ? p.out : p.in; }
  const int64_t* to() const { return transposed ? p.in : p.out; }
  int64_t from_channels() const { return transposed ? p.out_channels : p.in_channels; }
  int64_t to_channels() const { return transposed ? p.in_channels : p.out_channels; }
  int64_t taps() const { return p.kernel[0] * p.kernel[1] * p.kernel[2]; }
  std::size_t weight_at(int64_t tap, int64_t from, int64_t to) const {
    return static_cast<std::size_t>(transposed ? (tap * p.in_channels + to) * p.out_channels + from
                                               : (tap * p.in_channels + from) * p.out_channels + to);
  }
  // Source position along an axis, or -1.
  int64_t source(int axis, int64_t place, int64_t tap) const {
    int64_t at = transposed ? place + p.pad[axis] - tap : place * p.stride[axis] - p.pad[axis] + tap;
    if (transposed) {
      if (at < 0 || at % p.stride[axis] != 0) return -1;
      at /= p.stride[axis];
    }
    return at >= 0 && at < from()[axis] ? at : -1;
  }
};

struct operands {
  std::vector<double> source, weight;
};

// Sums of products, and of their sizes, which bound the rounding.
void sum_products(const view& v, const operands& o, std::vector<double>& sums, std::vector<double>& sizes) {
  const int64_t *to = v.to(), *from = v.from(), *kernel = v.p.kernel;
  const int64_t ci = v.from_channels(), co = v.to_channels(), voxels = v.p.n * to[0] * to[1] * to[2];
  std::vector<double> w(static_cast<std::size_t>(v.taps() * ci * co));
  for (int64_t tap = 0; tap < v.taps(); tap++)
    for (int64_t i = 0; i < ci; i++)
      for (int64_t j = 0; j < co; j++) w[static_cast<std::size_t>((tap * ci + i) * co + j)] = o.weight[v.weight_at(tap, i, j)];
  sums.assign(static_cast<std::size_t>(voxels * co), 0.0);
  sizes = sums;
  for (int64_t voxel = 0; voxel < voxels; voxel++) {
    const int64_t place[3] = {voxel / to[2] / to[1] % to[0], voxel / to[2] % to[1], voxel % to[2]};
    const int64_t sample = voxel / to[2] / to[1] / to[0];
    for (int64_t tap = 0; tap < v.taps(); tap++) {
      const int64_t at[3] = {v.source(0, place[0], tap / kernel[2] / kernel[1]), v.source(1, place[1], tap / kernel[2] % kernel[1]),
                             v.source(2, place[2], tap % kernel[2])};
      if (at[0] < 0 || at[1] < 0 || at[2] < 0) continue;
      const double* x = &o.source[static_cast<std::size_t>((((sample * from[0] + at[0]) * from[1] + at[1]) * from[2] + at[2]) * ci)];
      for (int64_t i = 0; i < ci; i++) {
        const double* row = &w[static_cast<std::size_t>((tap * ci + i) * co)];
        for (int64_t j = 0; j < co; j++) {
          sums[static_cast<std::size_t>(voxel * co + j)] += x[i] * row[j];
          sizes[static_cast<std::size_t>(voxel * co + j)] += std::fabs(x[i] * row[j]);
        }
      }
    }
  }
}

double quantised(float value, float range, float steps) {
  if (range == 0) return 0;
  const float scaled = value * (steps / range);
  return std::nearbyint(static_cast<double>(scaled)) * (static_cast<double>(range) / static_cast<double>(steps));
}

operands rounded(const view& v, operand_precision precision, const std::vector<float>& source, const std::vector<float>& weight) {
  operands o;
  if (precision == operand_precision::bfloat16) {
    for (float x : source) o.source.push_back(static_cast<double>(to_bf16(x)));
    for (float w : weight) o.weight.push_back(static_cast<double>(to_bf16(w)));
    return o;
  }
  const std::size_t count = source.size() / static_cast<std::size_t>(v.p.n);
  for (std::size_t first = 0; first < source.size(); first += count) {
    float least = source[first], most = source[first];
    for (std::size_t i = first; i < first + count; i++) {
      if (source[i] < least) least = source[i];
      if (source[i] > most) most = source[i];
    }
    const float range = least < 0 && -least > most ? -least : most, steps = least < 0 ? 127.0f : 255.0f;
    for (std::size_t i = first; i < first + count; i++) o.source.push_back(quantised(source[i], range, steps));
  }
  // One scale for a channel of the output, or, where windows touch along W, for each tap along W of one.
  const versemi_conv_problem& p = v.p;
  const bool joined = v.transposed && p.kernel[2] == p.stride[2] && p.pad[2] == 0 && p.in[2] == p.out[2] * p.stride[2];
  o.weight.resize(weight.size());
  for (int64_t j = 0; j < v.to_channels(); j++)
    for (int64_t set = 0; set < (joined ? p.kernel[2] : 1); set++) {
      const auto in_set = [&](int64_t tap) { return !joined || tap % p.kernel[2] == set; };
      float range = 0;
      for (int64_t tap = 0; tap < v.taps(); tap++)
        for (int64_t i = 0; in_set(tap) && i < v.from_channels(); i++) range = std::fmax(range, std::fabs(weight[v.weight_at(tap, i, j)]));
      for (int64_t tap = 0; tap < v.taps(); tap++)
        for (int64_t i = 0; in_set(tap) && i < v.from_channels(); i++)
          o.weight[v.weight_at(tap, i, j)] = quantised(weight[v.weight_at(tap, i, j)], range, 127.0f);
    }
  return o;
}

// --- running -------------------------------------------------------------------------------------------------------------

struct tensors {
  std::vector<float> input, output, weight, bias;
};

struct outcome {
  std::vector<float> forward, raw, transposed_raw, normalized, mean, rstd, grad_input;
};

outcome run_ops(const target& t, versemi_context* context, const versemi_conv_problem& p, const tensors& x, const std::string& where) {
  versemi::set_dot_path_limit(context, t.path);
  const std::vector<double> attributes = attributes_of(p);
  const int64_t in = versemi_conv_input_count(&p), out = versemi_conv_output_count(&p);
  guarded forward(out), raw(out), normalized(out), mean(p.n * p.out_channels), rstd(p.n * p.out_channels), transposed_raw(in),
      transposed(in), grad_input(in);
  run_row(row_on(t, VERSEMI_CONV3D_FORWARD), context,
          {constant(x.input), constant(x.weight), constant(x.bias), forward.buffer()}, attributes, where);
  std::vector<double> with_norm = attributes;
  with_norm.insert(with_norm.end(), {0, 1, 1e-5});
  run_row(row_on(t, VERSEMI_CONV3D_NORM_RELU), context,
          {constant(x.input), constant(x.weight), absent, normalized.buffer(), raw.buffer(), mean.buffer(), rstd.buffer()},
          with_norm, where);
  with_norm[18] = 1;
  run_row(row_on(t, VERSEMI_CONV3D_NORM_RELU), context,
          {constant(x.output), constant(x.weight), absent, transposed.buffer(), transposed_raw.buffer(), absent, absent},
          with_norm, where);
  run_row(row_on(t, VERSEMI_CONV3D_GRAD_INPUT), context, {constant(x.output), constant(x.weight), absent, grad_input.buffer()},
          attributes, where);
  for (const guarded* g : {&forward, &raw, &normalized, &mean, &rstd, &transposed_raw, &transposed, &grad_input})
    check(g->intact(), where + ": writes outside");
  return {forward.values(), raw.values(),  transposed_raw.values(), normalized.values(),
          mean.values(),    rstd.values(), grad_input.values()};
}

bool equal(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}
bool equal(const outcome& a, const outcome& b) {
  return equal(a.forward, b.forward) && equal(a.raw, b.raw) && equal(a.transposed_raw, b.transposed_raw) &&
         equal(a.normalized, b.normalized) && equal(a.mean, b.mean) && equal(a.rstd, b.rstd) && equal(a.grad_input, b.grad_input);
}

// |found - expected| <= bound * size of the products. bfloat16: float32 sums of `terms` numbers, each rounded; int8: the sum is
// exact, its product with the scale is rounded, and so is the scale itself.
void check_close(const std::vector<float>& found, const std::vector<double>& sums, const std::vector<double>& sizes,
                 const std::vector<float>& bias, double terms, const std::string& what) {
  double worst = 0;
  for (std::size_t i = 0; i < sums.size(); i++) {
    const double b = bias.empty() ? 0 : static_cast<double>(bias[i % bias.size()]);
    const double error = std::fabs(static_cast<double>(found[i]) - sums[i] - b) / (sizes[i] + std::fabs(b) + 1e-30);
    if (!(error <= worst)) worst = error;
  }
  char text[80];
  std::snprintf(text, sizeof text, ": error %.3g of the sum of sizes", worst);
  check(worst <= std::ldexp(2 + std::sqrt(terms), -24), what + text);
}

void check_moments(const outcome& o, const versemi_conv_problem& p, const std::string& where) {
  const std::size_t channels = static_cast<std::size_t>(p.out_channels);
  const std::size_t voxels = o.raw.size() / channels / static_cast<std::size_t>(p.n);
  bool good = true;
  for (std::size_t i = 0; i < o.mean.size(); i++) {
    const float* from = &o.raw[i / channels * voxels * channels + i % channels];
    double sum = 0, squares = 0;
    for (std::size_t v = 0; v < voxels; v++) sum += static_cast<double>(from[v * channels]);
    const double mean = sum / static_cast<double>(voxels);
    for (std::size_t v = 0; v < voxels; v++) squares += std::pow(static_cast<double>(from[v * channels]) - mean, 2);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(voxels) + 1e-5);
    good = good && std::fabs(static_cast<double>(o.mean[i]) - mean) * rstd <= 1e-5 &&
           std::fabs(static_cast<double>(o.rstd[i]) / rstd - 1) <= 1e-4;
  }
  check(good, where + ": moments");
}

tensors random_tensors(const versemi_conv_problem& p, uint64_t seed) {
  generator random(seed);
  tensors t;
  t.input = random.floats(versemi_conv_input_count(&p));
  t.output = random.floats(versemi_conv_output_count(&p));
  t.weight = random.floats(versemi_conv_weight_count(&p));
  t.bias = random.floats(p.out_channels);
  // As behind a ReLU, but for the first sample.
  for (std::vector<float>* source : {&t.input, &t.output})
    for (std::size_t i = source->size() / static_cast<std::size_t>(p.n) * (seed % 2); i < source->size(); i++)
      (*source)[i] = std::fmax((*source)[i], 0.0f);
  return t;
}

void check_problem(const versemi_conv_problem& p, operand_precision precision, uint64_t seed, versemi_context* (&contexts)[3]) {
  const tensors x = random_tensors(p, seed);
  const view forward = {p, false}, transposed = {p, true};
  std::vector<double> sums, sizes, transposed_sums, transposed_sizes;
  sum_products(forward, rounded(forward, precision, x.input, x.weight), sums, sizes);
  sum_products(transposed, rounded(transposed, precision, x.output, x.weight), transposed_sums, transposed_sizes);
  const bool whole = precision == operand_precision::int8;
  const double taps = static_cast<double>(forward.taps());
  const double terms = whole ? 4 : taps * static_cast<double>(p.in_channels);
  const double transposed_terms = whole ? 4 : taps * static_cast<double>(p.out_channels);
  std::vector<float> first;
  for (const target& t : targets(precision)) {
    const std::string where = t.name() + (whole ? " int8 " : " bfloat16 ") + text_of(p);
    for (versemi_context* context : contexts) versemi::set_precision(context, precision);
    const outcome found = run_ops(t, contexts[1], p, x, where);
    check_close(found.forward, sums, sizes, x.bias, terms, where + ": forward");
    check_close(found.raw, sums, sizes, {}, terms, where + ": norm_relu raw");
    check_close(found.transposed_raw, transposed_sums, transposed_sizes, {}, transposed_terms, where + ": transposed raw");
    check_moments(found, p, where);
    // Exact sums are the same whatever makes them.
    if (whole && first.empty()) first = found.raw;
    check(!whole || equal(first, found.raw), where + ": other bits than on the first path");
    check(equal(found, run_ops(t, contexts[1], p, x, where)), where + ": repeat differs");
    check(equal(found, run_ops(t, contexts[0], p, x, where)), where + ": 1 thread differs");
    check(equal(found, run_ops(t, contexts[2], p, x, where)), where + ": 3 threads differ");
    for (versemi_context* context : contexts) versemi::set_precision(context, operand_precision::float32);
    const outcome plain = run_ops(t, contexts[1], p, x, where);
    check(!equal(found.raw, plain.raw), where + ": not lowered, this case tests nothing");
    check(equal(found.grad_input, plain.grad_input), where + ": a gradient is lowered");
  }
}

// Numbers that the quantisation keeps as they are: sums must be right to the last bit.
void check_whole_numbers(const versemi_conv_problem& p, bool negative, uint64_t seed, versemi_context* context) {
  generator random(seed);
  tensors x = random_tensors(p, seed);
  const float steps = negative ? 127 : 255;
  for (std::vector<float>* source : {&x.input, &x.output}) {
    for (float& value : *source) {
      value = std::nearbyint(random.next() * steps);
      if (!negative) value = std::fabs(value);
    }
    const std::size_t count = source->size() / static_cast<std::size_t>(p.n);
    for (std::size_t first = 0; first < source->size(); first += count) (*source)[first + count / 2] = negative ? -127 : 255;
  }
  for (float& weight : x.weight) weight = std::nearbyint(random.next() * 127);
  // The largest weight of every output channel, forward (tap 0) and transposed (every tap along W).
  for (int64_t j = 0; j < p.out_channels; j++) x.weight[static_cast<std::size_t>(j)] = j % 2 == 0 ? 127 : -127;
  for (int64_t tap = 0; tap < p.kernel[2]; tap++)
    for (int64_t i = 0; i < p.in_channels; i++) x.weight[static_cast<std::size_t>((tap * p.in_channels + i) * p.out_channels)] = 127;
  for (float& value : x.bias) value = std::nearbyint(value * 100);
  operands o = {{x.input.begin(), x.input.end()}, {x.weight.begin(), x.weight.end()}};
  std::vector<double> sums, transposed_sums, sizes;
  sum_products({p, false}, o, sums, sizes);
  o.source.assign(x.output.begin(), x.output.end());
  sum_products({p, true}, o, transposed_sums, sizes);
  versemi::set_precision(context, operand_precision::int8);
  for (const target& t : targets(operand_precision::int8)) {
    const std::string where = t.name() + (negative ? " whole numbers, negative too, " : " whole numbers ") + text_of(p);
    const outcome found = run_ops(t, context, p, x, where);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < sums.size(); i++) {
      const float sum = static_cast<float>(static_cast<int32_t>(sums[i]));
      if (found.raw[i] != sum) wrong++;
      if (found.forward[i] != static_cast<float>(sums[i] + static_cast<double>(x.bias[i % x.bias.size()]))) wrong++;
    }
    for (std::size_t i = 0; i < transposed_sums.size(); i++)
      if (found.transposed_raw[i] != static_cast<float>(static_cast<int32_t>(transposed_sums[i]))) wrong++;
    check(wrong == 0, where + ": " + std::to_string(wrong) + " sums are not exact");
  }
  versemi::set_precision(context, operand_precision::float32);
}

// A NaN or an infinity makes its sample NaN (int8) or reaches what it meets (bfloat16), and touches no other sample.
void check_not_finite(operand_precision precision, versemi_context* context) {
  const versemi_conv_problem p = problem(2, 3, 4, 9, 12, 20, 3, 1, 1);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (const target& t : targets(precision)) {
      tensors x = random_tensors(p, 2);
      versemi::set_precision(context, precision);
      const std::string where = t.name() + ": not finite";
      const outcome good = run_ops(t, context, p, x, where);
      x.input[12 * 40] = bad;
      const outcome found = run_ops(t, context, p, x, where);
      versemi::set_precision(context, operand_precision::float32);
      const std::size_t sample = found.raw.size() / 2;
      check(!std::isfinite(found.raw[40 * 20]), where + ": lost");
      bool all = true;
      for (std::size_t i = 0; i < sample; i++) all = all && std::isnan(found.normalized[i]);
      check(all, where + ": the normalised sample is not NaN everywhere");
      check(std::memcmp(&found.raw[sample], &good.raw[sample], sample * sizeof(float)) == 0, where + ": reached another sample");
    }
}

// First layers, kernels of one voxel: as without the lower precision, to the bit.
void check_not_served(operand_precision precision, versemi_context* context) {
  for (const versemi_conv_problem& p : {problem(1, 5, 6, 17, 1, 16, 3, 1, 1), problem(1, 4, 5, 18, 4, 32, 2, 2, 0), problem(1, 3, 4, 9, 16, 8, 1, 1, 0)})
    for (const target& t : targets(precision)) {
      const tensors x = random_tensors(p, 3);
      const outcome plain = run_ops(t, context, p, x, "not served");
      versemi::set_precision(context, precision);
      const outcome found = run_ops(t, context, p, x, "not served");
      versemi::set_precision(context, operand_precision::float32);
      check(equal(found.raw, plain.raw) && equal(found.forward, plain.forward), t.name() + ": must stay float32: " + text_of(p));
    }
}

}  // namespace

int main() {
  versemi_context* contexts[3];
  for (int threads = 1; threads <= 3; threads++) contexts[threads - 1] = versemi::create_context(threads);
  std::vector<versemi_conv_problem> problems = {
      problem(1, 6, 6, 6, 16, 16, 3, 1, 1),   problem(2, 3, 5, 13, 9, 12, 3, 1, 1),  problem(2, 4, 3, 37, 32, 33, 3, 1, 1),
      problem(1, 3, 4, 7, 19, 70, 3, 1, 1),   problem(2, 2, 3, 7, 256, 72, 3, 1, 1), problem(2, 4, 6, 8, 16, 32, 2, 2, 0),
      problem(1, 7, 5, 69, 10, 21, 2, 2, 0),  problem(2, 6, 4, 12, 64, 40, 2, 2, 0), problem(1, 4, 4, 9, 24, 8, 3, 2, 1),
      problem(1, 5, 5, 40, 11, 17, 4, 2, 1),  problem(1, 4, 5, 6, 10, 10, 3, 1, 0),  problem(1, 6, 7, 8, 12, 8, 2, 3, 0),
  };
  problems.push_back({2, {5, 6, 17}, 13, {3, 6, 8}, 9, {3, 1, 3}, {2, 1, 2}, {1, 0, 0}});
  problems.push_back({1, {2, 3, 4}, 20, {2, 3, 150}, 70, {1, 3, 3}, {1, 1, 1}, {0, 1, 70}});
  for (const operand_precision precision : {operand_precision::bfloat16, operand_precision::int8}) {
    for (const target& t : targets(precision))
      std::printf("%s: %s\n", precision == operand_precision::int8 ? "int8" : "bfloat16", t.name().c_str());
    uint64_t seed = 1;
    for (const versemi_conv_problem& p : problems) check_problem(p, precision, seed++, contexts);
    check_not_finite(precision, contexts[1]);
    check_not_served(precision, contexts[1]);
  }
  uint64_t seed = 100;
  for (const versemi_conv_problem& p : problems)
    for (const bool negative : {false, true}) check_whole_numbers(p, negative, seed++, contexts[1]);
  for (versemi_context* context : contexts) versemi::destroy_context(context);
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
