// Convolutions for inference with operands below float32: bfloat16, or int8 with int32 sums. An operation is rewritten as one
// over packed operands, whose "channels" are units of four bytes, and runs as any other (conv_pass.isa.cpp) with tiles that
// multiply units.
//
// bfloat16: both operands rounded to nearest, ties to even; products exact, sums float32.
// int8: weights symmetric with a scale per output column, |w| = 127 for the largest. The source is quantised per sample with
// a scale from its range: to 0..255 where nothing is negative (behind a ReLU, and sums of such), else to 1..255 around 128.
// The bytes of the padding hold that zero, and what they and it add, zero * (sum of the weights), is taken off again. Sums are
// exact. A NaN or an infinity makes every value of its sample NaN, in weights every value of their column.
#ifndef VERSEMI_CPU_CONV_LOW_H
#define VERSEMI_CPU_CONV_LOW_H

#include "conv_pass.h"
#include "conv_tile.h"

namespace versemi {
namespace VERSEMI_ISA {

struct lowered_operation {
  conv_operation operation;  // over units: rows hold the zeros around the source along W, weights are not reversed
  const tile_kind* tiles;
  // int8 only, else nullptr. Columns are filled up to whole vectors, `padded` of them.
  int64_t padded;
  const float* scale;       // [n][padded]: of a sample and a column together
  const int32_t* zero;      // [n]
  const int32_t* tap_sums;  // [kD * kH * kW][padded]: weights of a tap, summed over the channels
};

// Whether the operation takes operands of the precision of the context. Not: gradients, the first layer (below 8 channels),
// kernels of one voxel, sums of int8 that could pass 31 bits.
bool takes_low_precision(const versemi_context* context, const conv_operation& operation);

// Packs the operands into scratch memory. Moves the windows of operation.passes by the zeros in front of the rows.
versemi_status lower_operation(versemi_context* context, const conv_operation& operation, lowered_operation* lowered);

// Tiles of a path; nullptr where this instruction set has none. `float_tiles` serve bfloat16 kept in floats.
const tile_kind* vnni_tiles();
const tile_kind* bf16_tiles();
const tile_kind* pair_tiles();
const tile_kind* amx_tiles(bool whole);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
