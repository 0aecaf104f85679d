// How the kernels for Hopper cut a 3^3 convolution of stride 1 and its weight gradient into tiles: plain functions, for the
// host and for the kernels.
//
// A voxel of 64 channels is one row of 128 bytes in shared memory, and eight rows are a swizzle atom. The matrix engine takes
// operands that begin with an atom, so a tap of the kernel may shift the tile by whole atoms only. Two ways to get there:
//   samples: the eight rows are the same voxel of eight samples; w, h are shifted by atoms, d by copying another slice
//   width:   the eight rows are eight voxels along w; h, d are shifted by atoms, w by copying the tile shifted by one voxel
// In both, the axes are named after their part: row (8 per atom), run (P atoms of a line, one wgmma has N = 8 P columns),
// line (Q of them in a tile), slice (1 per tile). One of row and slice is the axis that is shifted by copying: three boxes
// of (Q + 2) (P + 2) atoms per 64 input channels, each good for nine taps.
#ifndef VERSEMI_CUDA_CONV_HOPPER_PLAN_H
#define VERSEMI_CUDA_CONV_HOPPER_PLAN_H

#include <cstdint>

#include "conv/conv3d_grad_weight.h"
#include "conv/conv_view.h"
#include "conv/hopper/hopper_layout.h"
#include "conv/hopper/tensor_map.h"
#include "core/target.h"

