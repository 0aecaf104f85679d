// Packing of gradients, Adam and the exponential moving average over several parameters.
#include "optimizer_cases.h"

using namespace versemi_test;

int main() {
  optimizer_cases<kernel_case>::all();
  return finish("optimizer");
}
