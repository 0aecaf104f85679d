// Overlap sums, aggregate and their gradients: the cases of every device, and more elements than threads take at once.
#include "test/harness.h"
#include "test/loss_cases.h"

using namespace versemi_test;

namespace {

using cases = loss_cases<default_case>;

// More than one packet per thread and several float sums per thread: one certain voxel among many.
void test_many() {
  const int64_t count = 1056 * 256 * 4 * 2 + 3;
  std::vector<float> x(count, 30.0f), y(count, 1.0f);
  x[count - 1] = x[5] = -30;
  double loss = 0, squares = 0;
  for (float value : x) loss += cases::softplus(-value), squares += cases::sigmoid(value) * cases::sigmoid(value);
  default_case("many", VERSEMI_OVERLAP_SUMS, {1, double(count)})
      .in(x).in(y).none().out({squares, squares, double(count), loss, double(count)}, 1e-6, 0).run();
}

}  // namespace

int main() {
  for (int64_t count : {0, 1, 15, 17, 1000, 9001}) cases::sums_of(count);
  cases::small();
  test_many();
  cases::test_aggregate(1, 3, 8000, 3);
  return finish("cuda loss");
}
