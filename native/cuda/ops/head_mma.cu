// The dynamic head of width 8 on tensor cores, features stored as bfloat16: rows of an mma are 16 voxels, columns 8 features.
// A layer's result lies in the fragment in the way that the next layer reads it, so hidden layers never leave registers:
// two products and two conversions (with the ReLU in them) per layer and 16 voxels, where separate multiply-adds would be 64
// per voxel. Weights are split into two bfloat16 (16 bits); hidden layers and their gradients are rounded to bfloat16, as
// activations are everywhere; sums are float32.
//
// A warp takes 64 voxels at a time, four tiles; lane (g, t) has rows g and g + 8 of tile i: voxels 8 g + 2 i and 8 g + 2 i + 1,
// so that a lane's eight voxels are neighbours in the logits. Features pass through shared memory, 16 bytes per voxel in slot
// v ^ (v / 8 % 8): neither the copies nor the reads of voxels 8 apart then conflict.
#include "core/context.h"
#include "core/fragments.h"
#include "core/packets.h"
#include "ops/head_problem.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int tile_voxels = 64, tiles = 4;

// --- operands of one prompt -------------------------------------------------------------------------------------------------

// In shared memory, per prompt. Weights as fragments, a pair (large and small part) per lane.
struct forward_operands {
  uint2 w1[32], w2[32];      // columns are outputs: lane (g, t) has W[g][2t], W[g][2t + 1]
  uint2 w3[32];              // W3[1] - W3[0] in the column of the prompt, prompt % 8; zeros in the others
  float b1[8], b2[8], b3;
  float unused[15];
};
struct gradient_operands {
  uint2 w1[32], w2[32];
  uint2 w1_back[32], w2_back[32];  // columns are inputs: lane (g, t) has W[2t][g], W[2t + 1][g]
  float b1[8], b2[8], w3[8];       // w3: W3[1] - W3[0]
  float unused[8];
};

__device__ __forceinline__ uint2 split_pair(float low, float high) {
  uint2 pair;
  split_bf16(low, high, &pair.x, &pair.y);
  return pair;
}

// All prompts of a sample, a warp per prompt.
__device__ __forceinline__ void read_operands(const float* parameters, int prompts, int warps, forward_operands* to) {
  constexpr head_parameters at(8);
  const int g = lane() >> 2, t = 2 * (lane() & 3);
  for (int prompt = warp(); prompt < prompts; prompt += warps) {
    const float* p = parameters + prompt * at.count;
    forward_operands& own = to[prompt];
    own.w1[lane()] = split_pair(p[g * 8 + t], p[g * 8 + t + 1]);
    own.w2[lane()] = split_pair(p[at.w2 + g * 8 + t], p[at.w2 + g * 8 + t + 1]);
    const float* w3 = p + at.w3;
    own.w3[lane()] = g == prompt % 8 ? split_pair(w3[8 + t] - w3[t], w3[8 + t + 1] - w3[t + 1]) : make_uint2(0, 0);
    if (lane() < 8) {
      own.b1[lane()] = p[at.b1 + lane()];
      own.b2[lane()] = p[at.b2 + lane()];
    }
    if (lane() == 0) own.b3 = p[at.b3 + 1] - p[at.b3];
  }
}
__device__ __forceinline__ void read_operands(const float* parameters, int prompts, int warps, gradient_operands* to) {
  constexpr head_parameters at(8);
  const int g = lane() >> 2, t = 2 * (lane() & 3);
  for (int prompt = warp(); prompt < prompts; prompt += warps) {
    const float *p = parameters + prompt * at.count, *w2 = p + at.w2;
    gradient_operands& own = to[prompt];
    own.w1[lane()] = split_pair(p[g * 8 + t], p[g * 8 + t + 1]);
    own.w2[lane()] = split_pair(w2[g * 8 + t], w2[g * 8 + t + 1]);
    own.w1_back[lane()] = split_pair(p[t * 8 + g], p[t * 8 + 8 + g]);
    own.w2_back[lane()] = split_pair(w2[t * 8 + g], w2[t * 8 + 8 + g]);
    if (lane() < 8) {
      own.b1[lane()] = p[at.b1 + lane()];
      own.b2[lane()] = p[at.b2 + lane()];
      own.w3[lane()] = p[at.w3 + 8 + lane()] - p[at.w3 + lane()];
    }
  }
}

