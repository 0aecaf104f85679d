// How convolutions are cut, by counted cycles, and which rows take them: the levels of the network at batch 1 to 16 on an
// H200. No device is needed.
#include "conv/conv_gemm_plan.h"
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

// More samples never take less time.
void test_batches() {
  for (int n = 2; n <= 16; n++)
    for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 128, 12), level(n, 256, 6)}) {
      versemi_conv_problem fewer = p;
      fewer.n = n - 1;
      for (const auto best : {hopper::best_plan, hopper::best_gradient_plan})
        check(best(forward_view(fewer), multiprocessors).cycles <= best(forward_view(p), multiprocessors).cycles * 1.001,
              text(p) + ": counted less than for a smaller batch");
      grad_weight_tiles tiles((grad_weight_shape(p)));
      check(cut_grad_weight(&tiles, true, shared_bytes, multiprocessors), text(p) + ": is cut");
    }
}

// At every level the rows for Hopper take a call, and so do the ones that follow them.
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
  for (int n : {1, 2, 8})
    for (const versemi_conv_problem& p : {level(n, 64, 24), level(n, 256, 6)}) {
      check(reason_of(VERSEMI_CONV3D_FORWARD, p, "hopper-wgmma") == nullptr, text(p) + ": hopper-wgmma takes it");
      check(reason_of(VERSEMI_CONV3D_GRAD_WEIGHT, p, "hopper-wgmma") == nullptr, text(p) + ": hopper-wgmma takes its gradient");
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
  test_batches();
  test_gemm_splits();
  test_rows();
  return finish("test_cuda_plans");
}