namespace versemi {
namespace cuda {
namespace hopper {

constexpr int consumers = 3;  // warpgroups that multiply; each has Q / 3 lines of a tile
constexpr int stages = 3, stage_taps = 9, taps = stages * stage_taps;
constexpr int weight_bytes = 64 * row_bytes;  // one tap, 64 output channels by 64 input channels
constexpr int boxes_in_flight = 2;
constexpr int shared_limit = 227 * 1024;  // of a block of capability 9.0

// P atoms per line, `lines` per consumer. What follows from them, and where it lies in shared memory.
template <int P, int Lines>
struct tile_shape {
  static constexpr int run = P, lines = Lines, all_lines = consumers * Lines;
  static constexpr int columns = atom_rows * P;  // N of one wgmma
  static constexpr int box_bytes = (P + 2) * (all_lines + 2) * atom_bytes;
  static constexpr int staging_bytes = P * atom_bytes;  // one line of results
  static constexpr int barrier_bytes = 1024;
  static constexpr int left = shared_limit - boxes_in_flight * box_bytes - consumers * staging_bytes - barrier_bytes;
  static constexpr int weights_in_flight = left / weight_bytes < 8 ? left / weight_bytes : 8;
  // boxes, weights, staging, barriers
  static constexpr int weights_at = boxes_in_flight * box_bytes;
  static constexpr int staging_at = weights_at + weights_in_flight * weight_bytes;
  static constexpr int barriers_at = staging_at + consumers * staging_bytes;
  static constexpr int shared_bytes = barriers_at + barrier_bytes;
  static_assert(weights_in_flight >= 3 && shared_bytes <= shared_limit, "a tile that fits");
  static_assert(P % 2 == 0, "results leave two atoms at a time");
};
using wide_tile = tile_shape<12, 1>;
using middle_tile = tile_shape<8, 2>;
using narrow_tile = tile_shape<6, 2>;
// The weight gradient's sums take the registers of the second line.
using gradient_middle_tile = tile_shape<8, 1>;

enum axis { row, run, line, slice };

// What a block must know of the problem. Sizes of the result by axis; tiles cover them.
struct geometry {
  int size[4];       // result
  int origin[4];     // coordinate of the first input voxel of result 0, tap 0: minus the padding
  int tiles[4];      // along each axis
  int shifted;       // the axis that is shifted by copying: row or slice
  int samples_axis;  // row or slice: which axis counts samples
  int row_blocks;    // 64 result channels each; 1 in the weight gradient, whose units count channels themselves
  int chunks;        // 64 summed channels each
  int splits;        // parts of a sum: of the boxes of a tile, chunks * stages (a divisor); in the weight gradient, of the tiles
};

struct tile {
  int at[4];     // first result voxel on each axis
  int block;     // of 64 result channels
  int split;
  int index;     // of the tile and block, without the split
};

__host__ __device__ inline int position_count(const geometry& g) {
  return g.tiles[row] * g.tiles[run] * g.tiles[line] * g.tiles[slice];
}
__host__ __device__ inline int unit_count(const geometry& g) { return position_count(g) * g.row_blocks * g.splits; }

// Unit of work `unit`: blocks of channels are neighbours, so that multiprocessors that run together read the same voxels.
template <typename Shape>
__host__ __device__ inline tile tile_of(const geometry& g, int unit) {
  tile t;
  const int whole = position_count(g) * g.row_blocks;
  t.split = unit / whole;
  t.index = unit - t.split * whole;
  t.block = t.index % g.row_blocks;
  int rest = t.index / g.row_blocks;
  t.at[run] = rest % g.tiles[run] * Shape::run;
  rest /= g.tiles[run];
  t.at[line] = rest % g.tiles[line] * Shape::all_lines;
  rest /= g.tiles[line];
  t.at[slice] = rest % g.tiles[slice];
  t.at[row] = rest / g.tiles[slice] * atom_rows;
  return t;
}

// Sums for the instance norm: every consumer of every tile fills one slot per sample and channel. How many slots a sample has,
// and which of them is this one's.
__host__ __device__ inline int slot_count(const geometry& g) {
  return position_count(g) / g.tiles[g.samples_axis] * consumers;
}
template <typename Shape>
__host__ __device__ inline int slot_of(const geometry& g, const tile& t, int consumer) {
  const int other = g.samples_axis == row ? t.at[slice] : t.at[row] / atom_rows;
  return ((other * g.tiles[line] + t.at[line] / Shape::all_lines) * g.tiles[run] + t.at[run] / Shape::run) * consumers + consumer;
}

// Taps as the kernel goes through them: stage (copy) by stage, then lines, then along the run.
struct kernel_tap {
  int d, h, w;
};
__host__ __device__ inline kernel_tap tap_of(bool by_samples, int stage, int tap) {
  const int line_tap = tap / 3, run_tap = tap % 3;
  return by_samples ? kernel_tap{stage, line_tap, run_tap} : kernel_tap{line_tap, run_tap, stage};
}

// The place in a ring of copies that is used next, and the parity that its barriers' phases have then.
template <int Count>
struct ring {
  int at = 0;
  unsigned parity = 0;
  __host__ __device__ void advance() {
    if (++at == Count) {
      at = 0;
      parity ^= 1u;
    }
  }
};

// Offset in bytes of element (result channel m, summed channel k) in the image of one tap, both below 64.
__host__ __device__ constexpr std::uint32_t weight_offset(int m, int k) {
  return swizzled(static_cast<std::uint32_t>(m * row_bytes + k * 2));
}

// --- choice (host) ----------------------------------------------------------------------------------------------------

enum class shape_kind { wide, middle, narrow };

struct plan {
  shape_kind shape;
  bool by_samples;
  geometry g;
  double cycles;  // counted, of one multiprocessor
};

// Cycles of a multiprocessor for one tap: 4 steps of wgmma m64nNk16 per line, N / 2 cycles each (4096 bfloat16 operations
// per cycle), or longer where its operands, 2048 + 32 N bytes at 128 a cycle, are more than that.
template <typename Shape>
inline double tap_cycles() {
  const double multiply = Shape::columns / 2.0, read = (2048 + 32.0 * Shape::columns) / 128;
  return Shape::all_lines * 4 * (multiply > read ? multiply : read);
}

template <typename Shape>
inline geometry geometry_of(const conv_view& v, bool by_samples) {
  geometry g;
  const int size[4] = {by_samples ? v.n : v.result[2], by_samples ? v.result[2] : v.result[1],
                       by_samples ? v.result[1] : v.result[0], by_samples ? v.result[0] : v.n};
  const int pad[4] = {by_samples ? 0 : v.pad[2], by_samples ? v.pad[2] : v.pad[1], by_samples ? v.pad[1] : v.pad[0],
                      by_samples ? v.pad[0] : 0};
  const int step[4] = {atom_rows, Shape::run, Shape::all_lines, 1};
  for (int i = 0; i < 4; i++) {
    g.size[i] = size[i];
    g.origin[i] = -pad[i];
    g.tiles[i] = divide_up(g.size[i], step[i]);
  }
  g.shifted = by_samples ? slice : row;
  g.samples_axis = by_samples ? row : slice;
  g.row_blocks = g.chunks = g.splits = 1;
  return g;
}

// Filling the pipeline and writing a tile: about 2000 cycles. Parts of a split sum are written and read as float32, at about
// 16 bytes per cycle and multiprocessor each way, by a second kernel whose launch costs about 4000.
template <typename Shape>
inline plan plan_with(const conv_view& v, bool by_samples, int splits, int multiprocessors, shape_kind shape) {
  plan result{shape, by_samples, geometry_of<Shape>(v, by_samples), 0};
  geometry& g = result.g;
  g.row_blocks = v.result_channels / 64;
  g.chunks = v.source_channels / 64;
  g.splits = splits;
  const double units = static_cast<double>(position_count(g)) * g.row_blocks * splits;
  const double rounds = units <= multiprocessors ? 1 : static_cast<double>(static_cast<std::int64_t>((units - 1) / multiprocessors) + 1);
  double each = stage_taps * (g.chunks * stages / splits) * tap_cycles<Shape>() + 2000;
  const double part_bytes = 64.0 * Shape::columns * Shape::all_lines * 4;
  if (splits > 1) each += part_bytes / 16;
  result.cycles = rounds * each;
  if (splits > 1) result.cycles += 4000 + units * part_bytes / 16 / multiprocessors;
  return result;
}

// The same for the weight gradient, whose tiles are of gradOutput. wgmma m64n192k16: 96 cycles; three warpgroups share the
// multiprocessor.
template <typename Shape>
inline plan gradient_plan_with(const conv_view& v, bool by_samples, int splits, int multiprocessors, shape_kind shape) {
  plan result{shape, by_samples, geometry_of<Shape>(v, by_samples), 0};
  geometry& g = result.g;
  const int positions = position_count(g);
  g.splits = splits < positions ? splits : positions;
  const double weights = static_cast<double>(v.source_channels) * v.result_channels;
  const double units = weights / 4096 * stages * g.splits;
  const double rounds = static_cast<double>(divide_up(static_cast<std::int64_t>(units), multiprocessors));
  const double tile_cycles = Shape::all_lines * (Shape::run / 2) * 96.0 * consumers;
  result.cycles = rounds * (static_cast<double>(divide_up(positions, g.splits)) * tile_cycles + 3000);
  if (g.splits > 1) result.cycles += 4000 + g.splits * weights * taps * 8 / 16 / multiprocessors;
  return result;
}

inline plan plan_of(const conv_view& v, shape_kind shape, bool by_samples, int splits, int multiprocessors) {
  return shape == shape_kind::wide     ? plan_with<wide_tile>(v, by_samples, splits, multiprocessors, shape)
         : shape == shape_kind::middle ? plan_with<middle_tile>(v, by_samples, splits, multiprocessors, shape)
                                       : plan_with<narrow_tile>(v, by_samples, splits, multiprocessors, shape);
}
inline plan gradient_plan_of(const conv_view& v, shape_kind shape, bool by_samples, int splits, int multiprocessors) {
  return shape == shape_kind::wide     ? gradient_plan_with<wide_tile>(v, by_samples, splits, multiprocessors, shape)
         : shape == shape_kind::middle ? gradient_plan_with<gradient_middle_tile>(v, by_samples, splits, multiprocessors, shape)
                                       : gradient_plan_with<narrow_tile>(v, by_samples, splits, multiprocessors, shape);
}

// The plan with the fewest counted cycles, of those that make(shape, by_samples, splits) gives for splits that may_split;
// of equals the first.
template <typename Make, typename MaySplit>
inline plan cheapest(int most_splits, MaySplit may_split, Make make) {
  plan best{};
  bool none = true;
  for (bool by_samples : {true, false})
    for (int splits = 1; splits <= most_splits; splits++) {
      if (!may_split(splits)) continue;
      for (shape_kind shape : {shape_kind::wide, shape_kind::middle, shape_kind::narrow}) {
        const plan candidate = make(shape, by_samples, splits);
        if (none || candidate.cycles < best.cycles) best = candidate;
        none = false;
      }
    }
  return best;
}

inline plan best_plan(const conv_view& v, int multiprocessors) {
  const int boxes = v.source_channels / 64 * stages;
  return cheapest(boxes, [&](int splits) { return boxes % splits == 0; }, [&](shape_kind shape, bool by_samples, int splits) {
    return plan_of(v, shape, by_samples, splits, multiprocessors);
  });
}

// At most two rounds of blocks, at most 64 MiB of partial sums.
inline plan best_gradient_plan(const conv_view& v, int multiprocessors) {
  const std::int64_t blocks = std::int64_t{stages} * (v.source_channels / 64) * (v.result_channels / 64);
  const std::int64_t weights = std::int64_t{taps} * v.source_channels * v.result_channels;
  std::int64_t most = 2 * multiprocessors / blocks;
  if (most * weights > std::int64_t{16} << 20) most = (std::int64_t{16} << 20) / weights;
  const auto make = [&](shape_kind shape, bool by_samples, int splits) {
    return gradient_plan_of(v, shape, by_samples, splits, multiprocessors);
  };
  return cheapest(most < 1 ? 1 : static_cast<int>(most), [](int) { return true; }, make);
}

// A tensor [n, D, H, W, channels] by the axes of a plan; box: rows, run, lines, slices.
inline versemi_status map_of(tensor_map* map, const void* data, int n, const int (&size)[3], int channels, bool by_samples,
                             const std::uint32_t (&box)[4]) {
  const std::int64_t w = std::int64_t{channels} * 2, h = size[2] * w, d = size[1] * h, sample = size[0] * d;
  const int sizes[4] = {by_samples ? n : size[2], by_samples ? size[2] : size[1], by_samples ? size[1] : size[0],
                        by_samples ? size[0] : n};
  const std::int64_t strides[4] = {by_samples ? sample : w, by_samples ? w : h, by_samples ? h : d, by_samples ? d : sample};
  tensor_shape shape;
  shape.data = const_cast<void*>(data);
  shape.size[0] = static_cast<std::uint64_t>(channels);
  shape.box[0] = row_elements;
  for (int i = 0; i < 4; i++) {
    shape.size[i + 1] = static_cast<std::uint64_t>(sizes[i]);
    shape.stride[i] = static_cast<std::uint64_t>(strides[i]);
    shape.box[i + 1] = box[i];
  }
  return make_tensor_map(map, shape);
}

// Whether a device can run these kernels at all; nullptr, or why not.
inline const char* refuses_device(const context& device) {
  if (device.properties().compute_capability != 90) return "wgmma and tensor copies need compute capability 9.0";
  if (device.properties().shared_bytes_per_block < shared_limit) return "needs 227 KiB of shared memory per block";
  if (device.operands() != precision::bfloat16) return "takes bfloat16 operands only";
  return nullptr;
}
inline const char* refuses_view(const conv_view& v) {
  if (!v.cube(3, 1)) return "takes kernels of 3^3 with stride 1 only";
  if (v.source_channels % 64 != 0 || v.result_channels % 64 != 0) return "takes channels in multiples of 64";
  const double channels = static_cast<double>(v.source_channels) + v.result_channels;
  if (static_cast<double>(v.result_voxels()) * v.n * channels > 8.0 * 2147483647.0) return "more tiles than 32 bits count";
  if (taps * static_cast<double>(v.source_channels) * v.result_channels > 2147483647.0) return "more weights than 32 bits count";
  return nullptr;
}

// One call with a plan; the rows of the table run it with the best one. Activations are bfloat16. conv3d_hopper.cu,
// conv3d_hopper_grad_weight.cu.
versemi_status convolve_with(context& device, const conv_job& job, const plan& chosen, conv_moment_slots* slots);
versemi_status convolve_gradient_with(context& device, const grad_weight_call& call, const plan& chosen);
kernel hopper_grad_weight_row();

}  // namespace hopper
}  // namespace cuda
}  // namespace versemi

#endif
