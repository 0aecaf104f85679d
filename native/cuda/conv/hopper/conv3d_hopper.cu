// 3^3 convolutions of stride 1 on Hopper, channels in multiples of 64: forward, grad-input, and with instance norm behind.
//
// The product is taken the other way round: result^T [64 channels, N voxels] = weights^T [64, K] voxels^T [K, N], so that the
// voxels are the operand B of wgmma, of which one instruction takes up to 12 swizzle atoms in a row, and the weights are A.
// A block has three warpgroups that multiply, each for its own lines of the tile, and two warps with one thread each that
// keep copies coming: one the boxes of voxels (two in flight), one the weights of the taps (5 to 8 in flight). Tiles, boxes
// and shared memory: conv_hopper_plan.h. Blocks stay and take every gridDim-th unit of work.
//
// Accumulators: a thread has two channels (rows) and, of each atom of its line, two of the eight rows of the atom. Where the
// rows of an atom are samples, the sums for the instance norm are sums of one thread.
#include "conv/conv_view.h"
#include "conv/hopper/conv_hopper_plan.h"
#include "conv/hopper/intrinsics_hopper.h"

namespace versemi {
namespace cuda {
namespace {

using namespace hopper;

constexpr int consumer_threads = consumers * 128, block_threads = consumer_threads + 64;

struct conv_arguments {
  geometry g;
  const unsigned char* weights;  // images [row block, chunk, stage, tap] of weight_bytes each
  const float* bias;             // or nullptr
  float* parts;                  // [split, tile, consumer, accumulator, 128]: sums of each split; nullptr without splits
  conv_moments* moments;         // [sample, slot, channel]: for the instance norm, or nullptr
};

// Weights -> images of bfloat16. One thread per 16-byte piece of an image.
__global__ void __launch_bounds__(256) pack_images(const float* weights, const conv_view v, bool by_samples,
                                                   unsigned char* images) {
  const int chunks = v.source_channels / 64, pieces = taps * v.result_channels * (v.source_channels / 8);
  for (int i = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x); i < pieces;
       i += static_cast<int>(gridDim.x) * 256) {
    const int m = i % 64, piece = i / 64 % 8, image = i / 512;
    const int tap = image % taps, chunk = image / taps % chunks, block = image / taps / chunks;
    const kernel_tap at = tap_of(by_samples, tap / stage_taps, tap % stage_taps);
    const float* from = weights + v.weight_index((at.d * 3 + at.h) * 3 + at.w, chunk * 64 + piece * 8, block * 64 + m);
    const int step = v.transposed ? 1 : v.result_channels;  // from one source channel to the next
    std::uint32_t packed[4];
#pragma unroll
    for (int k = 0; k < 4; k++) packed[k] = pack_bf16(from[2 * k * step], from[(2 * k + 1) * step]);
    *reinterpret_cast<uint4*>(images + static_cast<std::int64_t>(image) * weight_bytes + weight_offset(m, piece * 8)) =
        make_uint4(packed[0], packed[1], packed[2], packed[3]);
  }
}

#if defined(VERSEMI_HOPPER)

// Bias, sums for the norm, bfloat16, and out: the lines of one consumer. `staging` is its part of shared memory.
template <typename Shape>
__device__ __forceinline__ void finish_lines(const tensor_map* result, const conv_arguments& a, const tile& t, int consumer,
                                             float (&d)[Shape::lines][Shape::columns / 2], unsigned char* staging) {
  const geometry& g = a.g;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int channels = g.row_blocks * 64, channel = t.block * 64 + accumulator_row(thread, 0);
  const float bias_low = a.bias == nullptr ? 0 : load_once(a.bias + channel);
  const float bias_high = a.bias == nullptr ? 0 : load_once(a.bias + channel + 8);
  const int atom_row = accumulator_column(thread, 0);  // and the next
  // Sums are taken around a value of this very slot: the first voxel of its first line, which is inside if any voxel is.
  const bool by_samples = g.samples_axis == row;
  float shift[2][2] = {{d[0][0] + bias_low, d[0][1] + bias_low}, {d[0][2] + bias_high, d[0][3] + bias_high}};
  if (!by_samples)
#pragma unroll
    for (int c = 0; c < 2; c++) shift[c][0] = shift[c][1] = shuffle(shift[c][0], lane() & ~3);
  float sum[2][2] = {{0, 0}, {0, 0}}, squares[2][2] = {{0, 0}, {0, 0}}, count[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < Shape::lines; i++) {
    const int line_at = t.at[line] + consumer * Shape::lines + i;
    // The last store of this consumer has read its staging memory.
    if (thread == 0) bulk_wait_read<0>();
    barrier_named(1 + consumer, 128);
#pragma unroll
    for (int atom = 0; atom < Shape::run; atom += 2) {
      std::uint32_t packed[4];
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const float* v = d[i] + (atom + j) * 4;
        const float value[2][2] = {{v[0] + bias_low, v[1] + bias_low}, {v[2] + bias_high, v[3] + bias_high}};
        packed[j * 2] = pack_bf16(value[0][0], value[0][1]);
        packed[j * 2 + 1] = pack_bf16(value[1][0], value[1][1]);
        if (a.moments != nullptr && line_at < g.size[line] && t.at[run] + atom + j < g.size[run]) {
#pragma unroll
          for (int e = 0; e < 2; e++)
            if (t.at[row] + atom_row + e < g.size[row]) {
              count[e] += 1;
#pragma unroll
              for (int c = 0; c < 2; c++) {
                const float deviation = value[c][e] - shift[c][e];
                sum[c][e] += deviation;
                squares[c][e] = fmaf(deviation, deviation, squares[c][e]);
              }
            }
        }
      }
      // Matrices 0 and 1: channels 0-7 and 8-15 of this warp at the first atom; 2 and 3: at the second. Stored transposed, so
      // lane r of eight gives the place of atom row r: 16 bytes, eight channels.
      const int matrix = lane() / 8, r = lane() % 8;
      const int offset = (atom + matrix / 2) * atom_bytes + r * row_bytes + (thread / 32 * 2 + matrix % 2) * 16;
      store_matrix_x4_trans(staging + swizzled(static_cast<std::uint32_t>(offset)), packed);
    }
    fence_proxy_async();
    barrier_named(1 + consumer, 128);
    if (thread == 0) {
      tensor_store(result, staging, t.block * 64, t.at[row], t.at[run], line_at, t.at[slice]);
      bulk_commit();
    }
  }
  if (a.moments == nullptr) return;
  const int slots = slot_count(g), slot = slot_of<Shape>(g, t, consumer);
  if (by_samples) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int sample = t.at[row] + atom_row + e;
      if (sample >= g.size[row]) continue;
      conv_moments* to = a.moments + (static_cast<std::int64_t>(sample) * slots + slot) * channels + channel;
#pragma unroll
      for (int c = 0; c < 2; c++) to[c * 8] = conv_moments{shift[c][e], sum[c][e], squares[c][e], count[e]};
    }
    return;
  }
  // The eight rows are voxels of one sample: they lie in four neighbouring lanes.
  float all = count[0] + count[1];
