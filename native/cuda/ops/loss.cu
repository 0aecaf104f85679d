// Sums for Dice and cross-entropy, the aggregate over prompts, and their gradients; formulas in src/tfjs/table/kernel-table.ts.
// Everything is float32 and read once; probabilities are never stored. Sums: float32 over at most 64 elements of a thread,
// then double; partial sums of blocks in a fixed order.
#include <cmath>

#include "core/context.h"
#include "core/packets.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int sums = 5;
constexpr std::int64_t most_blocks = 1056;

// --- sums -------------------------------------------------------------------------------------------------------------

// sigmoid(x) and 1 - sigmoid(x), each to full relative precision; e^-|x| besides.
__device__ __forceinline__ void sigmoid_pair(float x, float* probability, float* complement, float* small) {
  const float e = expf(-fabsf(x)), large = 1.0f / (1.0f + e), rest = e * large;
  *probability = x < 0.0f ? rest : large;
  *complement = x < 0.0f ? large : rest;
  *small = e;
}

__device__ __forceinline__ void add_terms(float x, float y, float m, float (&sum)[sums]) {
  float s, complement, e;
  sigmoid_pair(x, &s, &complement, &e);
  const float p = s * m, t = y * m, positive = x < 0.0f ? 0.0f : x;
  sum[0] += p * t;
  sum[1] += p * p;
  sum[2] += t * t;
  sum[3] += m * ((positive - y * x) + log1pf(e));
  sum[4] += m;
}

// A row of [rows, count] per blockIdx.y; partials [rows][blocks][5].
template <bool Masked, int size>
__global__ void __launch_bounds__(threads) sum_overlap(std::int64_t count, const float* logits, const float* target,
                                                       const float* mask, double* partials) {
  constexpr int flush = 16;
  logits += blockIdx.y * count;
  target += blockIdx.y * count;
  if (Masked) mask += blockIdx.y * count;
  const std::int64_t packets = count / size, step = static_cast<std::int64_t>(gridDim.x) * threads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  double total[sums] = {};
  for (std::int64_t begin = first; begin < packets; begin += flush * step) {
    float sum[sums] = {};
    const std::int64_t end = min(begin + flush * step, packets);
    for (std::int64_t i = begin; i < end; i += step) {
      packet<float, size> raw[3];
      float x[size], y[size], m[size];
      raw[0].load(logits + i * size);
      raw[1].load(target + i * size);
      if (Masked) raw[2].load(mask + i * size);
      raw[0].get(x);
      raw[1].get(y);
      if (Masked) raw[2].get(m);
#pragma unroll
      for (int k = 0; k < size; k++) add_terms(x[k], y[k], Masked ? m[k] : 1.0f, sum);
    }
#pragma unroll
    for (int k = 0; k < sums; k++) total[k] += sum[k];
  }
  // The last elements that fill no packet.
  if (const std::int64_t at = packets * size + first; at < count) {
    float sum[sums] = {};
    add_terms(logits[at], target[at], Masked ? mask[at] : 1.0f, sum);
#pragma unroll
    for (int k = 0; k < sums; k++) total[k] += sum[k];
  }
  __shared__ double warps[sums][threads / 32];
#pragma unroll
  for (int k = 0; k < sums; k++) {
    for (int shift = 16; shift > 0; shift /= 2) total[k] += shuffle_xor(total[k], shift);
    if (lane() == 0) warps[k][warp()] = total[k];
  }
  barrier();
  if (threadIdx.x < sums) {
    double sum = 0;
    for (int w = 0; w < threads / 32; w++) sum += warps[threadIdx.x][w];
    partials[(static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * sums + threadIdx.x] = sum;
  }
}

// One block per row, one warp per sum.
__global__ void __launch_bounds__(32 * sums) finish_overlap(int blocks, const double* partials, float* result) {
  partials += static_cast<std::int64_t>(blockIdx.x) * blocks * sums;
  double total = 0;
  for (int i = lane(); i < blocks; i += 32) total += partials[i * sums + warp()];
  for (int shift = 16; shift > 0; shift /= 2) total += shuffle_xor(total, shift);
  if (lane() == 0) result[blockIdx.x * sums + warp()] = static_cast<float>(total);
}

// Rows begin at multiples of 16 bytes only if there is one or each is whole packets.
bool in_packets(std::int64_t rows, std::int64_t count) { return rows == 1 || count % packet_size<float> == 0; }

versemi_status run_overlap_sums(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const overlap_sums_attributes call(attributes);
  const std::int64_t count = call.count, rows = call.rows;
  if (rows == 0) return ok();
  // Of the problem alone, so that the sums do not depend on the device. At least two packets per thread.
  std::int64_t blocks = divide_up(count, threads * 8);
  if (blocks > most_blocks) blocks = most_blocks;
  if (blocks < 1) blocks = 1;
  double* partials = device.scratch_of<double>(scratch_slot::partials, static_cast<std::size_t>(rows * blocks * sums));
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(rows * blocks * sums) * sizeof(double));
  constexpr int size = packet_size<float>;
  const bool masked = tensors[2].present(), wide = in_packets(rows, count);
  const auto kernel = masked ? (wide ? sum_overlap<true, size> : sum_overlap<true, 1>)
                             : (wide ? sum_overlap<false, size> : sum_overlap<false, 1>);
  const versemi_status status =
      launch(device, "overlap sums", kernel, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(rows)), dim3(threads), 0,
             count, floats(tensors[0]), floats(tensors[1]), floats(tensors[2]), partials);
  if (status.code != VERSEMI_OK) return status;
  return launch(device, "overlap sums, end", finish_overlap, dim3(static_cast<unsigned>(rows)), dim3(32 * sums), 0,
                static_cast<int>(blocks), partials, floats(tensors[3]));
}

