// 3^3 convolutions of stride 1 with few source channels. Only .cu files include this.
//
// A column is 8 rows x 16 voxels of the result, through all slices. A block marches along a column, two slices per step, with
// the source slices in a ring of six in shared memory: four that the step reads, two that are on their way for the next one.
// A source value is so read 1.4 times from memory (10 x 18 for 8 x 16) and used for all 27 taps. The steps of all columns
// are one row of units that is cut evenly among the blocks that the device holds at a time.
//
// A warp makes one slice x 4 rows x 16 voxels x all columns of the group. Per (kD, kW, 32 bytes of channels) it reads 6 source
// rows with one ldmatrix each and the weights of 3 kH, and multiplies every row with all kH that need it: with 32 columns 24 + 24
// wavefronts for 48 mma. Weights come through the first-level cache, one such group ahead, in registers.
//
// Shared memory: ring of 6 slices [10 rows][18 voxels][voxel bytes], 16-byte pieces swizzled by the place in the row.
#ifndef VERSEMI_CUDA_CONV_HALO_H
#define VERSEMI_CUDA_CONV_HALO_H

#include "conv/conv_device.h"

namespace versemi {
namespace cuda {

constexpr int halo_threads = 128, halo_rows = 8, halo_width = 16, halo_ring = 6;
constexpr int halo_source_rows = halo_rows + 2, halo_source_width = halo_width + 2, halo_warp_rows = 4;
// Blocks of a multiprocessor: with 32 columns the sums and weights of a thread leave room for two.
VERSEMI_TILE_FUNCTION int halo_resident(int tiles) { return tiles == 4 ? 2 : 3; }
VERSEMI_TILE_FUNCTION int halo_slice_bytes(int voxel_bytes) { return halo_source_rows * halo_source_width * voxel_bytes; }

struct halo_job {
  int source[3], result[3], pad[3];
  int channel_bytes;  // of a source voxel in memory; a multiple of 16
  int result_channels;
  int columns_h, columns_w, steps;  // of a sample; steps of a column
  std::int64_t units;
  int sharers;  // slots of a column
  const unsigned char* source_data;
  const std::uint32_t* weights;
  const float* bias;
  void* result_data;
  conv_moments* moments;
};

struct halo_column {
  int sample, h, w;  // of the result
};
__device__ __forceinline__ halo_column column_at(const halo_job& job, std::int64_t column) {
  const int per_sample = job.columns_h * job.columns_w, in_sample = static_cast<int>(column % per_sample);
  return halo_column{static_cast<int>(column / per_sample), in_sample / job.columns_w * halo_rows,
                     in_sample % job.columns_w * halo_width};
}

// Source slices `slice` and the next (counted with the padding before the first) to a place in the ring and the next.
template <int voxel_bytes>
__device__ __forceinline__ void fill_slices(const halo_job& job, halo_column column, int slice, unsigned char* ring, int place) {
  constexpr int pieces = voxel_bytes / 16;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < halo_source_rows * halo_source_width * pieces; i += halo_threads) {
    const int piece = i % pieces, voxel = i / pieces, w = voxel % halo_source_width;
    const int sw = column.w + w - job.pad[2], sh = column.h + voxel / halo_source_width - job.pad[1];
    const bool inside = sw >= 0 && sw < job.source[2] && sh >= 0 && sh < job.source[1] && piece * 16 < job.channel_bytes;
    unsigned char* to = ring + place * halo_slice_bytes(voxel_bytes) + voxel * voxel_bytes + swizzled(voxel_bytes, w, piece);
    const std::int64_t in_slice = (static_cast<std::int64_t>(sh) * job.source[2] + sw) * job.channel_bytes + piece * 16;
    const std::int64_t slice_bytes = static_cast<std::int64_t>(job.source[1]) * job.source[2] * job.channel_bytes;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int sd = slice + j - job.pad[0];
      const bool valid = inside && sd >= 0 && sd < job.source[0];
      const std::int64_t at = (static_cast<std::int64_t>(column.sample) * job.source[0] + sd) * slice_bytes + in_slice;
      copy_async_16(to + j * halo_slice_bytes(voxel_bytes), job.source_data + (valid ? at : 0), valid);
    }
  }
}

