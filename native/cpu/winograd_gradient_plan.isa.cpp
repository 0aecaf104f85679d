// Whether minimal filtering pays for the gradient of the weights, with which blocks, and how the work is cut up; see
// winograd_gradient.h.
#include "conv_tile.h"
#include "winograd_gradient.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// What a thread keeps in its second-level cache: mapped chunk and all sums; sums of a pair of slices.
constexpr int64_t cache_bytes = 960 << 10;
constexpr int64_t pair_bytes = 512 << 10;
constexpr int64_t fewest_chunk_blocks = 16;
// Mapped part of all threads, in the third-level cache.
constexpr int64_t group_bytes = 16 << 20;
// Parts that give a partial result each: enough for the threads, and long enough that the map to taps costs little.
constexpr int64_t most_parts = 32, fewest_part_blocks = 96;

// Processor cycles per vector, measured: one fma, mapping an input or a gradient plane, a plane of sums to taps.
constexpr double cycles_input = 5, cycles_gradient = 4, cycles_taps = 36;

VERSEMI_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Cycles of the direct sum and of minimal filtering, up to the same factor.
double direct_cycles(const versemi_conv_problem& p) {
  double taps = (double)(p.n * p.in_channels * divide_up(p.out_channels, lanes));
  for (int i = 0; i < 3; i++) {
    int64_t inside = 0;
    for (int64_t k = 0; k < 3; k++) {
      const int64_t shift = k - p.pad[i];
      inside += larger<int64_t>(0, smaller(p.out[i], p.in[i] - shift) - larger<int64_t>(0, -shift));
    }
    taps *= (double)inside;
  }
  return taps;
}

double winograd_cycles(const versemi_conv_problem& p, const int (&out)[3]) {
  double blocks = (double)p.n, planes = 1;
  for (int i = 0; i < 3; i++) {
    blocks *= (double)divide_up(p.out[i], out[i]);
    planes *= out[i] + 2;
  }
  const double x_vectors = (double)divide_up(p.in_channels, lanes), vectors = (double)divide_up(p.out_channels, lanes);
  const double channels = (double)p.in_channels;
  return planes * (blocks * (channels * vectors + cycles_input * x_vectors + cycles_gradient * vectors) +
                   cycles_taps * channels * vectors);
}

void cut(winograd_gradient_plan* p) {
  const int64_t plane_bytes = p->planes * 4, sum_bytes = plane_bytes * p->depth * p->width;
  const int64_t block_bytes = plane_bytes * (p->depth + p->width);
  const int64_t chunk = (cache_bytes - sum_bytes) / block_bytes;
  p->grouped = chunk < fewest_chunk_blocks || p->blocks < 2 * fewest_part_blocks;
  if (!p->grouped) {
    p->rows = p->depth;
    p->columns = p->width;
    p->row_slices = p->column_slices = 1;
    p->parts = smaller(most_parts, p->blocks / fewest_part_blocks);
    p->chunks = divide_up(divide_up(p->blocks, p->parts), chunk);
    return;
  }
  const int64_t vectors = p->width / lanes, x_vectors = p->depth / lanes;
  const int64_t tile_vectors = smaller(2, max_tile_vectors);
  p->column_slices = divide_up(vectors, tile_vectors);
  p->columns = divide_up(vectors, p->column_slices) * lanes;
  p->column_slices = divide_up(p->width, p->columns);
  const int64_t most = larger<int64_t>(1, pair_bytes / (plane_bytes * p->columns * lanes));
  p->rows = divide_up(x_vectors, divide_up(x_vectors, most)) * lanes;
  p->row_slices = divide_up(p->depth, p->rows);
  // Sums that go on from part to part are read and written once per part.
  p->parts = divide_up(p->blocks * block_bytes, larger(group_bytes, smaller(4 * group_bytes, sum_bytes)));
  p->parts = smaller(p->parts, p->blocks);
  const int64_t part = divide_up(p->blocks, p->parts);
  p->chunks = smaller(part, larger<int64_t>(8, divide_up(part, 12)));
}

}  // namespace

bool plan_winograd_gradient(const versemi_context* context, const versemi_conv_problem& problem,
                            winograd_gradient_plan* plan) {
  if (is_exact(context)) return false;
  for (int i = 0; i < 3; i++)
    if (problem.kernel[i] != 3 || problem.stride[i] != 1) return false;
  double best = 0.9 * direct_cycles(problem);
  winograd_gradient_plan& p = *plan;
  p.planes = 0;
  for (int choice = 0; choice < 8; choice++) {
    const int out[3] = {choice & 4 ? 4 : 2, choice & 2 ? 4 : 2, choice & 1 ? 4 : 2};
    const double cycles = winograd_cycles(problem, out);
    if (cycles >= best) continue;
    best = cycles;
    p.planes = 1;
    p.blocks = problem.n;
    for (int i = 0; i < 3; i++) {
      p.out[i] = out[i];
      p.planes *= out[i] + 2;
      p.grid[i] = divide_up(problem.out[i], out[i]);
      p.blocks *= p.grid[i];
    }
  }
  if (p.planes == 0) return false;
  p.depth = divide_up(problem.in_channels, lanes) * lanes;
  p.width = divide_up(problem.out_channels, lanes) * lanes;
  cut(plan);
  return true;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