// --- gradient of the sums -----------------------------------------------------------------------------------------------

struct overlap_call {
  const float *grad_sums, *logits, *target, *mask;
  float *grad_logits, *grad_target;
};

template <int Size>
__device__ __forceinline__ void overlap_gradient(const overlap_call& call, const float (&g)[sums], std::int64_t at) {
  packet<float, Size> raw[3];
  float x[Size], y[Size], m[Size];
  raw[0].load(call.logits + at);
  raw[1].load(call.target + at);
  raw[0].get(x);
  raw[1].get(y);
  if (call.mask != nullptr) {
    raw[2].load(call.mask + at);
    raw[2].get(m);
  }
#pragma unroll
  for (int k = 0; k < Size; k++) {
    if (call.mask == nullptr) m[k] = 1.0f;
    float s, complement, unused;
    sigmoid_pair(x[k], &s, &complement, &unused);
    const float p = s * m[k], t = y[k] * m[k];
    // s - y is a difference of nearly equal numbers where the network is sure and right: there it is -(1 - s).
    const float residual = y[k] == 1.0f ? -complement : s - y[k];
    const float to_target = m[k] * (g[0] * p + 2 * g[2] * t - g[3] * x[k]);
    x[k] = (g[0] * t + 2 * g[1] * p) * (s * complement * m[k]) + g[3] * m[k] * residual;
    y[k] = to_target;
  }
  if (call.grad_logits != nullptr) {
    raw[0].set(x);
    raw[0].store(call.grad_logits + at);
  }
  if (call.grad_target != nullptr) {
    raw[1].set(y);
    raw[1].store(call.grad_target + at);
  }
}

// A row per blockIdx.y.
template <int size>
__global__ void __launch_bounds__(threads) grad_overlap(std::int64_t count, overlap_call call) {
  float g[sums];
#pragma unroll
  for (int k = 0; k < sums; k++) g[k] = call.grad_sums[blockIdx.y * sums + k];
  const std::int64_t start = blockIdx.y * count;
  const std::int64_t packets = count / size, step = static_cast<std::int64_t>(gridDim.x) * threads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x;
  for (std::int64_t i = first; i < packets; i += step) overlap_gradient<size>(call, g, start + i * size);
  if (packets * size + first < count) overlap_gradient<1>(call, g, start + packets * size + first);
}

versemi_status run_overlap_sums_grad(context& device, const tensor* tensors, std::int32_t, const double* attributes,
                                     std::int32_t) {
  const overlap_sums_grad_attributes sizes(attributes);
  if (sizes.rows == 0) return ok();
  const overlap_call call = {floats(tensors[0]), floats(tensors[1]), floats(tensors[2]),
                             floats(tensors[3]), floats(tensors[4]), floats(tensors[5])};
  const auto kernel = in_packets(sizes.rows, sizes.count) ? grad_overlap<packet_size<float>> : grad_overlap<1>;
  const dim3 grid(grid_for(device, divide_up(sizes.count, 4), threads), static_cast<unsigned>(sizes.rows));
  return launch(device, "overlap sums, gradient", kernel, grid, dim3(threads), 0, sizes.count, call);
}

// --- aggregate ----------------------------------------------------------------------------------------------------------

