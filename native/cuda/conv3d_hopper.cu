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
#include "conv_hopper_norm.h"
#include "conv_hopper_plan.h"
#include "intrinsics_hopper.h"

namespace versemi {
namespace cuda {
namespace {

using namespace hopper;

// wgmma is in sm_90a only; other architectures get empty kernels, which `refuses` keeps from being launched.
#if defined(VERSEMI_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define VERSEMI_HOPPER 1
#endif

constexpr int consumer_threads = consumers * 128, block_threads = consumer_threads + 64;

struct conv_arguments {
  geometry g;
  const unsigned char* weights;  // images [row block, chunk, stage, tap] of weight_bytes each
  const float* bias;             // or nullptr
  float* parts;                  // [split, tile, consumer, accumulator, 128]: sums of each split; nullptr without splits
  float2* sums;                  // [sample, part, channel]: for the instance norm, or nullptr
};

// Weights [3, 3, 3, inC, outC] -> images of bfloat16. Forward: result channels are outC; backward: inC, and taps mirrored.
// One thread per 16-byte piece of an image.
__global__ void __launch_bounds__(256) pack_weights(const float* weights, int in_channels, int out_channels, bool backward,
                                                    bool by_samples, unsigned char* images) {
  const int rows = backward ? in_channels : out_channels, sums = backward ? out_channels : in_channels;
  const int pieces = taps * rows * (sums / 8), chunks = sums / 64;
  for (int i = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x); i < pieces;
       i += static_cast<int>(gridDim.x) * 256) {
    const int m = i % 64, piece = i / 64 % 8, image = i / 512;
    const int tap = image % taps, chunk = image / taps % chunks, block = image / taps / chunks;
    kernel_tap at = tap_of(by_samples, tap / stage_taps, tap % stage_taps);
    if (backward) at = kernel_tap{2 - at.d, 2 - at.h, 2 - at.w};
    const int row = block * 64 + m, sum = chunk * 64 + piece * 8;
    const float* from = weights + static_cast<std::int64_t>((at.d * 3 + at.h) * 3 + at.w) * in_channels * out_channels;
    std::uint32_t packed[4];
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int low = sum + 2 * k, high = low + 1;
      packed[k] = backward ? pack_bf16(from[row * out_channels + low], from[row * out_channels + high])
                           : pack_bf16(from[low * out_channels + row], from[high * out_channels + row]);
    }
    *reinterpret_cast<uint4*>(images + static_cast<std::int64_t>(image) * weight_bytes + weight_offset(m, piece * 8)) =
        make_uint4(packed[0], packed[1], packed[2], packed[3]);
  }
}

#if defined(VERSEMI_HOPPER)

// Bias, sums for the norm, bfloat16, and out: the lines of one consumer. `staging` is its part of shared memory.
template <typename Shape>
__device__ __forceinline__ void finish_lines(const tensor_map* output, const conv_arguments& a, const tile& t, int consumer,
                                             float (&d)[Shape::lines][Shape::columns / 2], unsigned char* staging) {
  const geometry& g = a.g;
  const int thread = static_cast<int>(threadIdx.x) % 128;
  const int channels = g.row_blocks * 64, channel = t.block * 64 + accumulator_row(thread, 0);
  const float bias_low = a.bias == nullptr ? 0 : load_once(a.bias + channel);
  const float bias_high = a.bias == nullptr ? 0 : load_once(a.bias + channel + 8);
  const int atom_row = accumulator_column(thread, 0);  // and the next
  float sum[2][2] = {{0, 0}, {0, 0}}, squares[2][2] = {{0, 0}, {0, 0}};
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
        if (a.sums != nullptr && line_at < g.size[line] && t.at[run] + atom + j < g.size[run]) {
#pragma unroll
          for (int e = 0; e < 2; e++)
            if (t.at[row] + atom_row + e < g.size[row]) {
#pragma unroll
              for (int c = 0; c < 2; c++) {
                sum[c][e] += value[c][e];
                squares[c][e] += value[c][e] * value[c][e];
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
      tensor_store(output, staging, t.block * 64, t.at[row], t.at[run], line_at, t.at[slice]);
      bulk_commit();
    }
  }
  if (a.sums == nullptr) return;
  const int parts = part_count(g), part = part_of<Shape>(g, t, consumer);
  if (g.samples_axis == row) {
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int sample = t.at[row] + atom_row + e;
      if (sample >= g.size[row]) continue;
      float2* to = a.sums + (static_cast<std::int64_t>(sample) * parts + part) * channels + channel;
      to[0] = make_float2(sum[0][e], squares[0][e]);
      to[8] = make_float2(sum[1][e], squares[1][e]);
    }
    return;
  }
  // The eight rows are voxels of one sample: they lie in four neighbouring lanes.
#pragma unroll
  for (int c = 0; c < 2; c++) {
    float s = sum[c][0] + sum[c][1], q = squares[c][0] + squares[c][1];
#pragma unroll
    for (int mask = 1; mask < 4; mask *= 2) {
      s += shuffle_xor(s, mask);
      q += shuffle_xor(q, mask);
    }
    if (lane() % 4 == 0)
      a.sums[(static_cast<std::int64_t>(t.at[slice]) * parts + part) * channels + channel + c * 8] = make_float2(s, q);
  }
}

#endif

template <typename Shape>
__global__ void __launch_bounds__(block_threads, 1) convolve(const __grid_constant__ tensor_map input,
                                                             const __grid_constant__ tensor_map output,
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
  const int units = unit_count(g), chunks = g.chunks / g.splits;

  if (warp() == consumer_threads / 32) {  // boxes of voxels
    if (lane() != 0) return;
    int slot = 0;
    unsigned parity = 0;
    for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
      const tile t = tile_of<Shape>(g, unit);
      for (int i = 0; i < chunks * stages; i++) {
        const int stage = i % stages, channel = (t.split * chunks + i / stages) * 64;
        mbarrier_wait(box_empty + slot, parity ^ 1u);
        mbarrier_arrive_expect(box_full + slot, Shape::box_bytes);
        tensor_copy(memory + slot * Shape::box_bytes, &input, channel,
                    t.at[row] + g.origin[row] + (g.shifted == row ? stage : 0), t.at[run] + g.origin[run],
                    t.at[line] + g.origin[line], t.at[slice] + g.origin[slice] + (g.shifted == slice ? stage : 0),
                    box_full + slot);
        if (++slot == boxes_in_flight) {
          slot = 0;
          parity ^= 1u;
        }
      }
    }
    return;
  }
  if (warp() == consumer_threads / 32 + 1) {  // weights
    if (lane() != 0) return;
    int slot = 0;
    unsigned parity = 0;
    for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
      const tile t = tile_of<Shape>(g, unit);
      const unsigned char* from =
          a.weights + static_cast<std::int64_t>(t.block * g.chunks + t.split * chunks) * taps * weight_bytes;
      for (int i = 0; i < chunks * taps; i++, from += weight_bytes) {
        mbarrier_wait(weights_empty + slot, parity ^ 1u);
        mbarrier_arrive_expect(weights_full + slot, weight_bytes);
        bulk_copy(memory + Shape::weights_at + slot * weight_bytes, from, weight_bytes, weights_full + slot);
        if (++slot == Shape::weights_in_flight) {
          slot = 0;
          parity ^= 1u;
        }
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
  int slot = 0, box = 0;
  unsigned parity = 0, box_parity = 0;
  for (int unit = static_cast<int>(blockIdx.x); unit < units; unit += static_cast<int>(gridDim.x)) {
    const tile t = tile_of<Shape>(g, unit);
    std::uint64_t *weights_done = nullptr, *box_done = nullptr;
#pragma unroll
    for (int i = 0; i < Shape::lines; i++)
#pragma unroll
      for (int k = 0; k < Shape::columns / 2; k++) d[i][k] = 0;
    for (int i = 0; i < chunks * stages; i++) {
      mbarrier_wait(box_full + box, box_parity);
      std::uint64_t tap_at = advanced(lines_at, static_cast<std::uint32_t>(box * Shape::box_bytes));
      for (int tap = 0; tap < stage_taps; tap++) {
        mbarrier_wait(weights_full + slot, parity);
        const std::uint64_t weights = advanced(weights_at, static_cast<std::uint32_t>(slot * weight_bytes));
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < 64 / step_elements; step++)
#pragma unroll
          for (int k = 0; k < Shape::lines; k++)
            wgmma_bf16<Shape::columns>(d[k], advanced(weights, step * step_bytes), advanced(tap_at, k * line_bytes + step * step_bytes), true);
        wgmma_commit();
        wgmma_wait<1>();
        // The products before these are done: their memory may be overwritten.
        if (lane() == 0 && weights_done != nullptr) mbarrier_arrive(weights_done);
        if (lane() == 0 && box_done != nullptr) mbarrier_arrive(box_done);
        box_done = tap == stage_taps - 1 ? box_empty + box : nullptr;
        weights_done = weights_empty + slot;
        tap_at = advanced(tap_at, tap % 3 == 2 ? line_bytes - 2 * atom_bytes : atom_bytes);
        if (++slot == Shape::weights_in_flight) {
          slot = 0;
          parity ^= 1u;
        }
      }
      if (++box == boxes_in_flight) {
        box = 0;
        box_parity ^= 1u;
      }
    }
    wgmma_wait<0>();
    if (lane() == 0) {
      mbarrier_arrive(weights_done);
      mbarrier_arrive(box_done);
    }
    if (a.parts == nullptr) {
      finish_lines<Shape>(&output, a, t, consumer, d, memory + Shape::staging_at + consumer * Shape::staging_bytes);
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
__global__ void __launch_bounds__(consumer_threads) join_splits(const __grid_constant__ tensor_map output,
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
  finish_lines<Shape>(&output, a, t, consumer, d, shared_memory() + consumer * Shape::staging_bytes);
  if (threadIdx.x % 128 == 0) bulk_wait_read<0>();
#endif
}

// --- host -------------------------------------------------------------------------------------------------------------

// A tensor [n, D, H, W, channels] by the axes of the plan.
versemi_status map_of(tensor_map* map, void* data, std::int64_t n, const std::int64_t* size, std::int64_t channels,
                      bool by_samples, const std::uint32_t (&box)[4]) {
  const std::int64_t w = channels * 2, h = size[2] * w, d = size[1] * h, sample = size[0] * d;
  const std::int64_t sizes[4] = {by_samples ? n : size[2], by_samples ? size[2] : size[1], by_samples ? size[1] : size[0],
                                 by_samples ? size[0] : n};
  const std::int64_t strides[4] = {by_samples ? sample : w, by_samples ? w : h, by_samples ? h : d, by_samples ? d : sample};
  tensor_shape shape;
  shape.data = data;
  shape.size[0] = static_cast<std::uint64_t>(channels);
  shape.box[0] = row_elements;
  for (int i = 0; i < 4; i++) {
    shape.size[i + 1] = static_cast<std::uint64_t>(sizes[i]);
    shape.stride[i] = static_cast<std::uint64_t>(strides[i]);
    shape.box[i + 1] = box[i];
  }
  return make_tensor_map(map, shape);
}

enum scratch_slot { slot_weights, slot_parts, slot_sums, slot_statistics };

template <typename Shape>
versemi_status run_plan(context& device, const convolution& c, const plan& chosen, float2* sums) {
  const geometry& g = chosen.g;
  const sides s = sides_of(c.p, c.backward);
  tensor_map input, output;
  versemi_status status = map_of(&input, const_cast<void*>(c.input), c.p.n, s.in, s.in_channels, chosen.by_samples,
                                 {atom_rows, Shape::run + 2, Shape::all_lines + 2, 1});
  if (status.code != VERSEMI_OK) return status;
  status = map_of(&output, c.output, c.p.n, s.out, s.out_channels, chosen.by_samples, {atom_rows, Shape::run, 1, 1});
  if (status.code != VERSEMI_OK) return status;
  const std::size_t image_bytes = static_cast<std::size_t>(g.row_blocks) * static_cast<std::size_t>(g.chunks) * taps * weight_bytes;
  auto* images = static_cast<unsigned char*>(device.scratch(slot_weights, image_bytes));
  if (images == nullptr) return out_of_memory(image_bytes);
  status = launch(device, "weights for wgmma", pack_weights, grid_for(device, static_cast<std::int64_t>(image_bytes / 16), 256), 256, 0,
                  c.weights, c.p.in_channels, c.p.out_channels, c.backward, chosen.by_samples, images);
  if (status.code != VERSEMI_OK) return status;
  const int units = unit_count(g);
  conv_arguments a = {g, images, c.bias, nullptr, sums};
  if (g.splits > 1) {
    const std::size_t values = static_cast<std::size_t>(units) * consumers * Shape::lines * Shape::columns * 64;
    a.parts = device.scratch_of<float>(slot_parts, values);
    if (a.parts == nullptr) return out_of_memory(values * sizeof(float));
  }
  const unsigned blocks = static_cast<unsigned>(units < device.properties().multiprocessors ? units : device.properties().multiprocessors);
  status = launch(device, "conv3d by wgmma", convolve<Shape>, blocks, block_threads, Shape::shared_bytes, input, output, a);
  if (status.code != VERSEMI_OK || g.splits == 1) return status;
  return launch(device, "conv3d by wgmma, splits", join_splits<Shape>, static_cast<unsigned>(units / g.splits), consumer_threads,
                consumers * Shape::staging_bytes, output, a);
}

}  // namespace

versemi_status hopper::convolve_with(context& device, const convolution& c, const plan& chosen, float2* sums) {
  if (chosen.shape == shape_kind::wide) return run_plan<wide_tile>(device, c, chosen, sums);
  if (chosen.shape == shape_kind::middle) return run_plan<middle_tile>(device, c, chosen, sums);
  return run_plan<narrow_tile>(device, c, chosen, sums);
}

namespace {

const char* refuses_problem(const context& device, const double* attributes, std::int32_t count, bool backward) {
  if (device.properties().compute_capability != 90) return "wgmma and tensor copies need compute capability 9.0";
  if (device.properties().shared_bytes_per_block < shared_limit) return "needs 227 KiB of shared memory per block";
  if (device.operands() != precision::bfloat16) return "takes bfloat16 operands only";
  versemi_conv_problem p;
  const char* wrong = versemi_read_conv_problem(&p, attributes, count);
  if (wrong != nullptr) return wrong;
  for (int i = 0; i < 3; i++) {
    if (p.kernel[i] != 3) return "takes kernels of 3x3x3 only";
    if (p.stride[i] != 1) return "takes stride 1 only";
    if (p.pad[i] > 2) return "takes at most 2 voxels of padding";
  }
  if (p.in_channels % 64 != 0 || p.out_channels % 64 != 0) return "takes channels in multiples of 64";
  const sides s = sides_of(p, backward);
  const double voxels = static_cast<double>(p.n) * static_cast<double>(s.out[0]) * static_cast<double>(s.out[1]) * static_cast<double>(s.out[2]);
  if (voxels * static_cast<double>(p.in_channels + p.out_channels) > 2147483647.0 * 8) return "more tiles than 32 bits count";
  if (taps * static_cast<double>(p.in_channels) * static_cast<double>(p.out_channels) > 2147483647.0) return "more weights than 32 bits count";
  return nullptr;
}

const char* refuses_forward(const context& device, const double* attributes, std::int32_t count) {
  return refuses_problem(device, attributes, count, false);
}
const char* refuses_grad_input(const context& device, const double* attributes, std::int32_t count) {
  return refuses_problem(device, attributes, count, true);
}
const char* refuses_norm_relu(const context& device, const double* attributes, std::int32_t count) {
  if (count != VERSEMI_CONV_ATTRIBUTES + 3) return "wants 21 attributes";
  return refuses_problem(device, attributes, count, attributes[VERSEMI_CONV_ATTRIBUTES] != 0);
}

// input, weight, bias?, output
void plan_conv(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[0].format = tensors[3].format = storage::bfloat16;
  tensors[1].format = tensors[2].format = storage::float32;
}
// input, weight, skip?, output, raw?, mean?, rstd?
void plan_norm_relu(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  for (int i = 0; i < 7; i++) tensors[i].format = storage::float32;
  tensors[0].format = tensors[2].format = tensors[3].format = tensors[4].format = storage::bfloat16;
}

versemi_status run_conv(context& device, const tensor* tensors, const double* attributes, std::int32_t count, bool backward) {
  convolution c;
  versemi_read_conv_problem(&c.p, attributes, count);
  c.backward = backward;
  c.input = tensors[0].data;
  c.weights = static_cast<const float*>(tensors[1].data);
  c.bias = tensors[2].present() ? static_cast<const float*>(tensors[2].data) : nullptr;
  c.output = tensors[3].data;
  return convolve_with(device, c, best_plan(c.p, backward, device.properties().multiprocessors), nullptr);
}
versemi_status run_forward(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t count) {
  return run_conv(device, tensors, attributes, count, false);
}
versemi_status run_grad_input(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t count) {
  return run_conv(device, tensors, attributes, count, true);
}

versemi_status run_norm_relu(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t count) {
  convolution c;
  versemi_read_conv_problem(&c.p, attributes, count);
  c.backward = attributes[VERSEMI_CONV_ATTRIBUTES] != 0;
  c.input = tensors[0].data;
  c.weights = static_cast<const float*>(tensors[1].data);
  c.bias = nullptr;
  // Without `raw`, the convolution writes where the normalisation then reads and writes.
  c.output = tensors[4].present() ? tensors[4].data : tensors[3].data;
  const sides s = sides_of(c.p, c.backward);
  const std::int64_t n = c.p.n, channels = s.out_channels, voxels = s.out[0] * s.out[1] * s.out[2];
  const plan chosen = best_plan(c.p, c.backward, device.properties().multiprocessors);
  const int parts = part_count(chosen.g);
  const std::size_t pairs = static_cast<std::size_t>(n * parts * channels);
  float2* sums = device.scratch_of<float2>(slot_sums, pairs);
  if (sums == nullptr) return out_of_memory(pairs * sizeof(float2));
  float* statistics = device.scratch_of<float>(slot_statistics, static_cast<std::size_t>(2 * n * channels));
  if (statistics == nullptr) return out_of_memory(static_cast<std::size_t>(2 * n * channels) * sizeof(float));
  float* mean = tensors[5].present() ? static_cast<float*>(tensors[5].data) : statistics;
  float* rstd = tensors[6].present() ? static_cast<float*>(tensors[6].data) : statistics + n * channels;
  versemi_status status = convolve_with(device, c, chosen, sums);
  if (status.code != VERSEMI_OK) return status;
  status = launch(device, "statistics of a norm", finish_statistics, dim3(static_cast<unsigned>(channels / 32), static_cast<unsigned>(n)),
                  256, 0, sums, parts, channels, static_cast<double>(voxels), attributes[VERSEMI_CONV_ATTRIBUTES + 2], mean, rstd);
  if (status.code != VERSEMI_OK) return status;
  const std::int64_t pieces = voxels * channels / 8;
  const unsigned all = grid_for(device, n * pieces, 256), each = static_cast<unsigned>(divide_up(all, n));
  return launch(device, "normalisation", normalise, dim3(each, static_cast<unsigned>(n)), 256, 0, c.output,
                tensors[2].present() ? tensors[2].data : nullptr, mean, rstd, channels, pieces,
                attributes[VERSEMI_CONV_ATTRIBUTES + 1] != 0, tensors[3].data);
}

const kernel rows[] = {
    {VERSEMI_CONV3D_FORWARD, "hopper-wgmma", refuses_forward, plan_conv, run_forward},
    {VERSEMI_CONV3D_GRAD_INPUT, "hopper-wgmma", refuses_grad_input, plan_conv, run_grad_input},
    {VERSEMI_CONV3D_NORM_RELU, "hopper-wgmma", refuses_norm_relu, plan_norm_relu, run_norm_relu},
};

}  // namespace

kernel_rows conv3d_hopper_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
