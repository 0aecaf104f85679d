// gradWeight on tensor cores, any kernel and stride, channels in blocks of 8, 16 or 32 (grad_weight_tiles.h): operands
// bfloat16 or TF32, sums float32.
//
// A block walks over its bricks; while it multiplies one, the copies of the next are in flight. Eight warps: `groups` of them
// share the units of rows, and as many times as that makes eight (`splits`) they share the voxels. A warp keeps up to 7 x 4
// tiles of 16 rows x 8 columns in registers over all bricks of its block; each 16 voxels cost it 7 + 2 ldmatrix.x4 (both
// operands lie voxel by voxel and are transposed on the way) for 28 mma. Partial sums per (chunk of bricks, split).
//
// Shared memory: tables of where rows come from (shared_tables), then two stages of
// [input rows][gradOutput rows] ([halo] behind them where rows are gathered). Rows are padded, see grad_weight_pitch.
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <type_traits>

#include "conv/conv3d_grad_weight.h"
#include "conv/grad_weight_tiles.h"
#include "core/packets.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = grad_weight_threads;

// Of a row in shared memory: coordinates in the brick (10 bits each), and voxels behind the first one in global memory.
struct row_place {
  unsigned voxel;
  int distance;
};

struct shared_tables {
  row_place *halo, *brick;
  int* window;    // first halo row of the window of a brick's voxel
  int* gathered;  // where a gathered row stands relative to a window, in numbers
};

struct brick_position {
  int sample, d, h, w;  // of the first output voxel
};

__device__ __forceinline__ brick_position position_of(const grad_weight_tiles& t, int brick) {
  const int w = brick % t.bricks[2], line = brick / t.bricks[2], h = line % t.bricks[1], plane = line / t.bricks[1];
  return {plane / t.bricks[0], plane % t.bricks[0] * t.brick[0], h * t.brick[1], w * t.brick[2]};
}

__device__ __forceinline__ int distance_of(unsigned voxel, const int (&size)[3]) {
  if (voxel == grad_weight_tiles::no_voxel) return 0;
  return (static_cast<int>(voxel >> 20) * size[1] + static_cast<int>(voxel >> 10 & 1023u)) * size[2] + static_cast<int>(voxel & 1023u);
}

__device__ __forceinline__ void fill_tables(const grad_weight_tiles& t, const shared_tables& tables) {
  for (int row = static_cast<int>(threadIdx.x); row < t.halo_rows; row += threads) {
    const unsigned voxel = t.halo_voxel(row);
    tables.halo[row] = {voxel, distance_of(voxel, t.shape.in)};
  }
  for (int row = static_cast<int>(threadIdx.x); row < t.brick_rows; row += threads) {
    const int w = row % t.brick[2], h = row / t.brick[2] % t.brick[1], d = row / t.brick[2] / t.brick[1];
    const bool real = d < t.brick[0];
    // Rows behind the last voxel have gradients of zero; they read the window of the first voxel.
    const unsigned voxel = real ? static_cast<unsigned>(d << 20 | h << 10 | w) : grad_weight_tiles::no_voxel;
    tables.brick[row] = {voxel, distance_of(voxel, t.shape.out)};
    tables.window[row] = real ? t.window_row(d, h, w) : 0;
  }
  if (!t.gather) return;
  const int channels = t.shape.in_channels;
  for (int row = static_cast<int>(threadIdx.x); row < t.gathered; row += threads) {
    // What stands behind the last row goes to rows of the product that nobody stores.
    tables.gathered[row] = row < t.shape.taps * channels ? t.tap_offset(row / channels) * channels + row % channels : 0;
  }
}

// Where a brick begins in a tensor, and which of its coordinates are inside: low <= coordinate < low + count.
struct brick_window {
  std::int64_t first;  // voxel of coordinates 0, 0, 0; maybe outside
  int low[3];
  unsigned count[3];

