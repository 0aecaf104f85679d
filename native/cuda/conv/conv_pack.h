// Weights as the matrix kernels read them: rounded, zero-filled, in the order of the operand registers, so that a lane takes
// the weights of two n8 tiles with one 16-byte load and a warp reads 512 bytes in a row.
//
//   packed[group of 8 * tiles result columns][step][step_words(tiles)]   (conv_tiles.h)
//
// A step is 32 bytes of a source row: 16 channels in bfloat16, 8 in TF32. What row and column mean depends on the kernel.
#ifndef VERSEMI_CUDA_CONV_PACK_H
#define VERSEMI_CUDA_CONV_PACK_H

#include "conv/conv_view.h"

namespace versemi {
namespace cuda {

enum class pack_order : std::uint8_t {
  // Rows (tap, source channel) one after the other; columns are result channels. conv_form::scatter: rows are source channels,
  // columns (tap, result channel).
  flat,
  // 3^3: steps by kD, kW, step of the channels, kH. Channels are filled up to whole steps.
  halo,
  // 3^3 of one source channel: the order of conv_first.h.
  first
};

struct packed_weights {
  std::uint32_t* words = nullptr;
  int steps = 0, groups = 0;
};

// Packs into the scratch for weights; words is nullptr where there is none left. `narrow`: bfloat16, else TF32.
versemi_status pack_weights(context& device, const conv_job& job, pack_order order, int tiles, bool narrow,
                            packed_weights* packed);

// float32 [taps, source channels, result channels] for the plain kernel; rounded to bfloat16 where `narrow`.
versemi_status pack_plain_weights(context& device, const conv_job& job, bool narrow, const float** packed);

}  // namespace cuda
}  // namespace versemi

#endif