#pragma unroll
  for (int mask = 1; mask < 4; mask *= 2) all += shuffle_xor(all, mask);
#pragma unroll
  for (int c = 0; c < 2; c++) {
    float s = sum[c][0] + sum[c][1], q = squares[c][0] + squares[c][1];
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) {
      s += shuffle_xor(s, mask);
      q += shuffle_xor(q, mask);
    }
    if (lane() % 4 == 0)
      a.moments[(static_cast<std::int64_t>(t.at[slice]) * slots + slot) * channels + channel + c * 8] =
          conv_moments{shift[c][0], s, q, all};
  }
}

#endif

template <typename Shape>
__global__ void __launch_bounds__(block_threads, 1) convolve(const __grid_constant__ tensor_map source,
                                                             const __grid_constant__ tensor_map result,
                                                             const __grid_constant__ conv_arguments a) {
#if defined(VERSEMI_HOPPER)
  const geometry& g = a.g;
  unsigned char* const memory = shared_memory();
  auto* const box_full = reinterpret_cast<std::uint64_t*>(memory + Shape::barriers_at);
  std::uint64_t* const box_empty = box_full + boxes_in_flight;
  std::uint64_t* const weights_full = box_empty + boxes_in_flight;
  std::uint64_t* const weights_empty = weights_full + Shape::weights_in_flight;
  if (threadIdx.x == 0) {
    for (int i = 0; i < boxes_in_flight; i++) {
      mbarrier_init(box_full + i, 1);
      mbarrier_init(box_empty + i, consumers * 4);  // lane 0 of every warp
    }
    for (int i = 0; i < Shape::weights_in_flight; i++) {
      mbarrier_init(weights_full + i, 1);
      mbarrier_init(weights_empty + i, consumers * 4);
    }
    mbarrier_init_done();
  }
  barrier();
  const int units = unit_count(g), boxes = g.chunks * stages / g.splits;

  if (warp() == consumer_threads / 32) {  // boxes of voxels
    if (lane() != 0) return;
    ring<boxes_in_flight> box;
    for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
      const tile t = tile_of<Shape>(g, unit);
      for (int i = t.split * boxes; i < (t.split + 1) * boxes; i++) {
        const int stage = i % stages, channel = i / stages * 64;
        mbarrier_wait(box_empty + box.at, box.parity ^ 1u);
        mbarrier_arrive_expect(box_full + box.at, Shape::box_bytes);
        tensor_copy(memory + box.at * Shape::box_bytes, &source, channel,
                    t.at[row] + g.origin[row] + (g.shifted == row ? stage : 0), t.at[run] + g.origin[run],
                    t.at[line] + g.origin[line], t.at[slice] + g.origin[slice] + (g.shifted == slice ? stage : 0),
                    box_full + box.at);
        box.advance();
      }
    }
    return;
  }
  if (warp() == consumer_threads / 32 + 1) {  // weights
    if (lane() != 0) return;
    ring<Shape::weights_in_flight> tap;
    for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
      const tile t = tile_of<Shape>(g, unit);
      const unsigned char* from =
          a.weights + static_cast<std::int64_t>(t.block * g.chunks * stages + t.split * boxes) * stage_taps * weight_bytes;
      for (int i = 0; i < boxes * stage_taps; i++, from += weight_bytes) {
        mbarrier_wait(weights_empty + tap.at, tap.parity ^ 1u);
        mbarrier_arrive_expect(weights_full + tap.at, weight_bytes);
        bulk_copy(memory + Shape::weights_at + tap.at * weight_bytes, from, weight_bytes, weights_full + tap.at);
        tap.advance();
      }
    }
    return;
  }

  const int consumer = warp() / 4;
  constexpr int line_bytes = (Shape::run + 2) * atom_bytes;
  // Both operands: from eight rows to the next eight is one atom.
  const std::uint64_t weights_at = matrix_descriptor(shared_address(memory + Shape::weights_at), atom_bytes);
  const std::uint64_t lines_at =
      advanced(matrix_descriptor(shared_address(memory), atom_bytes), static_cast<std::uint32_t>(consumer * Shape::lines * line_bytes));
  float d[Shape::lines][Shape::columns / 2];
  ring<Shape::weights_in_flight> weight;
  ring<boxes_in_flight> box;
  for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
    const tile t = tile_of<Shape>(g, unit);
    std::uint64_t *weights_done = nullptr, *box_done = nullptr;