// The weights of one group: 3 kH x `tiles` n8 tiles.
template <int tiles>
__device__ __forceinline__ void take_group(std::uint32_t (&b)[3][tiles][2], const std::uint32_t* weights, int group) {
#pragma unroll
  for (int kh = 0; kh < 3; kh++) take_weights<tiles>(b[kh], weights + (group * 3 + kh) * step_words(tiles));
}

// sum[row][tile] += all taps, for the warp's slice, whose first source slice stands at `place` of the ring. `next`: weights of
// group 0 before and after.
template <typename Operands, int channel_steps, int tiles>
__device__ __forceinline__ void multiply_taps(float (&sum)[halo_warp_rows][tiles][4], std::uint32_t (&next)[3][tiles][2],
                                              const unsigned char* ring, int place, int first_row, const std::uint32_t* weights) {
  constexpr int voxel_bytes = 32 * channel_steps, row_bytes = halo_source_width * voxel_bytes, groups = 9 * channel_steps;
  const int row = fragment_row(lane());
#pragma unroll 1
  for (int kd = 0; kd < 3; kd++) {
    const int at = place + kd < halo_ring ? place + kd : place + kd - halo_ring;
    const unsigned char* slice = ring + at * halo_slice_bytes(voxel_bytes) + first_row * row_bytes;
#pragma unroll
    for (int kw = 0; kw < 3; kw++)
#pragma unroll(channel_steps > 2 ? 2 : channel_steps)
      for (int step = 0; step < channel_steps; step++) {
        std::uint32_t b[3][tiles][2];
#pragma unroll
        for (int kh = 0; kh < 3; kh++)
#pragma unroll
          for (int t = 0; t < tiles; t++) {
            b[kh][t][0] = next[kh][t][0];
            b[kh][t][1] = next[kh][t][1];
          }
        const int group = (kd * 3 + kw) * channel_steps + step;
        take_group<tiles>(next, weights, group + 1 == groups ? 0 : group + 1);
        const unsigned char* from = slice + (row + kw) * voxel_bytes + swizzled(voxel_bytes, row + kw, 2 * step + fragment_piece(lane()));
        std::uint32_t a[2][4];
        ldmatrix_x4(a[0], from);
#pragma unroll
        for (int r = 0; r < halo_warp_rows + 2; r++) {
          if (r < halo_warp_rows + 1) ldmatrix_x4(a[(r + 1) % 2], from + (r + 1) * row_bytes);
          Operands::round(a[r % 2]);
#pragma unroll
          for (int kh = 0; kh < 3; kh++) {
            if (r - kh < 0 || r - kh >= halo_warp_rows) continue;
#pragma unroll
            for (int t = 0; t < tiles; t++) Operands::multiply(sum[r - kh][t], a[r % 2], b[kh][t]);
          }
        }
      }
  }
}

// The moments of a column's piece, and empty ones for the slots of the column that no block fills.
template <int tiles>
__device__ __forceinline__ void flush_moments(const halo_job& job, thread_moments<2 * tiles>& moments,
                                              conv_moments (*table)[8 * tiles], std::int64_t column, bool last) {
  constexpr int channels = 8 * tiles;
  moments.gather(table[warp()], first_channel(tiles, lane()));
  barrier();
  const int c = static_cast<int>(threadIdx.x);
  if (c >= channels) return;
  const int piece = static_cast<int>(blockIdx.x - block_of_unit(job.units, gridDim.x, column * job.steps));
  conv_moments* slots = job.moments + column * job.sharers * job.result_channels + static_cast<int>(blockIdx.y) * channels + c;
  slots[static_cast<std::int64_t>(piece) * job.result_channels] = join_moments(halo_threads / 32, [&](int w) { return table[w][c]; });
  if (last)
    for (int empty = piece + 1; empty < job.sharers; empty++)
      slots[static_cast<std::int64_t>(empty) * job.result_channels] = conv_moments{0, 0, 0, 0};
}

