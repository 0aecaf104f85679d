// Whether minimal filtering pays for the gradient of the weights, with which blocks, and how the work is cut up; see
// winograd_gradient.h.
#include "conv_tile.h"
#include "winograd_gradient.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// Sums of a pair of slices, in the second-level cache of a thread.
constexpr int64_t pair_bytes = 512 << 10;
// A mapped part, in the third-level cache: no larger than it must be, as it is written and read once. Where sums go on from
// part to part, it is a few times what they take.
constexpr int64_t least_part_bytes = 4 << 20;
constexpr int64_t most_part_bytes = 16 << 20;
// All sums. Larger blocks are not taken where theirs would need more.
constexpr int64_t most_sum_bytes = 128 << 20;
// Enough for the threads.
constexpr int64_t fewest_tasks = 16;

// What takes as long as so many fma of vectors, measured: mapping a vector of a plane of inputs or gradients, which includes
// writing and reading it; mapping a vector of a plane of sums to taps.
constexpr double cost_input = 10, cost_gradient = 10, cost_taps = 14;
// Copying a tap line of the direct sum (conv3d_grad_weight.isa.cpp), beside each vector of products.
constexpr double cost_tap_line = 3;

// The direct sum and minimal filtering, in fma of vectors.
double direct_cost(const versemi_conv_problem& p) {
  const int64_t vectors = divide_up(p.out_channels, lanes);
  const bool tap_lines = p.in_channels * smaller<int64_t>(vectors, max_tile_vectors) < 8;
  double taps = (double)(p.n * p.in_channels) * ((double)vectors + (tap_lines ? cost_tap_line : 0));
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

double filtering_cost(const versemi_conv_problem& p, const int (&out)[3]) {
  double blocks = (double)p.n, planes = 1;
  for (int i = 0; i < 3; i++) {
    blocks *= (double)divide_up(p.out[i], out[i]);
    planes *= out[i] + 2;
  }
  const double x_vectors = (double)divide_up(p.in_channels, lanes), vectors = (double)divide_up(p.out_channels, lanes);
  const double channels = (double)p.in_channels;
  return planes * (blocks * (channels * vectors + cost_input * x_vectors + cost_gradient * vectors) +
                   cost_taps * channels * vectors);
}

void cut(winograd_gradient_plan* p) {
  const int64_t plane_bytes = p->planes * 4, vectors = p->width / lanes, x_vectors = p->depth / lanes;
  p->columns = divide_up(vectors, divide_up(vectors, 2)) * lanes;
  p->column_slices = divide_up(p->width, p->columns);
  const int64_t most = larger<int64_t>(1, pair_bytes / (plane_bytes * p->columns * lanes));
  p->rows = divide_up(x_vectors, divide_up(x_vectors, most)) * lanes;
  p->row_slices = divide_up(p->depth, p->rows);
  p->segments = divide_up(fewest_tasks, p->row_slices * p->column_slices);

  const int64_t part_bytes =
      smaller(most_part_bytes, larger(least_part_bytes, 3 * plane_bytes * p->depth * p->width));
  p->parts = smaller(p->blocks, divide_up(p->blocks * plane_bytes * (p->depth + p->width), part_bytes));
  const int64_t part = divide_up(p->blocks, p->parts);
  p->chunks = smaller(part, larger(divide_up(2 * fewest_tasks, vectors + x_vectors), divide_up(part, 24)));
}

}  // namespace

const char* plan_winograd_gradient(const versemi_context* context, const versemi_conv_problem& problem,
                                   winograd_gradient_plan* plan) {
  if (is_exact(context)) return "exact sums are asked for";
  for (int i = 0; i < 3; i++)
    if (problem.kernel[i] != 3 || problem.stride[i] != 1) return "the kernel is not 3 x 3 x 3 with stride 1";
  double best = 0.9 * direct_cost(problem);
  winograd_gradient_plan& p = *plan;
  p.planes = 0;
  p.depth = divide_up(problem.in_channels, lanes) * lanes;
  p.width = divide_up(problem.out_channels, lanes) * lanes;
  for (int choice = 0; choice < 8; choice++) {
    const int out[3] = {choice & 4 ? 4 : 2, choice & 2 ? 4 : 2, choice & 1 ? 4 : 2};
    const double cost = filtering_cost(problem, out);
    const int64_t planes = (out[0] + 2) * (out[1] + 2) * (out[2] + 2);
    if (cost >= best || planes * 4 * p.depth * p.width > most_sum_bytes) continue;
    best = cost;
    p.planes = (int)planes;
    p.blocks = problem.n;
    for (int i = 0; i < 3; i++) {
      p.out[i] = out[i];
      p.grid[i] = divide_up(problem.out[i], out[i]);
      p.blocks *= p.grid[i];
    }
  }
  if (p.planes == 0) return "the direct sum is faster at these sizes";
  cut(plan);
  return nullptr;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