#pragma unroll
    for (int i = 0; i < Shape::lines; i++)
#pragma unroll
      for (int k = 0; k < Shape::columns / 2; k++) d[i][k] = 0;
    for (int i = 0; i < boxes; i++) {
      mbarrier_wait(box_full + box.at, box.parity);
      std::uint64_t tap_at = advanced(lines_at, static_cast<std::uint32_t>(box.at * Shape::box_bytes));
      for (int tap = 0; tap < stage_taps; tap++) {
        mbarrier_wait(weights_full + weight.at, weight.parity);
        const std::uint64_t weights = advanced(weights_at, static_cast<std::uint32_t>(weight.at * weight_bytes));
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < 64 / step_elements; step++)
#pragma unroll
          for (int k = 0; k < Shape::lines; k++)
            wgmma_bf16<Shape::columns>(d[k], advanced(weights, step * step_bytes), advanced(tap_at, k * line_bytes + step * step_bytes));
        wgmma_commit();
        wgmma_wait<1>();
        // The products before these are done: their memory may be overwritten.
        if (lane() == 0 && weights_done != nullptr) mbarrier_arrive(weights_done);
        if (lane() == 0 && box_done != nullptr) mbarrier_arrive(box_done);
        box_done = tap == stage_taps - 1 ? box_empty + box.at : nullptr;
        weights_done = weights_empty + weight.at;
        tap_at = advanced(tap_at, tap % 3 == 2 ? line_bytes - 2 * atom_bytes : atom_bytes);
        weight.advance();
      }
      box.advance();
    }
    wgmma_wait<0>();
    if (lane() == 0) {
      mbarrier_arrive(weights_done);
      mbarrier_arrive(box_done);
    }
    if (a.parts == nullptr) {
      finish_lines<Shape>(&result, a, t, consumer, d, memory + Shape::staging_at + consumer * Shape::staging_bytes);
    } else {
      constexpr int values = Shape::lines * Shape::columns / 2;
      const int whole = units / g.splits;
      float* to = a.parts + static_cast<std::int64_t>((t.split * whole + t.index) * consumers + consumer) * values * 128 +
                  threadIdx.x % 128;
#pragma unroll
      for (int i = 0; i < values; i++) to[i * 128] = d[i / (Shape::columns / 2)][i % (Shape::columns / 2)];
    }
  }
  // Shared memory must stay until the last store has read it.
  if (a.parts == nullptr && threadIdx.x % 128 == 0) bulk_wait_read<0>();
