// Convolutions by wgmma: the encoders and layouts against the tables of the PTX ISA, the tiling, and every plan of the kernel
// against sums in double over the same bfloat16 operands.
#include <set>

#include "conv/hopper/conv_hopper_plan.h"
#include "conv/hopper/tensor_map.h"
#include "test/harness.h"

using namespace versemi::cuda;
using namespace versemi::cuda::hopper;
using namespace versemi_test;

namespace {

// --- encoders and layouts ---------------------------------------------------------------------------------------------

void test_layouts() {
  // Figure "K major 128B swizzling": 16-byte pieces of rows 0 to 7 of an atom, by where they lie.
  for (std::uint32_t r = 0; r < 8; r++)
    for (std::uint32_t p = 0; p < 8; p++) {
      versemi_test::check(swizzled(r * 128 + p * 16) == r * 128 + (p ^ r) * 16, "swizzle within an atom");
      versemi_test::check(swizzled(5 * 1024 + r * 128 + p * 16 + 6) == 5 * 1024 + r * 128 + (p ^ r) * 16 + 6, "swizzle of a later atom");
    }
  // Table "Matrix descriptor": address 0x2c400 >> 4 in bits 0-13, 1 in 16-29, 1024 >> 4 in 32-45, 1 in 62-63.
  versemi_test::check(matrix_descriptor(0x2c400, 1024) == 0x4000004000012c40ull, "descriptor");
  versemi_test::check(advanced(matrix_descriptor(0x2c400, 1024), 96) == matrix_descriptor(0x2c460, 1024), "descriptor, advanced");
  // Figure "WGMMA .m64nNk16 register fragment layout for accumulator matrix D": T0 d0-d7, T5, T35, T127.
  const int expected[][4] = {{0, 0, 0, 0}, {0, 1, 0, 1}, {0, 2, 8, 0}, {0, 3, 8, 1}, {0, 4, 0, 8}, {0, 7, 8, 9},
                             {5, 0, 1, 2}, {5, 2, 9, 2}, {35, 1, 16, 7}, {127, 3, 63, 7}, {127, 47, 63, 95}, {64, 0, 32, 0}};
  for (const auto& e : expected)
    versemi_test::check(accumulator_row(e[0], e[1]) == e[2] && accumulator_column(e[0], e[1]) == e[3],
                        "accumulator " + std::to_string(e[1]) + " of thread " + std::to_string(e[0]));
  std::set<int> seen;
  for (int t = 0; t < 128; t++)
    for (int i = 0; i < 48; i++) seen.insert(accumulator_row(t, i) * 96 + accumulator_column(t, i));
  versemi_test::check(seen.size() == 64 * 96 && *seen.rbegin() == 64 * 96 - 1, "accumulators cover the tile");
  std::set<int> pieces;
  for (int m = 0; m < 64; m++)
    for (int k = 0; k < 64; k += 8) pieces.insert(static_cast<int>(weight_offset(m, k)) / 16);
  versemi_test::check(pieces.size() == 512 && *pieces.rbegin() == 511, "an image of weights is full");
}

// What the driver refuses must be refused with words; a good shape is taken.
void test_tensor_maps(test_context& context) {
  device_array<std::uint16_t> memory(64 * 4 * 3 * 2);
  const auto words = [&](const tensor_shape& shape) {
    tensor_map map;
    const versemi_status status = make_tensor_map(&map, shape);
    return std::string(status.code == VERSEMI_OK ? "" : status.message);
  };
  const tensor_shape good = {memory.data(), {64, 4, 3, 2, 1}, {128, 512, 1536, 3072}, {64, 8, 5, 2, 1}};
  versemi_test::check(words(good).empty() || context.properties().compute_capability < 90, "tensor map: " + words(good));
  tensor_shape bad = good;
  bad.stride[1] = 520;
  versemi_test::check(words(bad).find("stride") != std::string::npos, "tensor map with a stride of 520 bytes");
  bad = good;
  bad.box[2] = 257;
  versemi_test::check(words(bad).find("box") != std::string::npos, "tensor map with a box of 257");
  bad = good;
  bad.data = memory.data() + 1;
  versemi_test::check(words(bad).find("16") != std::string::npos, "tensor map at an odd address");
}

template <typename Shape>
void test_tiling(const char* name) {
  const versemi_conv_problem p = problem(11, 7, 13, 19, 128, 192, 3, 1, 1);
  for (bool by_samples : {false, true}) {
    const plan made = plan_with<Shape>(forward_view(p), by_samples, 2, 132, shape_kind::wide);
    const geometry& g = made.g;
    std::vector<int> covered(static_cast<std::size_t>(p.n * 7 * 13 * 19 * 3), 0);
    std::set<std::int64_t> slots;
    for (int unit = 0; unit < unit_count(g); unit++) {
      const tile t = tile_of<Shape>(g, unit);
      if (t.split != 0) continue;
      for (int consumer = 0; consumer < consumers; consumer++) {
        const int slot = slot_of<Shape>(g, t, consumer), sample = t.at[g.samples_axis];
        versemi_test::check(slot >= 0 && slot < slot_count(g), std::string(name) + ": a slot of the sums that is none");
        slots.insert((std::int64_t{sample} * slot_count(g) + slot) * g.row_blocks + t.block);
      }
      for (int r = t.at[row]; r < t.at[row] + 8 && r < g.size[row]; r++)
        for (int x = t.at[run]; x < t.at[run] + Shape::run && x < g.size[run]; x++)
          for (int y = t.at[line]; y < t.at[line] + Shape::all_lines && y < g.size[line]; y++) {
            const int s = t.at[slice];
            const int at = by_samples ? ((r * 7 + s) * 13 + y) * 19 + x : ((s * 7 + y) * 13 + x) * 19 + r;
            covered[static_cast<std::size_t>(at * 3 + t.block)]++;
          }
    }
    bool once = true;
    for (int times : covered) once = once && times == 1;
    versemi_test::check(once, std::string(name) + ": every result in one tile");
    const std::int64_t groups = by_samples ? g.tiles[row] : p.n;
    versemi_test::check(static_cast<std::int64_t>(slots.size()) == groups * slot_count(g) * g.row_blocks,
                        std::string(name) + ": every slot of the sums filled once");
    std::set<int> taps_seen;
    for (int stage = 0; stage < stages; stage++)
      for (int tap = 0; tap < stage_taps; tap++) {
        const kernel_tap at = tap_of(by_samples, stage, tap);
        taps_seen.insert((at.d * 3 + at.h) * 3 + at.w);
      }
    versemi_test::check(taps_seen.size() == taps, "every tap once");
  }
}

// What the levels of the network get on a GPU with 132 multiprocessors at batch 8 (NOTES.md).
void test_choice() {
  const auto chosen = [](std::int64_t n, std::int64_t size, std::int64_t channels) {
    return best_plan(forward_view(problem(n, size, size, size, channels, channels, 3, 1, 1)), 132);
  };
  plan found = chosen(8, 24, 64);
  versemi_test::check(found.shape == shape_kind::wide && found.by_samples && found.g.splits == 1 && unit_count(found.g) == 384, "24^3");
  found = chosen(8, 12, 128);
  versemi_test::check(found.shape == shape_kind::wide && found.by_samples && found.g.splits == 1 && unit_count(found.g) == 96, "12^3");
  found = chosen(8, 6, 256);
  versemi_test::check(found.shape == shape_kind::narrow && found.by_samples && found.g.splits == 4 && unit_count(found.g) == 96, "6^3");
  versemi_test::check(!chosen(1, 24, 64).by_samples, "one sample");
}

// --- convolution ------------------------------------------------------------------------------------------------------

// The result of a convolution [n, in, ci] -> [n, out, co], or of its gradient with respect to the input, in double.
doubles reference(const versemi_conv_problem& p, bool backward, const std::vector<float>& from, const std::vector<float>& weights,
                  const std::vector<float>& bias) {
  const std::int64_t ci = p.in_channels, co = p.out_channels;
  doubles to(static_cast<std::size_t>(backward ? versemi_conv_input_count(&p) : versemi_conv_output_count(&p)), 0.0);
  const auto at = [](std::int64_t n, const std::int64_t* size, std::int64_t d, std::int64_t h, std::int64_t w, std::int64_t c) {
    return static_cast<std::size_t>((((n * size[0] + d) * size[1] + h) * size[2] + w) * c);
  };
  for (std::int64_t n = 0; n < p.n; n++)
    for (std::int64_t od = 0; od < p.out[0]; od++)
      for (std::int64_t oh = 0; oh < p.out[1]; oh++)
        for (std::int64_t ow = 0; ow < p.out[2]; ow++)
          for (int tap = 0; tap < 27; tap++) {
            const std::int64_t d = od + tap / 9 - p.pad[0], h = oh + tap / 3 % 3 - p.pad[1], w = ow + tap % 3 - p.pad[2];
            if (d < 0 || h < 0 || w < 0 || d >= p.in[0] || h >= p.in[1] || w >= p.in[2]) continue;
            const std::size_t x = at(n, p.in, d, h, w, ci), y = at(n, p.out, od, oh, ow, co);
            const float* k = weights.data() + static_cast<std::size_t>(tap * ci * co);
            for (std::int64_t i = 0; i < ci; i++)
              for (std::int64_t o = 0; o < co; o++) {
                const double factor = k[i * co + o];
                if (backward)
                  to[x + static_cast<std::size_t>(i)] += factor * from[y + static_cast<std::size_t>(o)];
                else
                  to[y + static_cast<std::size_t>(o)] += factor * from[x + static_cast<std::size_t>(i)];
              }
          }
  if (!bias.empty())
    for (std::size_t i = 0; i < to.size(); i++) to[i] += bias[i % bias.size()];
  return to;
}

struct operands {
  std::vector<float> from, weights, bias;  // from and weights hold bfloat16 values
  doubles expected;
};
operands operands_of(const versemi_conv_problem& p, bool backward, bool with_bias) {
  generator random(static_cast<std::uint64_t>(p.n * 1000 + p.in[0] * 100 + p.in[1] * 10 + p.in[2] + p.out_channels));
  operands o;
  o.from = rounded_to_bf16(random.floats(backward ? versemi_conv_output_count(&p) : versemi_conv_input_count(&p)));
  o.weights = rounded_to_bf16(random.floats(versemi_conv_weight_count(&p)));
  if (with_bias) o.bias = random.floats(backward ? p.in_channels : p.out_channels);
  o.expected = reference(p, backward, o.from, o.weights, o.bias);
  return o;
}
// Sums of K products below 1 in float32, in any order: the worst found is far below this.
double tolerance(const versemi_conv_problem& p) { return 27.0 * static_cast<double>(p.in_channels + p.out_channels) * 1.2e-7; }

conv_view view_of(const versemi_conv_problem& p, bool backward) { return backward ? grad_input_view(p) : forward_view(p); }

// One plan, started directly: results, and the sums for the norm.
void test_plan(test_context& context, const versemi_conv_problem& p, bool backward, bool by_samples, int splits, shape_kind shape,
               const operands& o, const std::string& what) {
  conv_job job;
  job.view = view_of(p, backward);
  const plan made = plan_of(job.view, shape, by_samples, splits, context.properties().multiprocessors);
  const std::int64_t channels = job.view.result_channels, voxels = job.view.result_voxels();
  std::vector<std::uint16_t> halves;
  for (float value : o.from) halves.push_back(bf16_bits(value));
  device_array<std::uint16_t> source(halves), result(static_cast<std::int64_t>(o.expected.size()));
  device_array<float> weights(o.weights), bias(o.bias);
  job.source = source.data();
  job.weight = weights.data();
  job.bias = bias.data();
  job.result = result.data();
  job.source_format = job.result_format = storage::bfloat16;
  std::vector<std::uint16_t> first;
  std::vector<conv_moments> moments;
  int slots_per_sample = 0;
  for (unsigned order = 0; order < 2; order++) {
#if defined(VERSEMI_CUDA_EMULATED)
    emulator::set_order(order);
#endif
    result.poison();
    conv_moment_slots slots;
    const versemi_status status = convolve_with(context, job, made, &slots);
    versemi_test::check(status.code == VERSEMI_OK, what + ": " + status.message);
    context.synchronize(what);
    const std::vector<std::uint16_t> found = result.download();
    slots_per_sample = slots.per_sample;
    std::vector<conv_moments> found_moments(static_cast<std::size_t>(p.n * slots.per_sample * channels));
    require(cudaMemcpy(found_moments.data(), slots.moments, found_moments.size() * sizeof(conv_moments), cudaMemcpyDeviceToHost),
            "sums");
    if (order == 0) {
      first = found;
      moments = found_moments;
    }
    versemi_test::check(found == first && std::memcmp(found_moments.data(), moments.data(), moments.size() * sizeof(conv_moments)) == 0,
                        what + ": other bits on repeat");
  }
#if defined(VERSEMI_CUDA_EMULATED)
  emulator::set_order(0);
#endif
  std::vector<float> found;
  for (std::uint16_t half : first) found.push_back(bf16_value(half));
  compare(found, o.expected, 1.0 / 256, tolerance(p), what);
  versemi_test::check(result.intact(), what + ": written outside");
  std::vector<float> totals;
  doubles expected;
  for (std::int64_t n = 0; n < p.n; n++)
    for (std::int64_t c = 0; c < channels; c++) {
      double sum = 0, squares = 0, count = 0, expected_sum = 0, expected_squares = 0;
      for (std::int64_t slot = 0; slot < slots_per_sample; slot++) {
        const conv_moments& m = moments[static_cast<std::size_t>((n * slots_per_sample + slot) * channels + c)];
        if (m.count == 0) continue;
        const double shift = m.shift;
        sum += m.sum + m.count * shift;
        squares += m.squares + shift * (2 * m.sum + m.count * shift);
        count += m.count;
      }
      versemi_test::check(count == static_cast<double>(voxels), what + ": voxels in the sums");
      for (std::int64_t voxel = 0; voxel < voxels; voxel++) {
        const double value = o.expected[static_cast<std::size_t>((n * voxels + voxel) * channels + c)];
        expected_sum += value;
        expected_squares += value * value;
      }
      totals.push_back(static_cast<float>(sum));
      totals.push_back(static_cast<float>(squares));
      expected.push_back(expected_sum);
      expected.push_back(expected_squares);
    }
  compare(totals, expected, 1e-5, tolerance(p) * static_cast<double>(voxels), what + ", sums");
}

void test_plans(test_context& context, const versemi_conv_problem& p, bool backward, int splits) {
  const operands o = operands_of(p, backward, true);
  for (bool by_samples : {true, false}) {
    const std::string what = text_of(p) + (backward ? ", backward" : "") + (by_samples ? ", by samples" : ", by width") +
                             ", splits " + std::to_string(splits);
    test_plan(context, p, backward, by_samples, splits, shape_kind::wide, o, what + ", wide");
    test_plan(context, p, backward, by_samples, splits, shape_kind::middle, o, what + ", middle");
    test_plan(context, p, backward, by_samples, splits, shape_kind::narrow, o, what + ", narrow");
  }
}

// Through the table, with what it chooses.
void test_rows(test_context& context) {
  struct shape {
    versemi_conv_problem p;
    bool bias;
  };
  versemi_conv_problem uneven = problem(2, 4, 5, 3, 64, 64, 3, 1, 1);  // two zeros before, none behind
  uneven.pad[0] = 2;
  uneven.pad[2] = 0;
  uneven.out[2] = 1;
  for (const shape& s : {shape{problem(1, 5, 7, 9, 64, 64, 3, 1, 1), true}, shape{problem(3, 4, 6, 6, 128, 64, 3, 1, 1), false},
                         shape{problem(9, 2, 3, 13, 64, 128, 3, 1, 1), true}, shape{problem(2, 6, 6, 6, 256, 64, 3, 1, 1), false},
                         shape{problem(1, 1, 2, 1, 64, 256, 3, 1, 1), true}, shape{uneven, true},
                         shape{problem(1, 5, 4, 6, 64, 64, 3, 1, 0), false}, shape{problem(1, 2, 3, 2, 64, 64, 3, 1, 3), false}})
    for (bool backward : {false, true}) {
      const operands o = operands_of(s.p, backward, s.bias);
      cuda_case run(text_of(s.p) + (backward ? ", grad-input" : ""), backward ? VERSEMI_CONV3D_GRAD_INPUT : VERSEMI_CONV3D_FORWARD,
                    attributes_of(s.p));
      run.in(o.from, storage::bfloat16).in(o.weights);
      s.bias ? run.in(o.bias) : run.none();
      run.out(o.expected, 0, tolerance(s.p)).only("hopper-wgmma").run(context);
      versemi_test::check(run.formats()[3] == storage::bfloat16, "a result in bfloat16");
    }
}

void test_norm(test_context& context, const versemi_conv_problem& p, bool transposed, bool relu, bool with_skip, bool training) {
  const operands o = operands_of(p, transposed, false);
  const conv_view v = view_of(p, transposed);
  const std::int64_t channels = v.result_channels, voxels = v.result_voxels();
  generator random(99);
  const std::vector<float> skip = rounded_to_bf16(random.floats(static_cast<std::int64_t>(o.expected.size())));
  const double epsilon = 1e-5;
  doubles expected(o.expected.size()), mean, rstd;
  for (std::int64_t n = 0; n < p.n; n++)
    for (std::int64_t c = 0; c < channels; c++) {
      double sum = 0, squares = 0;
      const auto at = [&](std::int64_t voxel) { return static_cast<std::size_t>((n * voxels + voxel) * channels + c); };
      for (std::int64_t voxel = 0; voxel < voxels; voxel++) sum += o.expected[at(voxel)];
      const double average = sum / static_cast<double>(voxels);
      for (std::int64_t voxel = 0; voxel < voxels; voxel++) squares += (o.expected[at(voxel)] - average) * (o.expected[at(voxel)] - average);
      mean.push_back(average);
      rstd.push_back(1 / std::sqrt(squares / static_cast<double>(voxels) + epsilon));
      for (std::int64_t voxel = 0; voxel < voxels; voxel++) {
        const double y = (o.expected[at(voxel)] - average) * rstd.back();
        expected[at(voxel)] = (relu && y < 0 ? 0 : y) + (with_skip ? skip[at(voxel)] : 0);
      }
    }
  doubles attributes = attributes_of(p);
  attributes.insert(attributes.end(), {transposed ? 1.0 : 0.0, relu ? 1.0 : 0.0, epsilon});
  cuda_case run(text_of(p) + ", norm" + (transposed ? ", transposed" : ""), VERSEMI_CONV3D_NORM_RELU, attributes);
  run.in(o.from, storage::bfloat16).in(o.weights);
  with_skip ? run.in(skip, storage::bfloat16) : run.none();
  // raw is rounded to bfloat16 before it is normalised: 2^-9 of up to about 4 deviations.
  run.out(expected, 1.0 / 256, 4.0 / 512);
  if (training)
    run.out(o.expected, 0, tolerance(p)).out(mean, 1e-5, tolerance(p)).out(rstd, 1e-5, 0);
  else
    run.none().none().none();
  run.only("hopper-wgmma").run(context);
}

void test_refusals() {
  const auto words = [](test_context& context, const versemi_conv_problem& p) {
    std::int32_t count = 0;
    const kernel* const* rows = rows_of(VERSEMI_CONV3D_FORWARD, &count);
    const std::vector<double> attributes = attributes_of(p);
    for (std::int32_t i = 0; i < count; i++)
      if (std::string(rows[i]->name) == "hopper-wgmma") {
        const char* reason = rows[i]->refuses(context, attributes.data(), static_cast<std::int32_t>(attributes.size()));
        return std::string(reason == nullptr ? "" : reason);
      }
    return std::string("no row");
  };
  const auto expect = [](const std::string& found, const char* part) {
    versemi_test::check(found.find(part) != std::string::npos, std::string("expected '") + part + "', found '" + found + "'");
  };
  const versemi_conv_problem good = problem(1, 4, 4, 4, 64, 64, 3, 1, 1);
  {
    test_context context(precision::bfloat16, 90);
    if (context.available()) {
      const versemi_conv_problem full = problem(8, 24, 24, 24, 64, 64, 3, 1, 1);
      versemi_test::check(words(context, full).empty(), "refuses what it can do: " + words(context, full));
      expect(words(context, problem(1, 4, 4, 4, 32, 64, 3, 1, 1)), "multiples of 64");
      expect(words(context, problem(1, 4, 4, 4, 64, 96, 3, 1, 1)), "multiples of 64");
      expect(words(context, problem(1, 4, 4, 4, 64, 64, 2, 2, 0)), "3^3");
      expect(words(context, problem(1, 5, 5, 5, 64, 64, 3, 2, 1)), "stride 1");
      expect(words(context, problem(1, 1, 1, 1, 64, 64, 3, 1, 1)), "one voxel");
    }
  }
  {
    test_context context(precision::bfloat16, 89);
    if (context.available()) expect(words(context, good), "9.0");
  }
  test_context context(precision::tf32, 90);
  if (context.available()) expect(words(context, good), "bfloat16 operands");
}

}  // namespace

int main() {
  test_layouts();
  test_tiling<wide_tile>("wide");
  test_tiling<middle_tile>("middle");
  test_tiling<narrow_tile>("narrow");
  test_choice();
  test_refusals();
  {
    test_context context;
    test_tensor_maps(context);
    if (context.properties().compute_capability == 90) {
      test_plans(context, problem(3, 4, 7, 5, 64, 64, 3, 1, 1), false, 1);
      test_plans(context, problem(2, 3, 5, 13, 128, 64, 3, 1, 1), false, 2);
      test_plans(context, problem(1, 3, 4, 6, 64, 64, 3, 1, 1), false, 3);
      test_plans(context, problem(9, 2, 3, 5, 64, 128, 3, 1, 1), true, 1);
      test_rows(context);
      test_norm(context, problem(2, 3, 5, 7, 64, 64, 3, 1, 1), false, true, true, true);
      test_norm(context, problem(9, 3, 3, 3, 128, 64, 3, 1, 1), false, false, false, true);
      test_norm(context, problem(1, 4, 5, 6, 64, 128, 3, 1, 1), true, true, true, false);
    }
  }
  return finish("test_hopper");
}
