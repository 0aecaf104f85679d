// How conv3d_gemm.cu cuts a convolution: shapes, runs, splits of the reduction, and what that costs in counted cycles. Plain
// functions of the host, tested by themselves; the device uses the constants.
#ifndef VERSEMI_CUDA_CONV_GEMM_PLAN_H
#define VERSEMI_CUDA_CONV_GEMM_PLAN_H

#include <cstdint>

#include "conv/conv_view.h"
#include "core/context.h"

namespace versemi {
namespace cuda {

constexpr int gemm_threads = 128, gemm_chunk_bytes = 64, gemm_fragments = 4, gemm_resident = 3;

template <int tiles_, int warps_m_, int warps_n_, int stages_>
struct gemm_shape {
  static constexpr int tiles = tiles_, warps_m = warps_m_, warps_n = warps_n_, stages = stages_;
  static constexpr int rows = 16 * gemm_fragments * warps_m, columns = 8 * tiles * warps_n;
  static constexpr int row_bytes = rows * gemm_chunk_bytes, stage_bytes = row_bytes + warps_n * 2 * tiles * 256;
  static constexpr int shared_bytes = stages * stage_bytes;
};
// Columns: more than 32, up to 32, up to 16.
using gemm_wide = gemm_shape<4, 2, 2, 4>;
using gemm_medium = gemm_shape<4, 4, 1, 3>;
using gemm_slim = gemm_shape<2, 4, 1, 3>;

enum class gemm_kind : std::uint8_t { wide, medium, slim };

struct gemm_plan {
  gemm_kind kind;
  int rows, columns, chunks;      // of the product: rows of a sample, columns with all taps of a scatter, chunks of 64 bytes
  int tiles, column_blocks;       // row tiles of a sample, blocks along the columns
  int run, runs;                  // tiles of a block, blocks along the rows of a sample
  int splits, chunks_per_split;   // of the reduction
  double cycles;                  // counted, from the first block to the last result
};

// What a chunk costs a multiprocessor that is full: products, what they read of shared memory and its copies write there, or
// the copies from the L2 cache, whichever is longest. mma.sync m16n8k16 counts 1.6 cycles (62 % of the tensor cores' rate) on
// capability 9.0, 2 on 8.0, 4 on 8.6 and 8.9; m16n8k8 of TF32 as much. A wavefront of shared memory is 128 bytes. The L2 cache
// gives a multiprocessor 28 bytes a cycle (6.5 TB/s in all on an H200); 16 on 8.6 and 8.9 is a guess.
template <typename Shape>
double gemm_chunk_cycles(int capability) {
  const bool large = capability == 80 || capability >= 90;
  const double product = capability >= 90 ? 1.6 : large ? 2 : 4;
  const int warps = gemm_threads / 32;
  const double multiply = warps * 2 * gemm_fragments * Shape::tiles * product;
  const double move = warps * 2 * (gemm_fragments * 4 + Shape::tiles * 2) + Shape::stage_bytes / 128.0;
  const double load = Shape::stage_bytes / (large ? 28.0 : 16.0);
  const double most = multiply > move ? multiply : move;
  return most > load ? most : load;
}

// A block alone waits, per chunk: barrier, loads of fragments, and the products that follow one another.
constexpr double gemm_chunk_latency = 220;
// First copies, and the results of a tile.
constexpr double gemm_fill_cycles = 1500, gemm_tile_cycles = 700;

// Cycles with the given number of splits.
template <typename Shape>
double gemm_cycles(const gemm_plan& p, int samples, int splits, int multiprocessors, int capability) {
  const std::int64_t chunks = divide_up(p.chunks, splits);
  const std::int64_t blocks = std::int64_t{samples} * p.runs * p.column_blocks * splits, on_one = divide_up(blocks, multiprocessors);
  // Blocks of one multiprocessor go beside each other, `gemm_resident` at a time.
  double cycles = 0;
  for (std::int64_t left = on_one; left > 0; left -= gemm_resident) {
    const double beside = static_cast<double>(left < gemm_resident ? left : gemm_resident);
    const double full = beside * gemm_chunk_cycles<Shape>(capability);
    cycles += p.run * (static_cast<double>(chunks) * (full > gemm_chunk_latency ? full : gemm_chunk_latency) + gemm_tile_cycles);
    if (left - gemm_resident > gemm_resident * 64) {  // long rows of equal waves
      const std::int64_t waves = (left - gemm_resident) / gemm_resident - 1;
      cycles += static_cast<double>(waves) * p.run * (static_cast<double>(chunks) * full + gemm_tile_cycles);
      left -= waves * gemm_resident;
    }
  }
  cycles += gemm_fill_cycles;
  if (splits > 1) {
    // Parts are written and read as float32, about 16 bytes per cycle and multiprocessor each way; a launch is 4000.
    const double bytes = 4.0 * samples * p.rows * p.columns * splits;
    cycles += 4000 + bytes / 8 / multiprocessors;
  }
  return cycles;
}

template <typename Shape>
gemm_plan gemm_plan_with(const conv_view& v, bool narrow, int multiprocessors, int capability, gemm_kind kind) {
  gemm_plan p{};
  const bool scatter = v.form == conv_form::scatter;
  p.kind = kind;
  p.rows = static_cast<int>(scatter ? v.source_voxels() : v.result_voxels());
  p.columns = v.result_channels * (scatter ? v.taps() : 1);
  const std::int64_t bytes = std::int64_t{v.source_channels} * (narrow ? 2 : 4) * (scatter ? 1 : v.taps());
  p.chunks = static_cast<int>(divide_up(bytes, gemm_chunk_bytes));
  p.tiles = static_cast<int>(divide_up(p.rows, Shape::rows));
  p.column_blocks = static_cast<int>(divide_up(p.columns, Shape::columns));
  // More tiles than four waves of blocks: a block makes several, and its copies run on from one to the next.
  std::int64_t run = std::int64_t{v.n} * p.tiles * p.column_blocks / (std::int64_t{multiprocessors} * gemm_resident * 4);
  run = run < 1 ? 1 : run > 16 ? 16 : run;
  p.run = static_cast<int>(run);
  p.runs = static_cast<int>(divide_up(p.tiles, run));
  // The reduction is split, down to eight chunks, where that is counted to be faster: few rows, or a last wave that is nearly
  // empty. Parts are added in order.
  int best = 1;
  p.cycles = gemm_cycles<Shape>(p, v.n, 1, multiprocessors, capability);
  for (int splits = 2; splits <= 16 && splits * 8 <= p.chunks; splits++) {
    const double cycles = gemm_cycles<Shape>(p, v.n, splits, multiprocessors, capability);
    if (cycles < p.cycles) {
      p.cycles = cycles;
      best = splits;
    }
  }
  p.chunks_per_split = static_cast<int>(divide_up(p.chunks, best));
  p.splits = static_cast<int>(divide_up(p.chunks, p.chunks_per_split));
  return p;
}

inline gemm_plan plan_gemm(const conv_view& v, bool narrow, int multiprocessors, int capability) {
  const std::int64_t columns = std::int64_t{v.result_channels} * (v.form == conv_form::scatter ? v.taps() : 1);
  return columns > 32   ? gemm_plan_with<gemm_wide>(v, narrow, multiprocessors, capability, gemm_kind::wide)
         : columns > 16 ? gemm_plan_with<gemm_medium>(v, narrow, multiprocessors, capability, gemm_kind::medium)
                        : gemm_plan_with<gemm_slim>(v, narrow, multiprocessors, capability, gemm_kind::slim);
}

}  // namespace cuda
}  // namespace versemi

#endif
