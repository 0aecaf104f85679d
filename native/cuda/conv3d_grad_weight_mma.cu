// gradWeight on tensor cores, any kernel and stride, channels in blocks of 8, 16 or 32 (grad_weight_tiles.h): operands
// bfloat16 or TF32, sums float32.
//
// A block walks over its bricks; while it multiplies one, the copies of the next are in flight. Eight warps: `groups` of them
// share the units of rows, and as many times as that makes eight (`splits`) they share the voxels. A warp keeps up to 7 x 4
// tiles of 16 rows x 8 columns in registers over all bricks of its block; each 16 voxels cost it 7 + 2 ldmatrix.x4 (both
// operands lie voxel by voxel and are transposed on the way) for 28 mma. Partial sums per (chunk of bricks, split).
//
// Shared memory: tables (coordinates of halo rows; window row and coordinates of brick rows), then two stages of
// [input rows][gradOutput rows] ([halo] behind them where rows are gathered). Rows are padded, see grad_weight_pitch.
#include <type_traits>

#include "conv3d_grad_weight.h"
#include "grad_weight_tiles.h"
#include "packets.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = grad_weight_threads;

struct shared_tables {
  unsigned* halo;    // coordinates of a halo row
  int* window;       // first row of the window of a brick's voxel
  unsigned* voxel;   // its coordinates
};

struct brick_position {
  int sample, d, h, w;  // of the first output voxel
};

__device__ __forceinline__ brick_position position_of(const grad_weight_tiles& t, int brick) {
  const int w = brick % t.bricks[2], line = brick / t.bricks[2], h = line % t.bricks[1], plane = line / t.bricks[1];
  return {plane / t.bricks[0], plane % t.bricks[0] * t.brick[0], h * t.brick[1], w * t.brick[2]};
}

__device__ __forceinline__ void fill_tables(const grad_weight_tiles& t, const shared_tables& tables) {
  for (int row = static_cast<int>(threadIdx.x); row < t.halo_rows; row += threads) tables.halo[row] = t.halo_voxel(row);
  for (int row = static_cast<int>(threadIdx.x); row < t.brick_rows; row += threads) {
    const int w = row % t.brick[2], h = row / t.brick[2] % t.brick[1], d = row / t.brick[2] / t.brick[1];
    const bool real = d < t.brick[0];
    // Rows behind the last voxel have gradients of zero; they read the window of the first voxel.
    tables.voxel[row] = real ? static_cast<unsigned>(d << 20 | h << 10 | w) : grad_weight_tiles::no_voxel;
    tables.window[row] = real ? t.window_row(d, h, w) : 0;
  }
}

// Starts the copies of a brick into a stage.
template <typename T, bool Gather>
__device__ __forceinline__ void load_brick(const grad_weight_tiles& t, const shared_tables& tables, const brick_position& at,
                                           const T* input, const T* grad_output, unsigned char* stage) {
  constexpr int packet = packet_size<T>;
  const grad_weight_shape& s = t.shape;
  int first[3] = {at.d, at.h, at.w}, limit[3];
#pragma unroll
  for (int i = 0; i < 3; i++) {
    first[i] = first[i] * s.stride[i] - s.pad[i];
    // No voxel behind the last window is read: it is not part of the convolution.
    limit[i] = min(s.in[i], (s.out[i] - 1) * s.stride[i] - s.pad[i] + s.kernel[i]);
  }
  const std::int64_t sample = static_cast<std::int64_t>(at.sample) * s.in[0];
  const auto offset_of = [&](unsigned voxel, bool* valid) {
    const int d = first[0] + static_cast<int>(voxel >> 20), h = first[1] + static_cast<int>(voxel >> 10 & 1023u),
              w = first[2] + static_cast<int>(voxel & 1023u);
    *valid = d >= 0 && d < limit[0] && h >= 0 && h < limit[1] && w >= 0 && w < limit[2];
    return (((sample + d) * s.in[1] + h) * s.in[2] + w) * s.in_channels;
  };
  if (Gather) {
    T* halo = reinterpret_cast<T*>(stage + t.gather_offset);
    for (int i = static_cast<int>(threadIdx.x); i < t.halo_rows * s.in_channels; i += threads) {
      const unsigned voxel = tables.halo[i / s.in_channels];
      bool valid;
      const std::int64_t offset = offset_of(voxel, &valid) + i % s.in_channels;
      T value;
      assign(value, 0.0f);
      if (voxel != grad_weight_tiles::no_voxel && valid) value = input[offset];
      halo[i] = value;
    }
  } else {
    const int packets = t.in_block / packet;
    for (int i = static_cast<int>(threadIdx.x); i < t.halo_rows * packets; i += threads) {
      const int row = i / packets, part = i % packets;
      const unsigned voxel = tables.halo[row];
      if (voxel == grad_weight_tiles::no_voxel) continue;
      bool valid;
      const std::int64_t offset = offset_of(voxel, &valid) + part * packet;
      copy_async_16(stage + row * t.in_pitch + part * 16, valid ? input + offset : input, valid);
    }
  }
  const int packets = t.out_block / packet;
  const std::int64_t out_sample = static_cast<std::int64_t>(at.sample) * s.out[0];
  for (int i = static_cast<int>(threadIdx.x); i < t.brick_rows * packets; i += threads) {
    const int row = i / packets, part = i % packets;
    const unsigned voxel = tables.voxel[row];
    const int d = at.d + static_cast<int>(voxel >> 20), h = at.h + static_cast<int>(voxel >> 10 & 1023u),
              w = at.w + static_cast<int>(voxel & 1023u);
    const bool valid = voxel != grad_weight_tiles::no_voxel && d < s.out[0] && h < s.out[1] && w < s.out[2];
    const std::int64_t offset = (((out_sample + d) * s.out[1] + h) * s.out[2] + w) * s.out_channels + part * packet;
    copy_async_16(stage + t.grad_offset + row * t.out_pitch + part * 16, valid ? grad_output + offset : grad_output, valid);
  }
}

