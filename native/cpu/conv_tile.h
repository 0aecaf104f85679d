// The innermost kernel of forward and grad-input: `voxels` output voxels along W times `vectors` vectors of output columns
// (channels), held in registers over the whole reduction. See conv_pass.h for what surrounds it.
#ifndef VERSEMI_CPU_CONV_TILE_H
#define VERSEMI_CPU_CONV_TILE_H

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

// Largest tiles: voxels * vectors accumulators + vectors of weights + 1 must fit the registers, and at least
// 2 units * 4 cycles = 8 accumulators hide the latency of fma.
constexpr int max_tile_vectors = vector_registers == 32 ? 4 : 2;
constexpr int tile_accumulators = vector_registers == 32 ? 24 : 12;
VERSEMI_INLINE constexpr int max_tile_voxels(int vectors) { return tile_accumulators / vectors; }

// For j < count and every segment s, voxel r and column c:
//   out[r * out_step + c] (+)= x[x_offset[s] + r * x_step + j] * w[w_offset[s] + j * vectors * lanes + c]
// A segment is one (kd, kh) row of taps: over (kw, channel) both the source and the packed weights are contiguous.
struct tile_call {
  const float* x;
  const std::int64_t* x_offset;
  std::int64_t x_step;
  const float* w;
  const std::int64_t* w_offset;
  std::int64_t segments;
  std::int64_t count;
  // What the following tiles read: one prefetch per step of j, from ahead + ahead_offset[s], ahead_step bytes apart.
  const float* ahead;
  const std::int64_t* ahead_offset;
  std::int64_t ahead_step;
  float* out;
  std::int64_t out_step;
  std::int64_t columns;  // written: more than (vectors - 1) * lanes
  bool accumulate;       // start from what `out` holds instead of the bias
  const float* bias;     // [vectors * lanes] or nullptr
  // nullptr, or [3][vectors * lanes]: shift, sum(v - shift), sum((v - shift)^2) over the voxels of a chunk. The shift is
  // some value of the channel, so that the sums do not cancel.
  float* statistics;
  bool statistics_begin;  // first tile of a chunk: chooses the shift and starts the sums
};

using tile_function = void (*)(const tile_call& call);

// 1 <= vectors <= max_tile_vectors, 1 <= voxels <= max_tile_voxels(vectors)
tile_function tile_for(int voxels, int vectors);

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