struct aggregate_call {
  std::int64_t voxels, packets;  // packets: per sample
  int prompts, real;
  const float *grad_aggregate, *logits;
  float* result;
};

// The largest of the first `real` logits and which prompt first has it. The first NaN wins and stays.
template <int Size>
__device__ __forceinline__ void largest_logit(const aggregate_call& call, const float* logits, float (&best)[Size],
                                              int (&winner)[Size]) {
  packet<float, Size> raw;
  raw.load(logits);
  raw.get(best);
#pragma unroll
  for (int i = 0; i < Size; i++) winner[i] = 0;
#pragma unroll 4
  for (int k = 1; k < call.real; k++) {
    float x[Size];
    raw.load(logits + k * call.voxels);
    raw.get(x);
#pragma unroll
    for (int i = 0; i < Size; i++) {
      const bool wins = x[i] > best[i] || (x[i] != x[i] && best[i] == best[i]);
      best[i] = wins ? x[i] : best[i];
      winner[i] = wins ? k : winner[i];
    }
  }
}

template <int Size>
__global__ void __launch_bounds__(threads) aggregate(std::int64_t all, aggregate_call call) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * threads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x; i < all; i += step) {
    const std::int64_t sample = i / call.packets, voxel = i % call.packets * Size;
    float best[Size];
    int winner[Size];
    largest_logit<Size>(call, call.logits + sample * call.prompts * call.voxels + voxel, best, winner);
#pragma unroll
    for (int k = 0; k < Size; k++) {
      float complement, unused;
      sigmoid_pair(best[k], &best[k], &complement, &unused);
    }
    packet<float, Size> result;
    result.set(best);
    result.store(call.result + sample * call.voxels + voxel);
  }
}

template <int Size>
__global__ void __launch_bounds__(threads) grad_aggregate(std::int64_t all, aggregate_call call) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * threads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x; i < all; i += step) {
    const std::int64_t sample = i / call.packets, voxel = i % call.packets * Size;
    const std::int64_t first = sample * call.prompts * call.voxels + voxel;
    float best[Size], g[Size];
    int winner[Size];
    largest_logit<Size>(call, call.logits + first, best, winner);
    packet<float, Size> raw;
    raw.load(call.grad_aggregate + sample * call.voxels + voxel);
    raw.get(g);
#pragma unroll
    for (int k = 0; k < Size; k++) {
      float s, complement, unused;
      sigmoid_pair(best[k], &s, &complement, &unused);
      g[k] *= s * complement;
    }
    for (int prompt = 0; prompt < call.prompts; prompt++) {
      float own[Size];
#pragma unroll
      for (int k = 0; k < Size; k++) own[k] = winner[k] == prompt ? g[k] : 0.0f;
      raw.set(own);
      raw.store(call.result + first + prompt * call.voxels);
    }
  }
}

template <bool Gradient>
versemi_status run_aggregate(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const aggregate_attributes sizes(attributes);
  aggregate_call call;
  call.voxels = sizes.voxels;
  call.prompts = static_cast<int>(sizes.prompts);
  call.real = static_cast<int>(sizes.real);
  call.grad_aggregate = Gradient ? floats(tensors[0]) : nullptr;
  call.logits = floats(tensors[Gradient ? 1 : 0]);
  call.result = floats(tensors[Gradient ? 2 : 1]);
  constexpr int size = packet_size<float>;
  // Rows of the logits begin at multiples of 16 bytes only if they are whole packets.
  const bool wide = call.voxels % size == 0;
  call.packets = wide ? call.voxels / size : call.voxels;
  const std::int64_t all = sizes.n * call.packets;
  const auto kernel = Gradient ? (wide ? grad_aggregate<size> : grad_aggregate<1>) : (wide ? aggregate<size> : aggregate<1>);
  return launch(device, Gradient ? "aggregate, gradient" : "aggregate", kernel, dim3(grid_for(device, all, threads)), dim3(threads),
                0, all, call);
}

// --- rows ---------------------------------------------------------------------------------------------------------------

const kernel rows[] = {
    {VERSEMI_OVERLAP_SUMS, "loss", takes_all, nullptr, run_overlap_sums},
    {VERSEMI_OVERLAP_SUMS_GRAD, "loss", takes_all, nullptr, run_overlap_sums_grad},
    {VERSEMI_AGGREGATE_MAX, "loss", takes_all, nullptr, run_aggregate<false>},
    {VERSEMI_AGGREGATE_MAX_GRAD, "loss", takes_all, nullptr, run_aggregate<true>},
};

}  // namespace

kernel_rows loss_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