  __device__ __forceinline__ brick_window(int sample, const int (&begin)[3], const int (&limit)[3], const int (&size)[3]) {
    first = ((static_cast<std::int64_t>(sample) * size[0] + begin[0]) * size[1] + begin[1]) * size[2] + begin[2];
#pragma unroll
    for (int i = 0; i < 3; i++) {
      low[i] = max(0, -begin[i]);
      count[i] = static_cast<unsigned>(max(0, limit[i] - begin[i] - low[i]));
    }
  }
  // no_voxel is outside: no brick is 1023 voxels long.
  __device__ __forceinline__ bool inside(unsigned voxel) const {
    return (voxel >> 20) - static_cast<unsigned>(low[0]) < count[0] && (voxel >> 10 & 1023u) - static_cast<unsigned>(low[1]) < count[1] &&
           (voxel & 1023u) - static_cast<unsigned>(low[2]) < count[2];
  }
};

// Starts the copies of rows of 2^shift packets of 16 bytes; zeros outside.
template <typename T>
__device__ __forceinline__ void copy_rows(const row_place* places, int rows, int shift, const brick_window& window, const T* from,
                                          int channels, unsigned char* to, int pitch) {
  constexpr int packet = packet_size<T>;
  for (int i = static_cast<int>(threadIdx.x); i < rows << shift; i += threads) {
    const int row = i >> shift, part = i & ((1 << shift) - 1);
    const row_place place = places[row];
    const bool valid = window.inside(place.voxel);
    const T* source = from + (window.first + place.distance) * channels + part * packet;
    copy_async_16(to + row * pitch + part * 16, valid ? source : from, valid);
  }
}

// Starts the copies of a brick into a stage.
template <typename T, bool Gather>
__device__ __forceinline__ void load_brick(const grad_weight_tiles& t, const shared_tables& tables, const brick_position& at,
                                           const T* input, const T* grad_output, unsigned char* stage) {
  const grad_weight_shape& s = t.shape;
  const int out_begin[3] = {at.d, at.h, at.w};
  int in_begin[3], limit[3];
#pragma unroll
  for (int i = 0; i < 3; i++) {
    in_begin[i] = out_begin[i] * s.stride[i] - s.pad[i];
    // No voxel behind the last window is read: it is not part of the convolution.
    limit[i] = min(s.in[i], (s.out[i] - 1) * s.stride[i] - s.pad[i] + s.kernel[i]);
  }
  const brick_window in_window(at.sample, in_begin, limit, s.in), out_window(at.sample, out_begin, s.out, s.out);
  if (Gather) {
    T* halo = reinterpret_cast<T*>(stage + t.gather_offset);
    for (int row = static_cast<int>(threadIdx.x); row < t.halo_rows; row += threads) {
      const row_place place = tables.halo[row];
      const bool valid = in_window.inside(place.voxel);
      const T* source = input + (in_window.first + place.distance) * s.in_channels;
      for (int channel = 0; channel < s.in_channels; channel++) {
        T value;
        assign(value, 0.0f);
        if (valid) value = source[channel];
        halo[row * s.in_channels + channel] = value;
      }
    }
  } else {
    copy_rows(tables.halo, t.halo_rows, t.in_shift, in_window, input, s.in_channels, stage, t.in_pitch);
  }
  copy_rows(tables.brick, t.brick_rows, t.out_shift, out_window, grad_output, s.out_channels, stage + t.grad_offset, t.out_pitch);
}

__device__ __forceinline__ uint4 joined(const bf16 (&v)[8]) {
  const auto pair = [](bf16 low, bf16 high) { return low.bits | static_cast<std::uint32_t>(high.bits) << 16; };
  return make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
}
__device__ __forceinline__ float4 joined(const float (&v)[4]) { return make_float4(v[0], v[1], v[2], v[3]); }