// d += a w, w in two parts.
__device__ __forceinline__ void multiply(float (&d)[4], std::uint32_t a0, std::uint32_t a1, uint2 w) {
  mma_bf16_k8(d, a0, a1, w.y);
  mma_bf16_k8(d, a0, a1, w.x);
}

// bias + a w: the sums before the ReLU.
__device__ __forceinline__ void layer(float (&d)[4], const float2& bias, const std::uint32_t (&a)[2], uint2 w) {
  d[0] = d[2] = bias.x;
  d[1] = d[3] = bias.y;
  multiply(d, a[0], a[1], w);
}

// --- features ---------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ int slot_of(int voxel) { return voxel ^ (voxel >> 3 & 7); }

// Two voxels per lane, zeros behind the end.
__device__ __forceinline__ void read_voxels(const bf16* features, std::int64_t left, uint4 (&raw)[2]) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int voxel = lane() + i * 32;
    raw[i] = make_uint4(0, 0, 0, 0);
    if (voxel < left) raw[i] = load_once(reinterpret_cast<const uint4*>(features) + voxel);
  }
}

// Registers -> shared memory -> fragments x[tile][half].
__device__ __forceinline__ void to_fragments(const uint4 (&raw)[2], uint4* own, std::uint32_t (&x)[tiles][2]) {
  own[slot_of(lane())] = raw[0];
  own[slot_of(lane() + 32)] = raw[1];
  warp_barrier();
#pragma unroll
  for (int i = 0; i < tiles; i += 2) {
    // Lane l gives row l % 8 of matrix l / 8: (tile, half) = (i + l / 16, l / 8 % 2).
    std::uint32_t r[4];
    ldmatrix_x4(r, own + slot_of((lane() & 7) * 8 + 2 * i + (lane() >> 3)));
    x[i][0] = r[0], x[i][1] = r[1], x[i + 1][0] = r[2], x[i + 1][1] = r[3];
  }
}

// --- forward ----------------------------------------------------------------------------------------------------------------

constexpr int forward_warps = 8;

