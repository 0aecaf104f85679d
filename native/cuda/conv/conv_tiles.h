// Index arithmetic of the convolution kernels, as functions that host and device share.
#ifndef VERSEMI_CUDA_CONV_TILES_H
#define VERSEMI_CUDA_CONV_TILES_H

#include <cstdint>

#include "core/rounding.h"

namespace versemi {
namespace cuda {

#define VERSEMI_TILE_FUNCTION __host__ __device__ __forceinline__ constexpr

// --- shared memory ----------------------------------------------------------------------------------------------------

// Rows of `row_bytes` (32, 64 or 128) behind each other, read by ldmatrix: eight consecutive rows, 16 bytes of each. The 16-byte
// pieces of a row are exchanged so that any such eight lie in different banks. Where piece `piece` of row `row` is, in bytes
// from the beginning of the row. Rows further on by 8 are exchanged in the same way.
VERSEMI_TILE_FUNCTION int swizzled(int row_bytes, int row, int piece) {
  const int pieces = row_bytes / 16, rows_per_line = 8 / pieces;
  return (piece ^ ((row / rows_per_line) & (pieces - 1))) * 16;
}

// --- matrix fragments -------------------------------------------------------------------------------------------------

// ldmatrix x4 of the left operand of m16n8k16 (bfloat16) or m16n8k8 (TF32): lane gives the address of row `fragment_row` and of
// the first or second 16 bytes of the step.
VERSEMI_TILE_FUNCTION int fragment_row(int lane) { return lane & 15; }
VERSEMI_TILE_FUNCTION int fragment_piece(int lane) { return lane >> 4; }

// Result channels are dealt to the columns of `tiles` n8 tiles so that a thread, which holds columns 2 (lane % 4) and the next of
// every tile, holds 2 * tiles neighbouring channels and stores them at once. Channel (of the group of 8 * tiles) of column
// `column` of tile `tile`.
VERSEMI_TILE_FUNCTION int channel_of_column(int tiles, int tile, int column) {
  return (column / 2) * 2 * tiles + 2 * tile + (column & 1);
}
// First of the channels of a lane.
VERSEMI_TILE_FUNCTION int first_channel(int tiles, int lane) { return (lane & 3) * 2 * tiles; }

// Words of packed weights per step of 32 bytes and group of `tiles` n8 tiles: per pair of tiles 32 lanes with 4 words (the two
// operand registers of each tile), with a single tile 32 lanes with 2.
VERSEMI_TILE_FUNCTION int step_words(int tiles) { return tiles * 64; }

struct packed_place {
  int lane, tile, part;  // part: operand register 0 or 1
};
VERSEMI_TILE_FUNCTION packed_place place_of_word(int tiles, int word) {
  const int per_lane = tiles == 1 ? 2 : 4;
  const int pair = word / (32 * per_lane), in_lane = word % per_lane;
  return packed_place{word / per_lane % 32, 2 * pair + in_lane / 2, in_lane % 2};
}

// --- shares of a march ------------------------------------------------------------------------------------------------

// `units` pieces of work in a row are given to `blocks` blocks, as evenly as can be: the first unit of a block, and the block
// of a unit.
VERSEMI_TILE_FUNCTION std::int64_t first_unit(std::int64_t units, std::int64_t blocks, std::int64_t block) {
  return block * units / blocks;
}
VERSEMI_TILE_FUNCTION std::int64_t block_of_unit(std::int64_t units, std::int64_t blocks, std::int64_t unit) {
  return ((unit + 1) * blocks - 1) / units;
}
// At most so many blocks share `column` consecutive units.
VERSEMI_TILE_FUNCTION std::int64_t most_sharers(std::int64_t units, std::int64_t blocks, std::int64_t column) {
  return divide_up(column * blocks, units) + 1;
}

}  // namespace cuda
}  // namespace versemi

#endif
