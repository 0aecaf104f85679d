// The dynamic head and its gradients, for the width with unrolled loops (8) and others.
#include "head_reference.h"

using namespace versemi_test;

namespace {

// Blocks are 64 voxels, float sums end after 4096, chunks are longer above 64 * 4096 voxels.
const head_shape shapes[] = {{1, 1, 1, 8},   {2, 5, 64, 8}, {1, 2, 63, 8},  {3, 1, 65, 8}, {1, 3, 9001, 8}, {2, 2, 130, 1},
                             {1, 2, 300, 3}, {2, 1, 77, 4}, {1, 2, 200, 5}, {1, 1, 90, 16}, {1, 1, 270000, 8}};

void test(const head_shape& s) {
  const head_inputs x(s);
  const expected_head expected = reference_head(s, x.features, x.parameters, x.grad);
  const double width_scale = static_cast<double>(s.width * s.width) / 8;
  kernel_case("dynamic_head" + x.name, VERSEMI_DYNAMIC_HEAD, x.attributes)
      .in(x.features).in(x.parameters).out(expected.logits, 2e-6, 2e-6 * width_scale).run();
  kernel_case("dynamic_head_grad" + x.name, VERSEMI_DYNAMIC_HEAD_GRAD, x.attributes)
      .in(x.grad).in(x.features).in(x.parameters).out(expected.grad_features, 4e-6, 2e-6 * width_scale)
      .out(expected.grad_parameters, 4e-6, 1e-6 * width_scale * std::sqrt(static_cast<double>(s.voxels) + 10)).run();
}

}  // namespace

int main() {
  for (const head_shape& s : shapes) test(s);
  return finish("head");
}
