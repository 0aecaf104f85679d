// gradWeight of 3^3 convolutions of stride 1 on Hopper, channels in multiples of 64, bfloat16 operands.
//
//   gradWeight[tap][ci][co] = sum over voxels v of gradOutput[v][co] input[v + tap][ci]
//
// Voxels are what is summed over, and channels lie in rows in shared memory, so both operands are MN-major: A is gradOutput^T
// [64 co, 16 voxels], B is input [16 voxels, 3 taps x 64 ci]. The three taps along a line cost nothing to put side by side:
// they are the same atoms, shifted by one, so the descriptor of B steps by one atom from 64 columns to the next and N is 192.
// A block has one of the three stages (the axis shifted by copying), 64 ci, 64 co and a range of tiles; each of its three
// warpgroups has one tap across lines, so nine taps in all. One warp copies: a box of input and one of gradOutput per tile, two
// or three pairs in flight. Blocks that share sums leave them in scratch memory for the ordered end.
// Boxes, axes, stages: conv_hopper_plan.h.
#include "conv/hopper/conv_hopper_plan.h"
#include "conv/hopper/intrinsics_hopper.h"

namespace versemi {
namespace cuda {
namespace hopper {
namespace {

constexpr int consumer_threads = consumers * 128, block_threads = consumer_threads + 32;

// Shared memory: `in_flight` times (box of input, box of gradOutput), then barriers.
template <typename Shape>
struct gradient_memory {
  static constexpr int plain_bytes = Shape::run * Shape::all_lines * atom_bytes;
  static constexpr int pair_bytes = Shape::box_bytes + plain_bytes;
  static constexpr int most = (shared_limit - Shape::barrier_bytes) / pair_bytes;
  static constexpr int in_flight = most < 3 ? most : 3;
  static constexpr int barriers_at = in_flight * pair_bytes;
  static constexpr int shared_bytes = barriers_at + Shape::barrier_bytes;
  static_assert(in_flight >= 2, "copies beside products");
};

struct gradient_arguments {
  geometry g;
  bool by_samples;
  int in_channels, out_channels;
  float* to;  // [split, tap, in_channels, out_channels]
};

#if defined(VERSEMI_HOPPER)

constexpr int columns = 3 * 64;  // N of one wgmma: three taps, 64 ci each

// Unit of work: the stage changes fastest, then the blocks of channels: blocks that run together read the same voxels.
struct unit {
  int stage, ci, co, split;
};
__device__ __forceinline__ unit unit_of(const gradient_arguments& a, int index) {
  unit u;
  u.stage = index % stages;
  index /= stages;
  u.ci = index % (a.in_channels / 64) * 64;
  index /= a.in_channels / 64;
  u.co = index % (a.out_channels / 64) * 64;
  u.split = index / (a.out_channels / 64);
  return u;
}

#endif

template <typename Shape>
__global__ void __launch_bounds__(block_threads, 1) correlate(const __grid_constant__ tensor_map input,
                                                              const __grid_constant__ tensor_map grad_output,
                                                              const __grid_constant__ gradient_arguments a) {
#if defined(VERSEMI_HOPPER)
  using layout = gradient_memory<Shape>;
  unsigned char* const memory = shared_memory();
  auto* const full = reinterpret_cast<std::uint64_t*>(memory + layout::barriers_at);
  std::uint64_t* const empty = full + layout::in_flight;
  if (threadIdx.x == 0) {
    for (int i = 0; i < layout::in_flight; i++) {
      mbarrier_init(full + i, 1);
      mbarrier_init(empty + i, consumers * 4);  // lane 0 of every warp
    }
    mbarrier_init_done();
  }
  barrier();
  const unit u = unit_of(a, static_cast<int>(blockIdx.x));
  const std::int64_t positions = position_count(a.g);
  const int first = static_cast<int>(positions * u.split / a.g.splits);
  const int last = static_cast<int>(positions * (u.split + 1) / a.g.splits);
  ring<layout::in_flight> pair;

  if (warp() == consumer_threads / 32) {
    if (lane() != 0) return;
    for (int position = first; position < last; position++) {
      const tile t = tile_of<Shape>(a.g, position);
      unsigned char* const boxes = memory + pair.at * layout::pair_bytes;
      mbarrier_wait(empty + pair.at, pair.parity ^ 1u);
      mbarrier_arrive_expect(full + pair.at, layout::pair_bytes);
      tensor_copy(boxes, &input, u.ci, t.at[row] + a.g.origin[row] + (a.g.shifted == row ? u.stage : 0),
                  t.at[run] + a.g.origin[run], t.at[line] + a.g.origin[line],
                  t.at[slice] + a.g.origin[slice] + (a.g.shifted == slice ? u.stage : 0), full + pair.at);
      tensor_copy(boxes + Shape::box_bytes, &grad_output, u.co, t.at[row], t.at[run], t.at[line], t.at[slice], full + pair.at);
      pair.advance();
    }
    return;
  }

  const int consumer = warp() / 4, thread = static_cast<int>(threadIdx.x) % 128;
  constexpr int line_bytes = (Shape::run + 2) * atom_bytes;
  // From eight voxels to the next eight: one atom. A has 64 rows, so it never steps to the next 64.
  const std::uint64_t output_at = matrix_descriptor_mn(shared_address(memory + Shape::box_bytes), atom_bytes, atom_bytes);
  const std::uint64_t input_at =
      advanced(matrix_descriptor_mn(shared_address(memory), atom_bytes, atom_bytes), static_cast<std::uint32_t>(consumer * line_bytes));
  float d[columns / 2];
#pragma unroll
  for (int i = 0; i < columns / 2; i++) d[i] = 0;
  std::uint64_t* done = nullptr;
  for (int position = first; position < last; position++) {
    mbarrier_wait(full + pair.at, pair.parity);
    const auto offset = static_cast<std::uint32_t>(pair.at * layout::pair_bytes);
    std::uint64_t from_output = advanced(output_at, offset), from_input = advanced(input_at, offset);
    // Not unrolled: the addresses of all lines would take the registers that the sums need.
#pragma unroll 1
    for (int i = 0; i < Shape::all_lines; i++) {
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < Shape::run / 2; step++)
        wgmma_bf16_mn<columns>(d, advanced(from_output, 2 * step * atom_bytes), advanced(from_input, 2 * step * atom_bytes));
      wgmma_commit();
      wgmma_wait<1>();
      // The products before these are done: after the first line, those of the tile before.
      if (lane() == 0 && done != nullptr) mbarrier_arrive(done);
      done = nullptr;
      from_output = advanced(from_output, Shape::run * atom_bytes);
      from_input = advanced(from_input, line_bytes);
    }
    done = empty + pair.at;
    pair.advance();
  }
  wgmma_wait<0>();
  // Accumulator i of 32 per tap: rows (co) accumulator_row, columns (ci) accumulator_column of a tile of 64.
#pragma unroll
  for (int run_tap = 0; run_tap < 3; run_tap++) {
    const kernel_tap at = tap_of(a.by_samples, u.stage, consumer * 3 + run_tap);
    const std::int64_t tap = std::int64_t{u.split} * taps + (at.d * 3 + at.h) * 3 + at.w;
    float* to = a.to + (tap * a.in_channels + u.ci + accumulator_column(thread, 0)) * a.out_channels + u.co + accumulator_row(thread, 0);
#pragma unroll
    for (int i = 0; i < 32; i += 4, to += 8 * a.out_channels)
#pragma unroll
      for (int k = 0; k < 4; k++) to[(k & 1) * a.out_channels + (k & 2) * 4] = d[run_tap * 32 + i + k];
  }
#endif
}

// --- host -------------------------------------------------------------------------------------------------------------

template <typename Shape>
versemi_status run_gradient(context& device, const grad_weight_call& call, const plan& chosen) {
  const conv_view v = forward_view(call.problem);
  tensor_map input, grad_output;
  versemi_status status = map_of(&input, call.input, v.n, v.source, v.source_channels, chosen.by_samples,
                                 {atom_rows, Shape::run + 2, Shape::all_lines + 2, 1});
  if (status.code != VERSEMI_OK) return status;
  status = map_of(&grad_output, call.grad_output, v.n, v.result, v.result_channels, chosen.by_samples,
                  {atom_rows, Shape::run, Shape::all_lines, 1});
  if (status.code != VERSEMI_OK) return status;
  const int splits = chosen.g.splits;
  float* partials = grad_weight_partials(device, call, splits);
  if (partials == nullptr)
    return out_of_memory(static_cast<std::size_t>(splits * versemi_conv_weight_count(&call.problem)) * sizeof(float));
  const gradient_arguments a = {chosen.g, chosen.by_samples, v.source_channels, v.result_channels, partials};
  const int units = stages * (v.source_channels / 64) * (v.result_channels / 64) * splits;
  status = launch(device, "gradWeight by wgmma", correlate<Shape>, static_cast<unsigned>(units), block_threads,
                  gradient_memory<Shape>::shared_bytes, input, grad_output, a);
  if (status.code != VERSEMI_OK) return status;
  return finish_grad_weight(device, call, partials, splits);
}

const char* refuses(const context& device, const double* attributes, std::int32_t) {
  const char* reason = refuses_device(device);
  if (reason != nullptr) return reason;
  return refuses_view(forward_view(conv_problem_of(convolution_attributes(attributes))));
}

versemi_status convolve_best(context& device, const grad_weight_call& call) {
  return convolve_gradient_with(device, call, best_gradient_plan(forward_view(call.problem), device.properties().multiprocessors));
}

}  // namespace

versemi_status convolve_gradient_with(context& device, const grad_weight_call& call, const plan& chosen) {
  if (chosen.shape == shape_kind::wide) return run_gradient<wide_tile>(device, call, chosen);
  if (chosen.shape == shape_kind::middle) return run_gradient<gradient_middle_tile>(device, call, chosen);
  return run_gradient<narrow_tile>(device, call, chosen);
}

kernel hopper_grad_weight_row() { return {VERSEMI_CONV3D_GRAD_WEIGHT, "hopper-wgmma", refuses, plan_grad_weight, run_grad_weight<convolve_best>}; }

}  // namespace hopper
}  // namespace cuda
}  // namespace versemi