// Row by row: the numbers of all taps and channels of a voxel's window.
template <typename T>
__device__ __forceinline__ void gather_rows(const grad_weight_tiles& t, const shared_tables& tables, unsigned char* stage) {
  constexpr int packet = packet_size<T>;
  const T* halo = reinterpret_cast<const T*>(stage + t.gather_offset);
  for (int part = 0; part < t.gathered / packet; part++) {
    int offsets[packet];
#pragma unroll
    for (int k = 0; k < packet; k++) offsets[k] = tables.gathered[part * packet + k];
    for (int voxel = static_cast<int>(threadIdx.x); voxel < t.brick_rows; voxel += threads) {
      const T* window = halo + tables.window[voxel] * t.shape.in_channels;
      T values[packet];
#pragma unroll
      for (int k = 0; k < packet; k++) values[k] = window[offsets[k]];
      cuda::packet<T, packet> result;
      result.raw = joined(values);
      result.store(reinterpret_cast<T*>(stage + voxel * t.in_pitch) + part * packet);
    }
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
__global__ void __launch_bounds__(threads, Tiles * Columns >= 28 || (Gather && Tiles > 2) ? 1 : 2)
    multiply_mma(const __grid_constant__ grad_weight_tiles t, const T* input, const T* grad_output, float* partials) {
  unsigned char* shared = shared_memory();
  shared_tables tables;
  tables.halo = reinterpret_cast<row_place*>(shared);
  tables.brick = tables.halo + t.halo_rows;
  tables.window = reinterpret_cast<int*>(tables.brick + t.brick_rows);
  tables.gathered = tables.window + t.brick_rows;
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

// The search for a brick costs the host 6 to 21 us, and a call asks three times (two rows refuse or not, one runs): what came
// out is kept. A device runs from one thread at a time, but there may be several devices.
bool grad_weight_cut(const context& device, const versemi_conv_problem& problem, bool narrow, grad_weight_tiles* t) {
  struct cut {
    bool fits;
    grad_weight_tiles tiles;
  };
  constexpr std::size_t sizes = sizeof problem / sizeof(std::int64_t);
  using cut_key = std::array<std::int64_t, sizes + 3>;
  static std::mutex mutex;
  static auto* const cuts = new std::map<cut_key, cut>;  // never destroyed: threads may outlive static objects
  const device_properties& properties = device.properties();
  cut_key key = {};
  std::memcpy(key.data(), &problem, sizeof problem);
  key[sizes] = narrow ? 1 : 0;
  key[sizes + 1] = properties.shared_bytes_per_block;
  key[sizes + 2] = properties.multiprocessors;
  const std::lock_guard<std::mutex> lock(mutex);
  auto found = cuts->find(key);
  if (found == cuts->end()) {
    cut made = {false, grad_weight_tiles(grad_weight_shape(problem))};
    made.fits = cut_grad_weight(&made.tiles, narrow, properties.shared_bytes_per_block, properties.multiprocessors);
    if (cuts->size() >= 1024) cuts->clear();
    found = cuts->emplace(key, made).first;
  }
  *t = found->second.tiles;
  return found->second.fits;
}

versemi_status grad_weight_mma(context& device, const grad_weight_call& call) {
  const bool narrow = call.format == storage::bfloat16;
  grad_weight_tiles t;
  if (!grad_weight_cut(device, call.problem, narrow, &t))
    return failure(VERSEMI_UNSUPPORTED, "gradWeight: the channels do not fit the tensor cores");
  const std::int64_t sums = static_cast<std::int64_t>(t.chunks) * t.splits;
  float* partials = grad_weight_partials(device, call, sums);
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(sums * versemi_conv_weight_count(&call.problem)) * sizeof(float));
  const versemi_status status = narrow ? start_bf16(device, call, t, partials) : start_tf32(device, call, t, partials);
  return status.code != VERSEMI_OK ? status : finish_grad_weight(device, call, partials, sums);
}

}  // namespace cuda
}  // namespace versemi