// Grid (blocks, groups of 8 * tiles result channels).
template <typename Operands, int channel_steps, int tiles>
__global__ void __launch_bounds__(halo_threads, halo_resident(tiles)) convolve_halo(halo_job job) {
  using element = typename Operands::element;
  constexpr int voxel_bytes = 32 * channel_steps, held = 2 * tiles;
  __shared__ conv_moments table[halo_threads / 32][8 * tiles];
  unsigned char* ring = shared_memory();
  const std::int64_t end = first_unit(job.units, gridDim.x, blockIdx.x + 1);
  std::int64_t unit = first_unit(job.units, gridDim.x, blockIdx.x);
  if (unit == end) return;

  const int warp_slice = warp() >> 1, warp_row = (warp() & 1) * halo_warp_rows;
  const int channel = static_cast<int>(blockIdx.y) * 8 * tiles + first_channel(tiles, lane());
  const std::uint32_t* weights = job.weights + static_cast<std::int64_t>(blockIdx.y) * 27 * channel_steps * step_words(tiles);
  std::uint32_t b[3][tiles][2];
  take_group<tiles>(b, weights, 0);
  thread_moments<held> moments = {};

  std::int64_t column = unit / job.steps;
  int step = static_cast<int>(unit % job.steps), place = 0, pairs = 0;  // pairs of slices from `place` on that are loaded or on their way
  halo_column at = column_at(job, column);
  bool begins = true;
  for (; unit < end; unit++) {
    if (pairs < 2) {
      barrier();  // nobody reads the places any more
      for (int p = pairs; p < 2; p++) fill_slices<voxel_bytes>(job, at, 2 * (step + p), ring, (place + 2 * p) % halo_ring);
      copy_async_commit();
    }
    copy_async_wait<0>();
    barrier();
    const bool ends = step + 1 == job.steps;
    const halo_column next = ends ? column_at(job, column + 1) : at;
    if (unit + 1 < end) {
      fill_slices<voxel_bytes>(job, next, ends ? 0 : 2 * (step + 2), ring, (place + 4) % halo_ring);
      copy_async_commit();
    }

    float sum[halo_warp_rows][tiles][4] = {};
    const int d = 2 * step + warp_slice, h = at.h + warp_row;
    if (d < job.result[0] && h < job.result[1])
      multiply_taps<Operands, channel_steps, tiles>(sum, b, ring, (place + warp_slice) % halo_ring, warp_row, weights);

    const std::int64_t row_voxel = ((static_cast<std::int64_t>(at.sample) * job.result[0] + d) * job.result[1] + h) * job.result[2];
#pragma unroll
    for (int r = 0; r < halo_warp_rows; r++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float value[held];
#pragma unroll
        for (int c = 0; c < held; c++) value[c] = sum[r][c / 2][2 * half + c % 2];
        if (job.bias != nullptr)
#pragma unroll
          for (int c = 0; c < held; c++) value[c] += job.bias[channel + c];
        if (begins && r == 0 && half == 0 && job.moments != nullptr) moments.begin(value);
        const int w = at.w + 8 * half + (lane() >> 2);
        if (d >= job.result[0] || h + r >= job.result[1] || w >= job.result[2]) continue;
        const std::int64_t voxel = row_voxel + static_cast<std::int64_t>(r) * job.result[2] + w;
        store_row(static_cast<element*>(job.result_data) + voxel * job.result_channels + channel, value);
        if (job.moments != nullptr) moments.add(value);
      }
    begins = ends;
    if (job.moments != nullptr && (ends || unit + 1 == end)) flush_moments<tiles>(job, moments, table, column, ends);
    place = (place + (ends ? 4 : 2)) % halo_ring;
    pairs = ends ? 1 : 2;
    step = ends ? 0 : step + 1;
    column += ends ? 1 : 0;
    at = next;
  }
}

}  // namespace cuda
}  // namespace versemi

#endif