// Block (x, y): tiles 8 x + warp, + 8 gridDim.x, ... of sample y. Shared memory: operands of all prompts; 1 KiB per warp.
__global__ void __launch_bounds__(forward_warps * 32, 2) forward_mma(head_problem p, const bf16* features, const float* parameters,
                                                                     float* logits) {
  unsigned char* shared = shared_memory();
  forward_operands* operands = reinterpret_cast<forward_operands*>(shared);
  uint4* own = reinterpret_cast<uint4*>(operands + p.prompts) + warp() * tile_voxels;
  const std::int64_t sample = blockIdx.y;
  read_operands(parameters + sample * p.prompts * head_parameters(8).count, p.prompts, forward_warps, operands);
  barrier();
  features += sample * p.voxels * 8;
  logits += sample * p.prompts * p.voxels;
  const bool aligned = p.voxels % 4 == 0;
  const int g = lane() >> 2, t = 2 * (lane() & 3);
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * forward_warps * tile_voxels;
  std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * forward_warps + warp()) * tile_voxels;
  uint4 raw[2];
  if (first < p.voxels) read_voxels(features + first * 8, p.voxels - first, raw);
  for (; first < p.voxels; first += step) {
    std::uint32_t x[tiles][2];
    to_fragments(raw, own, x);
    const std::int64_t next = first + step;
    if (next < p.voxels) read_voxels(features + next * 8, p.voxels - next, raw);
    for (int group = 0; group < p.prompts; group += 8) {
      const int prompts = min(8, p.prompts - group);
      float out[tiles][4];  // columns are prompts
      const float low = t < prompts ? operands[group + t].b3 : 0.0f, high = t + 1 < prompts ? operands[group + t + 1].b3 : 0.0f;
#pragma unroll
      for (int i = 0; i < tiles; i++) out[i][0] = out[i][2] = low, out[i][1] = out[i][3] = high;
      for (int k = 0; k < prompts; k++) {
        const forward_operands& w = operands[group + k];
        const uint2 w1 = w.w1[lane()], w2 = w.w2[lane()], w3 = w.w3[lane()];
        const float2 b1 = make_float2(w.b1[t], w.b1[t + 1]), b2 = make_float2(w.b2[t], w.b2[t + 1]);
#pragma unroll
        for (int i = 0; i < tiles; i++) {
          float h[4];
          layer(h, b1, x[i], w1);
          const std::uint32_t h1[2] = {pack_relu_bf16(h[0], h[1]), pack_relu_bf16(h[2], h[3])};
          layer(h, b2, h1, w2);
          multiply(out[i], pack_relu_bf16(h[0], h[1]), pack_relu_bf16(h[2], h[3]), w3);
        }
      }
#pragma unroll
      for (int column = 0; column < 2; column++) {
        if (t + column >= prompts) continue;
        const std::int64_t at = first + g * 8;
        float* to = logits + (group + t + column) * p.voxels + at;
        float values[8];
#pragma unroll
        for (int i = 0; i < tiles; i++) values[2 * i] = out[i][column], values[2 * i + 1] = out[i][column + 2];
        if (aligned && p.voxels - at >= 8) {
          *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
          *reinterpret_cast<float4*>(to + 4) = make_float4(values[4], values[5], values[6], values[7]);
        } else {
#pragma unroll
          for (int i = 0; i < 8; i++)
            if (at + i < p.voxels) to[i] = values[i];
        }
      }
    }
    warp_barrier();  // the fragments are read before the slots are written again
  }
}

// --- gradient ---------------------------------------------------------------------------------------------------------------

constexpr int gradient_warps = 4;
// Floats that a lane sums per prompt: W2, W1 (two each), b2, b1, W3 (two), b3.
constexpr int lane_sums = 9;

__device__ __forceinline__ void read_gradients(const float* from, std::int64_t left, bool aligned, float (&values)[8]) {
  if (aligned && left >= 8) {
    const float4 a = load_once(reinterpret_cast<const float4*>(from)), b = load_once(reinterpret_cast<const float4*>(from) + 1);
    values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
    values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) values[i] = i < left ? from[i] : 0.0f;
  }
}

