// Overlap sums, aggregate and their gradients.
#include "loss_cases.h"

using namespace versemi_test;

int main() {
  using cases = loss_cases<kernel_case>;
  for (int64_t count : {0, 1, 15, 17, 1000, 16384, 50001}) cases::sums_of(count);
  cases::small();
  cases::test_aggregate(1, 3, 20000, 3);
  return finish("loss");
}
