// The order in which the kernel of the first layer (3^3, one source channel) takes its 27 taps: a row of the reduction is 32
// long, 27 taps and five zeros.
#ifndef VERSEMI_CUDA_CONV_FIRST_ORDER_H
#define VERSEMI_CUDA_CONV_FIRST_ORDER_H

#include "conv/conv_tiles.h"

namespace versemi {
namespace cuda {

// Tap of position k < 32, or -1. 0 to 17: kW = 0, 1 of the nine (kD, kH), which the kernel reads as one word; 18 to 26: their
// kW = 2.
VERSEMI_TILE_FUNCTION int first_layer_tap(int k) {
  return k < 18 ? k / 2 * 3 + k % 2 : k < 27 ? (k - 18) * 3 + 2 : -1;
}

}  // namespace cuda
}  // namespace versemi

#endif