// partials [n][chunks][prompts][head_sums]; block (chunk, sample). Shared memory: operands; per warp 1 KiB for features and
// lane_sums x 32 floats per prompt. The sums over the 16 voxels of a tile are products too: with d2, d1 (gradients before the
// ReLUs) transposed as the 16 rows, and as columns h1 (gives W2), x (gives W1), ones (gives b2, b1).
__global__ void __launch_bounds__(gradient_warps * 32, 4)
    gradient_mma(head_problem p, const float* grad_logits, const bf16* features, const float* parameters, bf16* grad_features,
                 float* partials) {
  unsigned char* shared = shared_memory();
  gradient_operands* operands = reinterpret_cast<gradient_operands*>(shared);
  uint4* slots = reinterpret_cast<uint4*>(operands + p.prompts);
  uint4* own = slots + warp() * tile_voxels;
  float* all_sums = reinterpret_cast<float*>(slots + gradient_warps * tile_voxels);  // [warp][prompt][lane_sums][32]
  float* sums = all_sums + warp() * p.prompts * lane_sums * 32 + lane();
  const std::int64_t sample = blockIdx.y;
  read_operands(parameters + sample * p.prompts * head_parameters(8).count, p.prompts, gradient_warps, operands);
  for (int i = 0; i < p.prompts * lane_sums; i++) sums[i * 32] = 0;
  barrier();
  features += sample * p.voxels * 8;
  grad_features += sample * p.voxels * 8;
  grad_logits += sample * p.prompts * p.voxels;
  const bool aligned = p.voxels % 4 == 0;
  const int g = lane() >> 2, t = 2 * (lane() & 3);
  const std::uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * gradient_warps * tile_voxels;
  for (std::int64_t first = (static_cast<std::int64_t>(blockIdx.x) * gradient_warps + warp()) * tile_voxels; first < p.voxels;
       first += step) {
    uint4 raw[2];
    read_voxels(features + first * 8, p.voxels - first, raw);
    std::uint32_t x[tiles][2];
    to_fragments(raw, own, x);
    float gx[tiles][4] = {};
    const float* from = grad_logits + first + g * 8;
    const std::int64_t left = p.voxels - first - g * 8;
    float grad[8], following[8];
    read_gradients(from, left, aligned, following);
    for (int prompt = 0; prompt < p.prompts; prompt++) {
#pragma unroll
      for (int i = 0; i < 8; i++) grad[i] = following[i];
      if (prompt + 1 < p.prompts) read_gradients(from + (prompt + 1) * p.voxels, left, aligned, following);
      const gradient_operands& w = operands[prompt];
      const float2 b1 = make_float2(w.b1[t], w.b1[t + 1]), b2 = make_float2(w.b2[t], w.b2[t + 1]),
                   w3 = make_float2(w.w3[t], w.w3[t + 1]);
      float by_h1[4] = {}, by_x[4] = {}, by_ones[4] = {}, s3[2] = {}, s0 = 0;
#pragma unroll
      for (int i = 0; i < tiles; i++) {
        const float low = grad[2 * i], high = grad[2 * i + 1];
        float h[4];
        layer(h, b1, x[i], w.w1[lane()]);
        const std::uint32_t h1[2] = {pack_relu_bf16(h[0], h[1]), pack_relu_bf16(h[2], h[3])};
        layer(h, b2, h1, w.w2[lane()]);
        // d2 = g w3 where h2 > 0
        const std::uint32_t d2[2] = {
            pack_bf16(low * w3.x, low * w3.y) & positive_mask(pack_relu_bf16(h[0], h[1])),
            pack_bf16(high * w3.x, high * w3.y) & positive_mask(pack_relu_bf16(h[2], h[3]))};
#pragma unroll
        for (int k = 0; k < 2; k++) {
          s3[k] += low * (h[k] < 0.0f ? 0.0f : h[k]);
          s3[k] += high * (h[k + 2] < 0.0f ? 0.0f : h[k + 2]);
        }
        s0 += low;
        s0 += high;
        float d[4] = {};
        multiply(d, d2[0], d2[1], w.w2_back[lane()]);
        const std::uint32_t d1[2] = {pack_bf16(d[0], d[1]) & positive_mask(h1[0]), pack_bf16(d[2], d[3]) & positive_mask(h1[1])};
        multiply(gx[i], d1[0], d1[1], w.w1_back[lane()]);
        const std::uint32_t rows[4] = {transpose_8x8(d2[0]), transpose_8x8(d1[0]), transpose_8x8(d2[1]), transpose_8x8(d1[1])};
        const std::uint32_t h1_columns[2] = {transpose_8x8(h1[0]), transpose_8x8(h1[1])};
        const std::uint32_t x_columns[2] = {transpose_8x8(x[i][0]), transpose_8x8(x[i][1])};
        mma_bf16(by_h1, rows, h1_columns);
        mma_bf16(by_x, rows, x_columns);
        mma_bf16(by_ones, rows, ones);
      }
      float* to = sums + prompt * lane_sums * 32;
      const float added[lane_sums] = {by_h1[0], by_h1[1], by_x[2], by_x[3], by_ones[0], by_ones[2], s3[0], s3[1], s0};
#pragma unroll
      for (int i = 0; i < lane_sums; i++) to[i * 32] += added[i];
    }
    // Back through the slots, so that whole voxels are stored.
    warp_barrier();
#pragma unroll
    for (int i = 0; i < tiles; i++)
#pragma unroll
      for (int half = 0; half < 2; half++)
        reinterpret_cast<std::uint32_t*>(own + slot_of(g * 8 + 2 * i + half))[lane() & 3] =
            pack_bf16(gx[i][2 * half], gx[i][2 * half + 1]);
    warp_barrier();
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int voxel = lane() + i * 32;
      if (first + voxel < p.voxels) reinterpret_cast<uint4*>(grad_features + first * 8)[voxel] = own[slot_of(voxel)];
    }
    warp_barrier();
  }
  barrier();

  // Warps in order; W3 and b3 over the eight lanes that have the same columns as well.
  constexpr head_sums at(8);
  float* to = partials + (sample * gridDim.x + blockIdx.x) * p.prompts * at.count;
  for (int i = static_cast<int>(threadIdx.x); i < p.prompts * at.count; i += gradient_warps * 32) {
    const int prompt = i / at.count, k = i % at.count;
    int slot, from, lanes = 1;  // lane of the first one, 4 apart
    if (k < at.w2) slot = 2 + (k & 1), from = k / 8 * 4 + k % 8 / 2;
    else if (k < at.w3) slot = k & 1, from = (k - at.w2) / 8 * 4 + k % 8 / 2;
    else if (k < at.b1) slot = 6 + (k & 1), from = (k - at.w3) / 2, lanes = 8;
    else if (k < at.b2) slot = 5, from = (k - at.b1) * 4;
    else if (k < at.b3) slot = 4, from = (k - at.b2) * 4;
    else slot = 8, from = 0, lanes = 8;
    float sum = 0;
    for (int source = 0; source < gradient_warps; source++)
      for (int l = 0; l < lanes; l++)
        sum += all_sums[((source * p.prompts + prompt) * lane_sums + slot) * 32 + from + 4 * l];
    to[i] = sum;
  }
}

}  // namespace