// Row by row: the numbers of all taps and channels of a voxel's window, zeros behind them.
template <typename T>
__device__ __forceinline__ void gather_rows(const grad_weight_tiles& t, const shared_tables& tables, unsigned char* stage) {
  constexpr int packet = packet_size<T>;
  const T* halo = reinterpret_cast<const T*>(stage + t.gather_offset);
  const int channels = t.shape.in_channels, rows = t.shape.taps * channels, packets = t.gathered / packet;
  // Neighbouring threads take neighbouring voxels: the tap is the same for a warp, and its 16-byte stores do not conflict.
  for (int i = static_cast<int>(threadIdx.x); i < t.brick_rows * packets; i += threads) {
    const int voxel = i % t.brick_rows, part = i / t.brick_rows;
    const T* window = halo + tables.window[voxel] * channels;
    float values[packet];
#pragma unroll
    for (int k = 0; k < packet; k++) {
      const int row = part * packet + k;
      values[k] = row < rows ? as_float(window[t.tap_offset(row / channels) * channels + row % channels]) : 0.0f;
    }
    cuda::packet<T, packet> result;
    result.set(values);
    result.store(reinterpret_cast<T*>(stage + voxel * t.in_pitch) + part * packet);
  }
}

// What a lane reads of each tile of rows: bytes from the row of its voxel. bfloat16: of the unit that its quarter of an
// ldmatrix.x4 loads. float32: of both units.
template <typename T, int Tiles>
struct tile_offsets {
  static constexpr bool narrow = sizeof(T) == 2;
  int at[Tiles][narrow ? 1 : 2];

  __device__ __forceinline__ tile_offsets(const grad_weight_tiles& t, int first_tile) {
#pragma unroll
    for (int i = 0; i < Tiles; i++)
#pragma unroll
      for (int half = 0; half < (narrow ? 1 : 2); half++) {
        int unit = 2 * (first_tile + i) + (narrow ? lane() >> 3 & 1 : half);
        if (unit >= t.units) unit = t.units - 1;  // results of it are not stored
        const int per_tap = t.gather ? t.units : t.in_block / 8;
        at[i][half] = (t.gather ? 0 : t.tap_offset(unit / per_tap) * t.in_pitch) + unit % per_tap * 8 * static_cast<int>(sizeof(T));
      }
  }
};