#endif
}

// Sums of all splits of a tile, in order, and what follows them: one block per tile.
template <typename Shape>
__global__ void __launch_bounds__(consumer_threads) join_splits(const __grid_constant__ tensor_map result,
                                                                const __grid_constant__ conv_arguments a) {
#if defined(VERSEMI_HOPPER)
  constexpr int values = Shape::lines * Shape::columns / 2;
  const int consumer = warp() / 4, whole = static_cast<int>(gridDim.x);
  const tile t = tile_of<Shape>(a.g, static_cast<int>(blockIdx.x));
  float d[Shape::lines][Shape::columns / 2];
#pragma unroll
  for (int i = 0; i < values; i++) d[i / (Shape::columns / 2)][i % (Shape::columns / 2)] = 0;
  for (int split = 0; split < a.g.splits; split++) {
    const float* from = a.parts + static_cast<std::int64_t>((split * whole + t.index) * consumers + consumer) * values * 128 +
                        threadIdx.x % 128;
#pragma unroll
    for (int i = 0; i < values; i++) d[i / (Shape::columns / 2)][i % (Shape::columns / 2)] += load_once(from + i * 128);
  }
  finish_lines<Shape>(&result, a, t, consumer, d, shared_memory() + consumer * Shape::staging_bytes);
  if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
#endif
}

// --- host -------------------------------------------------------------------------------------------------------------