bool head_mma_fits(std::int64_t prompts) { return prompts <= 16; }

versemi_status head_forward_mma(context& device, const head_problem& p, const void* features, const float* parameters, float* logits) {
  const std::int64_t all = divide_up(p.voxels, forward_warps * tile_voxels);
  std::int64_t blocks = divide_up(static_cast<std::int64_t>(device.properties().multiprocessors) * 8, p.n);
  if (blocks > all) blocks = all;
  const std::size_t shared = static_cast<std::size_t>(p.prompts) * sizeof(forward_operands) + forward_warps * tile_voxels * 16;
  return launch(device, "dynamic head, mma", forward_mma, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(p.n)),
                dim3(forward_warps * 32), shared, p, static_cast<const bf16*>(features), parameters, logits);
}

std::int64_t head_gradient_chunks(const context& device, const head_problem& p) {
  const std::int64_t all = divide_up(p.voxels, gradient_warps * tile_voxels);
  const std::int64_t blocks = divide_up(static_cast<std::int64_t>(device.properties().multiprocessors) * 4, p.n);
  return blocks > all ? all : blocks;
}

versemi_status head_gradient_mma(context& device, const head_problem& p, const float* grad_logits, const void* features,
                                 const float* parameters, void* grad_features, float* partials, std::int64_t chunks) {
  const std::size_t shared = static_cast<std::size_t>(p.prompts) * (sizeof(gradient_operands) + gradient_warps * lane_sums * 128) +
                             gradient_warps * tile_voxels * 16;
  return launch(device, "dynamic head, gradient, mma", gradient_mma, dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(p.n)),
                dim3(gradient_warps * 32), shared, p, grad_logits, static_cast<const bf16*>(features), parameters,
                static_cast<bf16*>(grad_features), partials);
}

}  // namespace cuda
}  // namespace versemi
