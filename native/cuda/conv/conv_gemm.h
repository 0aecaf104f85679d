// Convolution as a product of matrices: rows are voxels of one sample, the reduction runs over (tap, source channel), columns
// are result channels. conv_form::direct reads a row's source voxels tap by tap; conv_form::scatter reads each source voxel once
// and has columns (tap, result channel), which its rows write to their places. Only .cu files include this.
//
// A block makes `run` tiles of rows, one after the other, of (64 warps_m) x (8 tiles warps_n); a warp 64 rows x 8 tiles columns. The
// reduction goes by chunks of 64 bytes (32 channels in bfloat16, 16 in TF32; a chunk may hold parts of several taps) through
// `stages` stages of cp.async, which run on from one tile to the next. Per chunk and warp 2 steps of 4 ldmatrix for the rows and
// tiles / 2 16-byte loads for the weights: with 4 tiles 24 wavefronts for 16 mma.
//
// Shared memory, per stage: rows [64 warps_m][64 bytes], 16-byte pieces swizzled; weights [warps_n][2 steps][step_words(tiles)].
#ifndef VERSEMI_CUDA_CONV_GEMM_H
#define VERSEMI_CUDA_CONV_GEMM_H

#include "conv/conv_device.h"
#include "conv/conv_gemm_plan.h"

namespace versemi {
namespace cuda {

// A number of rows as a move along D, H, W of the grid, each less than the grid is long (D: any).
struct gemm_move {
  int d, h, w;
};

struct gemm_job {
  int source[3], grid[3];  // grid: of the rows
  gemm_move rows_32, rows_8;
  int kernel[3], stride[3], pad[3];
  int channel_bytes;  // of a source voxel; a multiple of 16
  int rows;           // of a sample
  int tiles, run, runs;  // row tiles of a sample, tiles of a block, blocks along the rows of a sample
  int column_blocks, columns, groups, chunks, chunks_per_split;
  bool scatter;
  int window[3];  // scatter: voxels of the result per source voxel and axis
  int result_channels;
  std::int64_t result_elements;
  const unsigned char* source_data;
  const std::uint32_t* weights;
  const float* bias;
  void* result_data;
  float* partials;  // [split][result_elements], or nullptr: one split, results
  conv_moments* moments;  // [sample][run, tap][result_channels]
};

// A row as a place in the grid. Divisions are made once per tile; from row to row it is moved.
struct gemm_place {
  int d, h, w;
  __device__ __forceinline__ gemm_place(const gemm_job& job, int row) {
    const int line = row / job.grid[2];
    w = row - line * job.grid[2];
    d = line / job.grid[1];
    h = line - d * job.grid[1];
  }
  __device__ __forceinline__ void move(const gemm_job& job, const gemm_move& by) {
    w += by.w;
    h += by.h;
    d += by.d;
    if (w >= job.grid[2]) w -= job.grid[2], h++;
    if (h >= job.grid[1]) h -= job.grid[1], d++;
  }
};

// Bits k for which `first` + k is inside [0, size); k < kernel <= 8.
VERSEMI_TILE_FUNCTION unsigned taps_inside(int first, int size, int kernel) {
  const int low = first < 0 ? (-first < kernel ? -first : kernel) : 0;
  const int high = size - first < kernel ? (size - first > 0 ? size - first : 0) : kernel;
  return ((1u << high) - 1) & ~((1u << low) - 1);
}

// Brings rows of the source into a stage. A thread copies one of four 16-byte pieces of every 32nd row.
template <int rows>
struct gemm_reader {
  static constexpr int count = rows / 32;
  int offset[count];  // of the row's first source voxel (tap 0), in 16 bytes
  unsigned mask[count];  // bits 0..7, 8..15, 16..23: taps along D, H, W that are inside
  int kd, kh, kw, byte;  // what the thread's piece of the next chunk holds