// Adds one brick's products to the sums, every `splits`-th step of 16 (TF32: 8) voxels.
template <typename T, int Tiles, int Columns>
__device__ __forceinline__ void multiply_brick(const grad_weight_tiles& t, const int* window, const tile_offsets<T, Tiles>& offsets,
                                               int split, const unsigned char* stage, float (&sums)[Tiles][Columns][4]) {
  const unsigned char* grad = stage + t.grad_offset;
  if constexpr (sizeof(T) == 2) {
    const int row_of_lane = (lane() & 7) + (lane() >> 4) * 8, grad_row_of_lane = lane() & 15;
    for (int k = split * 16; k < t.brick_rows; k += t.splits * 16) {
      std::uint32_t b[Columns][2];
      const unsigned char* grad_row = grad + (k + grad_row_of_lane) * t.out_pitch;
      if constexpr (Columns == 1) {
        ldmatrix_x2_trans(b[0], grad_row);
      } else {
#pragma unroll
        for (int j = 0; j < Columns; j += 2) {
          std::uint32_t pair[4];
          ldmatrix_x4_trans(pair, grad_row + (j + (lane() >> 4)) * 16);
          b[j][0] = pair[0], b[j][1] = pair[1], b[j + 1][0] = pair[2], b[j + 1][1] = pair[3];
        }
      }
      const int row = k + row_of_lane;
      const unsigned char* in_row = stage + (t.gather ? row : window[row]) * t.in_pitch;
#pragma unroll
      for (int i = 0; i < Tiles; i++) {
        std::uint32_t a[4];
        ldmatrix_x4_trans(a, in_row + offsets.at[i][0]);
#pragma unroll
        for (int j = 0; j < Columns; j++) mma_bf16(sums[i][j], a, b[j]);
      }
    }
  } else {
    const int group = lane() >> 2, member = lane() & 3;
    for (int k = split * 8; k < t.brick_rows; k += t.splits * 8) {
      std::uint32_t b[Columns][2];
      const unsigned char* grad_row = grad + (k + member) * t.out_pitch + group * 4;
#pragma unroll
      for (int j = 0; j < Columns; j++) {
        b[j][0] = to_tf32(*reinterpret_cast<const float*>(grad_row + j * 32));
        b[j][1] = to_tf32(*reinterpret_cast<const float*>(grad_row + 4 * t.out_pitch + j * 32));
      }
      const int row = k + member;
      const unsigned char* low = stage + (t.gather ? row : window[row]) * t.in_pitch + group * 4;
      const unsigned char* high = stage + (t.gather ? row + 4 : window[row + 4]) * t.in_pitch + group * 4;
#pragma unroll
      for (int i = 0; i < Tiles; i++) {
        const std::uint32_t a[4] = {to_tf32(*reinterpret_cast<const float*>(low + offsets.at[i][0])),
                                    to_tf32(*reinterpret_cast<const float*>(low + offsets.at[i][1])),
                                    to_tf32(*reinterpret_cast<const float*>(high + offsets.at[i][0])),
                                    to_tf32(*reinterpret_cast<const float*>(high + offsets.at[i][1]))};
#pragma unroll
        for (int j = 0; j < Columns; j++) mma_tf32(sums[i][j], a, b[j]);
      }
    }
  }
}

// partials [chunks * splits][weights]. Block (x, y): chunk x; channels: block y % (blocks of input channels), then of output.
template <typename T, int Tiles, int Columns, bool Gather>
__global__ void __launch_bounds__(threads, Tiles * Columns >= 28 ? 1 : 2)
    multiply_mma(const __grid_constant__ grad_weight_tiles t, const T* input, const T* grad_output, float* partials) {
  unsigned char* shared = shared_memory();
  shared_tables tables;
  tables.halo = reinterpret_cast<unsigned*>(shared);
  tables.window = reinterpret_cast<int*>(tables.halo + t.halo_rows);
  tables.voxel = reinterpret_cast<unsigned*>(tables.window + t.brick_rows);
  fill_tables(t, tables);
  const int in_blocks = Gather ? 1 : t.shape.in_channels / t.in_block;
  const int in_first = static_cast<int>(blockIdx.y) % in_blocks * t.in_block, out_first = static_cast<int>(blockIdx.y) / in_blocks * t.out_block;
  input += in_first;
  grad_output += out_first;
  const int own_tiles = t.own_tiles(), first_tile = warp() % t.groups * own_tiles, split = warp() / t.groups;
  const tile_offsets<T, Tiles> offsets(t, first_tile);
  float sums[Tiles][Columns][4] = {};
  barrier();

  unsigned char* const stages = shared + t.table_bytes;
  int brick = static_cast<int>(blockIdx.x) * t.bricks_per_chunk;
  const int end = min(brick + t.bricks_per_chunk, t.all_bricks);
  load_brick<T, Gather>(t, tables, position_of(t, brick), input, grad_output, stages);
  copy_async_commit();
  for (int current = 0; brick < end; brick++, current ^= 1) {
    if (brick + 1 < end)
      load_brick<T, Gather>(t, tables, position_of(t, brick + 1), input, grad_output, stages + (current ^ 1) * t.stage_bytes);
    copy_async_commit();
    copy_async_wait<1>();
    barrier();
    unsigned char* const stage = stages + current * t.stage_bytes;
    if (Gather) {
      gather_rows<T>(t, tables, stage);
      barrier();
    }
    if (split < t.splits) multiply_brick<T, Tiles, Columns>(t, tables.window, offsets, split, stage, sums);
    barrier();
  }

  if (split >= t.splits) return;
  const int group = lane() >> 2, member = lane() & 3, channels = t.shape.out_channels;
  const int per_tap = Gather ? t.units : t.in_block / 8, rows = t.shape.taps * t.shape.in_channels;
  float* to = partials + (static_cast<std::int64_t>(blockIdx.x) * t.splits + split) * rows * channels + out_first + member * 2;
#pragma unroll
  for (int i = 0; i < Tiles; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int unit = 2 * (first_tile + i) + half;
      const int row = (Gather ? 0 : unit / per_tap * t.shape.in_channels + in_first) + unit % per_tap * 8 + group;
      if (i >= own_tiles || unit >= t.units || row >= rows) continue;
#pragma unroll
      for (int j = 0; j < Columns; j++)
        *reinterpret_cast<float2*>(to + static_cast<std::int64_t>(row) * channels + j * 8) =
            make_float2(sums[i][j][2 * half], sums[i][j][2 * half + 1]);
    }
}

