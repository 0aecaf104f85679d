// Packing of gradients, Adam and the moving average: the cases of every device, and more parameters than one launch takes.
#include "test/harness.h"
#include "test/optimizer_cases.h"

using namespace versemi_test;

namespace {

void test_many_parameters() {
  constexpr int n = 401;
  generator random(4);
  doubles attributes = {n}, packed;
  double norm = 0;
  std::vector<std::vector<float>> gradients;
  for (int i = 0; i < n; i++) {
    gradients.push_back(random.floats(1 + i * 7 % 11));
    attributes.push_back(static_cast<double>(gradients.back().size()));
    for (float g : gradients.back()) {
      packed.push_back(g);
      norm += static_cast<double>(g) * g;
    }
  }
  default_case c("many gradients", VERSEMI_PACK_GRADIENTS, attributes);
  for (const std::vector<float>& g : gradients) c.in(g);
  c.out(packed, 0, 0).out({norm}, 1e-7, 0).run();
}

}  // namespace

int main() {
  optimizer_cases<default_case>::all();
  test_many_parameters();
  return finish("optimizer");
}
