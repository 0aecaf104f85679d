// Whether minimal filtering pays, with which blocks, and how the work is cut up; see winograd.h.
#include "conv_tile.h"
#include "winograd.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// What a chunk takes through the second-level cache, mapped inputs and products together.
constexpr int64_t chunk_bytes = 704 << 10;
// What a group keeps in the third-level cache.
constexpr int64_t group_bytes = 16 << 20;

// In groups, vectors of columns at a time, and their mapped weights for a slice of the channels.
constexpr int64_t group_vectors = lanes >= 16 ? 1 : 16 / lanes < max_tile_vectors ? 16 / lanes : max_tile_vectors;
constexpr int64_t slice_bytes = 448 << 10;

// Processor cycles per vector, measured: one fma, mapping an input or an output plane, a plane of the weights (mapped and read
// once).
constexpr double cycles_input = 6, cycles_output = 6, cycles_weight = 5;

// Cycles of the direct sum and of minimal filtering, up to the same factor.
double direct_cycles(const conv_operation& o) {
  double taps = (double)o.n * (double)(o.x_channels * divide_up(o.columns, lanes));
  for (const pass_axis& axis : o.passes[0].axis) {
    int64_t inside = 0;
    const int64_t size = o.x_size[&axis - o.passes[0].axis];
    for (int64_t m = 0; m < axis.taps; m++) {
      const int64_t first = larger<int64_t>(0, -axis.x_first - m);
      inside += larger<int64_t>(0, smaller(axis.count, size - axis.x_first - m) - first);
    }
    // Along W the zeros around the source are multiplied too.
    taps *= (double)(&axis == &o.passes[0].axis[2] ? axis.taps * axis.count : inside);
  }
  return taps;
}

double winograd_cycles(const conv_operation& o, const int (&out)[3]) {
  double blocks = (double)o.n, planes = 1;
  for (int i = 0; i < 3; i++) {
    blocks *= (double)divide_up(o.passes[0].axis[i].count, out[i]);
    planes *= out[i] + 2;
  }
  const double x_vectors = (double)divide_up(o.x_channels, lanes), vectors = (double)divide_up(o.columns, lanes);
  const double channels = (double)o.x_channels;
  return planes * (blocks * (channels * vectors + cycles_input * x_vectors + cycles_output * vectors) +
                   cycles_weight * channels * vectors);
}

void cut(winograd_plan* p, const conv_operation& o) {
  const int64_t widest = divide_up(p->vectors, p->column_blocks) * lanes;
  const int64_t tile = max_tile_voxels((int)(widest / lanes));
  const int64_t block_bytes = p->planes * 4 * (p->depth + widest);
  const int64_t all_bytes = p->planes * 4 * (p->depth + p->vectors * lanes);
  int64_t chunk = chunk_bytes / block_bytes;
  if (chunk >= tile && o.n * p->blocks * all_bytes > group_bytes) {
    chunk = chunk / tile * tile;
    p->group_blocks = 0;
    p->slice = p->depth;
  } else {
    p->column_blocks = divide_up(p->vectors, group_vectors);
    const int64_t channel_bytes = p->planes * group_vectors * lanes * 4;
    p->slice = smaller<int64_t>(p->depth, larger<int64_t>(1, slice_bytes / (channel_bytes * lanes)) * lanes);

    // Small chunks: they are what the maps are spread over threads by.
    chunk = larger<int64_t>(1, smaller<int64_t>(tile, p->blocks / 8));
    p->group_blocks = larger(chunk, smaller(o.n * p->blocks, group_bytes / all_bytes));
  }
  p->chunks = divide_up(p->blocks, chunk);
  p->chunk_blocks = divide_up(p->blocks, p->chunks);
}

}  // namespace

const char* plan_winograd(const versemi_context* context, const conv_operation& o, winograd_plan* plan) {
  if (is_exact(context)) return "exact sums are asked for";
  if (o.pass_count != 1 || o.column_sets != 1) return "the stride is not 1";
  for (const pass_axis& axis : o.passes[0].axis)
    if (axis.taps != 3 || axis.x_step != 1 || axis.out_step != 1) return "the kernel is not 3 x 3 x 3 with stride 1";
  double best = 0.9 * direct_cycles(o);
  winograd_plan& p = *plan;
  p.planes = 0;
  for (int choice = 0; choice < 8; choice++) {
    const int out[3] = {choice & 4 ? 4 : 2, choice & 2 ? 4 : 2, choice & 1 ? 4 : 2};
    const double cycles = winograd_cycles(o, out);
    if (cycles >= best) continue;
    best = cycles;
    p.planes = 1;
    p.blocks = 1;
    for (int i = 0; i < 3; i++) {
      p.out[i] = out[i];
      p.in[i] = out[i] + 2;
      p.planes *= p.in[i];
      p.grid[i] = divide_up(o.passes[0].axis[i].count, out[i]);
      p.blocks *= p.grid[i];
    }
  }
  if (p.planes == 0) return "the direct sum is faster at these sizes";
  p.vectors = divide_up(o.columns, lanes);
  p.column_blocks = divide_up(p.vectors, max_tile_vectors);
  p.depth = divide_up(o.x_channels, lanes) * lanes;
  cut(plan, o);
  return nullptr;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
