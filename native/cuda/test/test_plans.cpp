// How convolutions are cut and which row is chosen for them, by counted cycles: the levels of the network at batch 1 to 16 on an
// H200. No device is needed.
#include "conv/grad_weight_tiles.h"
#include "conv/hopper/conv_hopper_plan.h"
#include "test/harness.h"

using namespace versemi_test;
using namespace versemi::cuda;

namespace {

constexpr int multiprocessors = 132, shared_bytes = 227 * 1024;

versemi_conv_problem level(int n, int channels, int size) {
  return {n, {size, size, size}, channels, {size, size, size}, channels, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}};
}

std::string text(const versemi_conv_problem& p) {
  return std::to_string(p.in_channels) + " channels, " + std::to_string(p.in[0]) + "^3, batch " + std::to_string(p.n);
}

// What it says of each problem, and that it never says so of the slower one.
void test_forward_choice() {
  for (int n = 1; n <= 16; n++)
    for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 128, 12), level(n, 256, 6)}) {
      const conv_view v = forward_view(p);
      const double gemm = plan_gemm(v, true, multiprocessors, 90).cycles;
      const double wgmma = hopper::best_plan(v, multiprocessors).cycles / hopper::expected_share;
      const bool chosen = hopper::gemm_is_faster(v, multiprocessors);
      check(chosen == (gemm < wgmma), text(p) + ": the faster one is chosen");
      // With one volume of 12^3 or three of 6^3 most of an atom of eight samples, or of a line of eight voxels, is empty.
      const bool expected = (p.in_channels == 128 && n == 1) || (p.in_channels == 256 && n <= 3);
      check(chosen == expected, text(p) + ": conv3d-gemm " + (chosen ? "chosen" : "not chosen"));
      // More samples never take less time.
      if (n > 1) {
        versemi_conv_problem fewer = p;
        fewer.n = n - 1;
        check(hopper::best_plan(forward_view(fewer), multiprocessors).cycles <= hopper::best_plan(v, multiprocessors).cycles * 1.001,
              text(p) + ": counted less than for a smaller batch");
      }
    }
}

void test_grad_weight_choice() {
  for (int n = 1; n <= 16; n++)
    for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 128, 12), level(n, 256, 6)}) {
      const conv_view v = forward_view(p);
      grad_weight_tiles tiles((grad_weight_shape(p)));
      check(cut_grad_weight(&tiles, true, shared_bytes, multiprocessors), text(p) + ": is cut");
      const double wgmma = hopper::best_gradient_plan(v, multiprocessors).cycles / hopper::expected_share;
      const bool chosen = hopper::mma_is_faster(v, tiles.cycles, multiprocessors);
      check(chosen == (tiles.cycles < wgmma), text(p) + ": the faster gradient is chosen");
      if (p.in_channels == 64) check(!chosen, text(p) + ": 24^3 fills Hopper's tiles at any batch");
      if (p.in_channels == 128) check(chosen == (n <= 4), text(p) + ": few samples of 12^3");
      if (n == 8) check(!chosen, text(p) + ": the batch of the method");
    }
}

// A row says so itself, with the reason that tests know, and the row that follows takes the call.
void test_rows() {
  test_context context(precision::bfloat16, 90);
  if (!context.available()) return;
  const auto reason_of = [&](std::int32_t op, const versemi_conv_problem& p, const char* name) {
    std::int32_t count = 0;
    const kernel* const* rows = rows_of(op, &count);
    const std::vector<double> attributes = attributes_of(p);
    for (std::int32_t i = 0; i < count; i++)
      if (std::string(rows[i]->name) == name)
        return rows[i]->refuses(context, attributes.data(), static_cast<std::int32_t>(attributes.size()));
    return "no such row";
  };
  const int processors = context.properties().multiprocessors;
  for (int n : {1, 2, 8})
    for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 256, 6)}) {
      const char* reason = reason_of(VERSEMI_CONV3D_FORWARD, p, "hopper-wgmma");
      check(reason == (hopper::gemm_is_faster(forward_view(p), processors) ? counted_slower : nullptr), text(p) + ": forward row");
      check(reason_of(VERSEMI_CONV3D_FORWARD, p, "conv3d-gemm") == nullptr, text(p) + ": conv3d-gemm takes it");
      check(reason_of(VERSEMI_CONV3D_GRAD_WEIGHT, p, "grad-weight-mma") == nullptr, text(p) + ": grad-weight-mma takes it");
    }
}

// Splits of the product's reduction: where few blocks would leave multiprocessors without work, and never below eight chunks.
void test_gemm_splits() {
  for (int capability : {80, 86, 89, 90})
    for (int n : {1, 2, 4, 8, 16})
      for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 128, 12), level(n, 256, 6), level(n, 256, 2), level(n, 8, 2)}) {
        const gemm_plan plan = plan_gemm(forward_view(p), true, 108, capability);
        const std::string what = text(p) + ", capability " + std::to_string(capability);
        check(plan.splits * plan.chunks_per_split >= plan.chunks && (plan.splits - 1) * plan.chunks_per_split < plan.chunks,
              what + ": every chunk in one split");
        check(plan.splits == 1 || plan.chunks_per_split >= 8, what + ": short splits");
        check(plan.runs * plan.run >= plan.tiles && (plan.runs - 1) * plan.run < plan.tiles, what + ": every tile in one run");
        check(plan.cycles > 0, what + ": cycles");
        if (p.in_channels == 256 && p.in[0] == 6 && n == 1) check(plan.splits >= 8, what + ": eight blocks for 108 multiprocessors");
        if (p.in_channels == 64 && n >= 8) check(plan.splits == 1, what + ": enough blocks");
      }
}

}  // namespace

int main() {
  test_forward_choice();
  test_grad_weight_choice();
  test_gemm_splits();
  test_rows();
  return finish("test_cuda_plans");
}