template <typename Shape>
versemi_status run_plan(context& device, const conv_job& job, const plan& chosen, conv_moment_slots* slots) {
  const geometry& g = chosen.g;
  const conv_view& v = job.view;
  tensor_map source, result;
  versemi_status status = map_of(&source, job.source, v.n, v.source, v.source_channels, chosen.by_samples,
                                 {atom_rows, Shape::run + 2, Shape::all_lines + 2, 1});
  if (status.code != VERSEMI_OK) return status;
  status = map_of(&result, job.result, v.n, v.result, v.result_channels, chosen.by_samples, {atom_rows, Shape::run, 1, 1});
  if (status.code != VERSEMI_OK) return status;
  const std::size_t image_bytes =
      static_cast<std::size_t>(g.row_blocks) * static_cast<std::size_t>(g.chunks) * taps * weight_bytes;
  auto* images = static_cast<unsigned char*>(device.scratch(scratch_slot::weights, image_bytes));
  if (images == nullptr) return out_of_memory(image_bytes);
  status = launch(device, "weights for wgmma", pack_images, grid_for(device, static_cast<std::int64_t>(image_bytes / 16), 256),
                  256, 0, job.weight, v, chosen.by_samples, images);
  if (status.code != VERSEMI_OK) return status;
  const int units = unit_count(g), multiprocessors = device.properties().multiprocessors;
  conv_arguments a = {g, images, job.bias, nullptr, nullptr};
  if (slots != nullptr) {
    if (!take_moments(device, v, slot_count(g), slots))
      return out_of_memory(static_cast<std::size_t>(v.n) * static_cast<std::size_t>(slot_count(g)) *
                           static_cast<std::size_t>(v.result_channels) * sizeof(conv_moments));
    a.moments = slots->moments;
  }
  if (g.splits > 1) {
    const std::size_t values = static_cast<std::size_t>(units) * consumers * Shape::lines * Shape::columns * 64;
    a.parts = device.scratch_of<float>(scratch_slot::partials, values);
    if (a.parts == nullptr) return out_of_memory(values * sizeof(float));
  }
  status = launch(device, "conv3d by wgmma", convolve<Shape>,
                  static_cast<unsigned>(units < multiprocessors ? units : multiprocessors), block_threads, Shape::shared_bytes,
                  source, result, a);
  if (status.code != VERSEMI_OK || g.splits == 1) return status;
  return launch(device, "conv3d by wgmma, splits", join_splits<Shape>, static_cast<unsigned>(units / g.splits),
                consumer_threads, consumers * Shape::staging_bytes, result, a);
}

const char* refuses(const context& device, const conv_view& v) {
  const char* reason = refuses_device(device);
  if (reason == nullptr) reason = refuses_view(v);
  if (reason == nullptr && v.result_voxels() == 1) reason = "results of one voxel are float32";
  return reason;
}

versemi_status convolve_best(context& device, const conv_job& job, conv_moment_slots* slots) {
  return convolve_with(device, job, best_plan(job.view, device.properties().multiprocessors), slots);
}

constexpr conv_family family = {refuses, convolve_best, false};
constexpr char name[] = "hopper-wgmma";
const kernel rows[] = {
    conv_row<family, VERSEMI_CONV3D_FORWARD>::row(name),
    conv_row<family, VERSEMI_CONV3D_GRAD_INPUT>::row(name),
    hopper_grad_weight_row(),
    conv_row<family, VERSEMI_CONV3D_NORM_RELU>::row(name),
};

}  // namespace

versemi_status hopper::convolve_with(context& device, const conv_job& job, const plan& chosen, conv_moment_slots* slots) {
  if (chosen.shape == shape_kind::wide) return run_plan<wide_tile>(device, job, chosen, slots);
  if (chosen.shape == shape_kind::middle) return run_plan<middle_tile>(device, job, chosen, slots);
  return run_plan<narrow_tile>(device, job, chosen, slots);
}

kernel_rows conv3d_hopper_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