template <typename T, int Tiles, int Columns, bool Gather>
versemi_status start(context& device, const grad_weight_call& call, const grad_weight_tiles& t, float* partials) {
  const int in_blocks = Gather ? 1 : t.shape.in_channels / t.in_block;
  const dim3 grid(static_cast<unsigned>(t.chunks), static_cast<unsigned>(in_blocks * (t.shape.out_channels / t.out_block)));
  return launch(device, "gradWeight, mma", multiply_mma<T, Tiles, Columns, Gather>, grid, dim3(threads),
                static_cast<std::size_t>(t.table_bytes + 2 * t.stage_bytes), t, static_cast<const T*>(call.input),
                static_cast<const T*>(call.grad_output), partials);
}

// The least instance that holds a warp's tiles; fewer of them for TF32, which is not the default.
versemi_status start_bf16(context& device, const grad_weight_call& call, const grad_weight_tiles& t, float* partials) {
  const int tiles = t.own_tiles();
  if (t.gather) {
    if (t.out_block == 8) return start<bf16, 7, 1, true>(device, call, t, partials);
    return tiles <= 2 ? start<bf16, 2, 2, true>(device, call, t, partials) : start<bf16, 7, 2, true>(device, call, t, partials);
  }
  if (t.out_block == 8) {
    if (tiles <= 2) return start<bf16, 2, 1, false>(device, call, t, partials);
    return start<bf16, 7, 1, false>(device, call, t, partials);
  }
  if (t.out_block == 16)
    return tiles <= 4 ? start<bf16, 4, 2, false>(device, call, t, partials) : start<bf16, 7, 2, false>(device, call, t, partials);
  return tiles <= 4 ? start<bf16, 4, 4, false>(device, call, t, partials) : start<bf16, 7, 4, false>(device, call, t, partials);
}

versemi_status start_tf32(context& device, const grad_weight_call& call, const grad_weight_tiles& t, float* partials) {
  if (t.gather)
    return t.out_block == 8 ? start<float, 7, 1, true>(device, call, t, partials) : start<float, 7, 2, true>(device, call, t, partials);
  if (t.out_block == 8) return start<float, 7, 1, false>(device, call, t, partials);
  return t.out_block == 16 ? start<float, 7, 2, false>(device, call, t, partials) : start<float, 7, 4, false>(device, call, t, partials);
}

}  // namespace

bool grad_weight_fits_mma(const context& device, const versemi_conv_problem& problem) {
  const device_properties& properties = device.properties();
  grad_weight_tiles t((grad_weight_shape(problem)));
  return cut_grad_weight(&t, device.operands() == precision::bfloat16, properties.shared_bytes_per_block, properties.multiprocessors);
}

versemi_status grad_weight_mma(context& device, const grad_weight_call& call) {
  const device_properties& properties = device.properties();
  const bool narrow = call.format == storage::bfloat16;
  grad_weight_tiles t((grad_weight_shape(call.problem)));
  if (!cut_grad_weight(&t, narrow, properties.shared_bytes_per_block, properties.multiprocessors))
    return failure(VERSEMI_UNSUPPORTED, "gradWeight: the channels do not fit the tensor cores");
  const std::int64_t sums = static_cast<std::int64_t>(t.chunks) * t.splits;
  float* partials = grad_weight_partials(device, call, sums);
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(sums * versemi_conv_weight_count(&call.problem)) * sizeof(float));
  const versemi_status status = narrow ? start_bf16(device, call, t, partials) : start_tf32(device, call, t, partials);
  return status.code != VERSEMI_OK ? status : finish_grad_weight(device, call, partials, sums);
}

}  // namespace cuda
}  // namespace versemi