  __device__ __forceinline__ void begin_tile(const gemm_job& job, int first_row, int first_chunk) {
    const int reduction = first_chunk * gemm_chunk_bytes + (static_cast<int>(threadIdx.x) & 3) * 16, tap = reduction / job.channel_bytes;
    byte = reduction % job.channel_bytes;
    kw = tap % job.kernel[2];
    kh = tap / job.kernel[2] % job.kernel[1];
    kd = tap / job.kernel[2] / job.kernel[1];
    const int row = first_row + (static_cast<int>(threadIdx.x) >> 2);
    gemm_place place(job, row);
#pragma unroll
    for (int i = 0; i < count; i++) {
      const int w = place.w * job.stride[2] - job.pad[2], h = place.h * job.stride[1] - job.pad[1], d = place.d * job.stride[0] - job.pad[0];
      offset[i] = ((d * job.source[1] + h) * job.source[2] + w) * (job.channel_bytes / 16);
      mask[i] = 0;
      if (row + 32 * i < job.rows)
        mask[i] = taps_inside(d, job.source[0], job.kernel[0]) | taps_inside(h, job.source[1], job.kernel[1]) << 8 |
                  taps_inside(w, job.source[2], job.kernel[2]) << 16;
      place.move(job, job.rows_32);
    }
  }
  // The next chunk.
  __device__ __forceinline__ void copy(const gemm_job& job, const unsigned char* sample, unsigned char* stage) {
    const int row = static_cast<int>(threadIdx.x) >> 2, piece = static_cast<int>(threadIdx.x) & 3;
    const int move = ((kd * job.source[1] + kh) * job.source[2] + kw) * (job.channel_bytes / 16) + byte / 16;
    const bool inside = kd < job.kernel[0];
#pragma unroll
    for (int i = 0; i < count; i++) {
      const bool valid = inside && (mask[i] >> kd & mask[i] >> (8 + kh) & mask[i] >> (16 + kw) & 1u) != 0;
      const std::int64_t at = valid ? static_cast<std::int64_t>(offset[i] + move) * 16 : 0;
      copy_async_16(stage + (row + 32 * i) * gemm_chunk_bytes + swizzled(gemm_chunk_bytes, row, piece), sample + at, valid);
    }
    byte += gemm_chunk_bytes;
    while (byte >= job.channel_bytes) {
      byte -= job.channel_bytes;
      if (++kw == job.kernel[2]) {
        kw = 0;
        if (++kh == job.kernel[1]) {
          kh = 0;
          kd++;
        }
      }
    }
  }
};

// Weights of one chunk for the groups of the block; zeros behind the last group.
template <typename Shape>
__device__ __forceinline__ void copy_weights(const gemm_job& job, int first_group, int chunk, unsigned char* stage) {
  constexpr int group_bytes = 2 * Shape::tiles * 256, pieces = Shape::warps_n * group_bytes / 16;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < pieces; i += gemm_threads) {
    const int group = i / (group_bytes / 16), piece = i % (group_bytes / 16);
    const bool valid = first_group + group < job.groups;
    const std::int64_t at = valid ? (static_cast<std::int64_t>(first_group + group) * job.chunks + chunk) * group_bytes + piece * 16 : 0;
    copy_async_16(stage + i * 16, reinterpret_cast<const unsigned char*>(job.weights) + at, valid);
  }
}

// Where the thread's columns of a row go: the first element.
struct gemm_writer {
  int channel, tap_d, tap_h, tap_w, tap;
  __device__ __forceinline__ void begin(const gemm_job& job, int column) {
    channel = job.scatter ? column % job.result_channels : column;
    tap = job.scatter ? column / job.result_channels : 0;
    tap_w = tap % job.window[2];
    tap_h = tap / job.window[2] % job.window[1];
    tap_d = tap / job.window[2] / job.window[1];
  }
  // `place`: of the row, for a scatter.
  __device__ __forceinline__ std::int64_t element(const gemm_job& job, int sample, int row, const gemm_place& place) const {
    if (!job.scatter) return (static_cast<std::int64_t>(sample) * job.rows + row) * job.result_channels + channel;
    const std::int64_t line = ((static_cast<std::int64_t>(sample) * job.grid[0] + place.d) * job.window[0] + tap_d) * job.grid[1] + place.h;
    const std::int64_t voxel = ((line * job.window[1] + tap_h) * job.grid[2] + place.w) * job.window[2] + tap_w;
    return voxel * job.result_channels + channel;
  }
};

// Grid (column blocks * runs * samples, splits); the column blocks of the same rows stand side by side.
template <typename Operands, typename Shape>
__global__ void __launch_bounds__(gemm_threads, gemm_resident) convolve_gemm(gemm_job job) {
  using element = typename Operands::element;
  constexpr int tiles = Shape::tiles, held = 2 * tiles, fragments = gemm_fragments;
  unsigned char* shared = shared_memory();
  const int column_block = static_cast<int>(blockIdx.x) % job.column_blocks, rest = static_cast<int>(blockIdx.x) / job.column_blocks;
  const int run = rest % job.runs, sample = rest / job.runs;
  const int warp_m = warp() / Shape::warps_n, warp_n = warp() % Shape::warps_n;
  const int first_tile = run * job.run, tile_count = min(job.run, job.tiles - first_tile);
  const int first_chunk = static_cast<int>(blockIdx.y) * job.chunks_per_split;
  const int chunk_count = min(job.chunks_per_split, job.chunks - first_chunk);
  const unsigned char* source = job.source_data + static_cast<std::int64_t>(sample) * job.source[0] * job.source[1] * job.source[2] * job.channel_bytes;

  gemm_reader<Shape::rows> reader;
  int read_tile = 0, read_chunk = 0, read_stage = 0;
  const auto read_next = [&] {
    if (read_tile < tile_count) {
      if (read_chunk == 0) reader.begin_tile(job, (first_tile + read_tile) * Shape::rows, first_chunk);
      unsigned char* stage = shared + read_stage * Shape::stage_bytes;
      reader.copy(job, source, stage);
      copy_weights<Shape>(job, column_block * Shape::warps_n, first_chunk + read_chunk, stage + Shape::row_bytes);
      read_stage = read_stage + 1 == Shape::stages ? 0 : read_stage + 1;
      if (++read_chunk == chunk_count) {
        read_chunk = 0;
        read_tile++;
      }
    }
    copy_async_commit();
  };
  for (int i = 0; i < Shape::stages - 1; i++) read_next();

  const int column = (column_block * Shape::warps_n + warp_n) * 8 * tiles + first_channel(tiles, lane());
  thread_moments<held> moments = {};
  int stage_index = 0;
  for (int tile = 0; tile < tile_count; tile++) {
    float sum[fragments][tiles][4] = {};
    for (int chunk = 0; chunk < chunk_count; chunk++) {
      copy_async_wait<Shape::stages - 2>();
      barrier();
      read_next();
      const unsigned char* stage = shared + stage_index * Shape::stage_bytes;
      stage_index = stage_index + 1 == Shape::stages ? 0 : stage_index + 1;
      const int row = fragment_row(lane());
#pragma unroll
      for (int step = 0; step < 2; step++) {
        std::uint32_t b[tiles][2], a[2][4];
        take_weights<tiles>(b, reinterpret_cast<const std::uint32_t*>(stage + Shape::row_bytes) + (warp_n * 2 + step) * step_words(tiles));
        const unsigned char* from = stage + (warp_m * 64 + row) * gemm_chunk_bytes + swizzled(gemm_chunk_bytes, row, 2 * step + fragment_piece(lane()));
        ldmatrix_x4(a[0], from);
#pragma unroll
        for (int m = 0; m < fragments; m++) {
          if (m + 1 < fragments) ldmatrix_x4(a[(m + 1) % 2], from + (m + 1) * 16 * gemm_chunk_bytes);
          Operands::round(a[m % 2]);
#pragma unroll
          for (int t = 0; t < tiles; t++) Operands::multiply(sum[m][t], a[m % 2], b[t]);
        }
      }
    }

    gemm_writer writer;  // made anew per tile: registers are short while products are summed
    writer.begin(job, column);
    float bias[held];
#pragma unroll
    for (int c = 0; c < held; c++) bias[c] = job.bias == nullptr || column >= job.columns ? 0.0f : job.bias[writer.channel + c];
    const int first_row = (first_tile + tile) * Shape::rows + warp_m * 64 + (lane() >> 2);
    gemm_place place(job, first_row);
#pragma unroll
    for (int m = 0; m < fragments; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float value[held];
#pragma unroll
        for (int c = 0; c < held; c++) value[c] = sum[m][c / 2][2 * half + c % 2] + bias[c];
        if (job.moments != nullptr && tile == 0 && m == 0 && half == 0) moments.begin(value);
        const int row = first_row + m * 16 + half * 8;
        const gemm_place here = place;
        place.move(job, job.rows_8);
        if (row >= job.rows || column >= job.columns) continue;
        const std::int64_t at = writer.element(job, sample, row, here);
        if (job.partials != nullptr)
          store_row(job.partials + static_cast<std::int64_t>(blockIdx.y) * job.result_elements + at, value);
        else
          store_row(static_cast<element*>(job.result_data) + at, value);
        if (job.moments != nullptr) moments.add(value);
      }
  }
  if (job.moments == nullptr) return;
  copy_async_wait<0>();
  barrier();  // the stages are free: a table of the sums
  conv_moments* table = reinterpret_cast<conv_moments*>(shared);
  moments.gather(table + warp_m * Shape::columns, warp_n * 8 * tiles + first_channel(tiles, lane()));
  barrier();
  const int own = static_cast<int>(threadIdx.x), own_column = column_block * Shape::columns + own;
  if (own >= Shape::columns || own_column >= job.columns) return;
  const int windows = job.window[0] * job.window[1] * job.window[2];
  gemm_writer writer;
  writer.begin(job, own_column);
  const std::int64_t slot = (static_cast<std::int64_t>(sample) * job.runs + run) * windows + writer.tap;
  job.moments[slot * job.result_channels + writer.channel] = join_moments(Shape::warps_m, [&](int w) { return table[w * Shape::columns + own]; });
}

}  // namespace cuda
}  // namespace versemi

#endif
