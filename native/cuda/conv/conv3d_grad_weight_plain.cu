// gradWeight of any convolution, without tensor cores: the specification on the device, and what precision::float32 runs.
// One matrix product: rows are (tap, input channel), columns output channels, the sum goes over the output voxels. A block
// makes 64 x 32 of it over a chunk of the voxels, 32 voxels at a time through shared memory. Besides, what all kernels of the
// family end with: ordered sums of the partial results, and gradBias.
#include "conv/conv3d_grad_weight.h"
#include "core/columns.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int threads = 256;
constexpr int tile_rows = 64, tile_columns = 32, tile_voxels = 32;

template <typename T>
__global__ void __launch_bounds__(threads) multiply_plain(grad_weight_shape shape, int voxels_per_chunk, const T* input,
                                                          const T* grad_output, float* partials) {
  __shared__ __align__(16) float a[tile_voxels][tile_rows];
  __shared__ __align__(16) float b[tile_voxels][tile_columns];
  __shared__ int corner[tile_voxels][4];  // sample, and position of the window's first voxel; sample -1: no voxel
  const int t = static_cast<int>(threadIdx.x);
  const int all_rows = shape.taps * shape.in_channels;
  // The row whose inputs this thread loads.
  const int row = static_cast<int>(blockIdx.x) * tile_rows + t % tile_rows, tap = row / shape.in_channels;
  const int channel = row % shape.in_channels, kw = tap % shape.kernel[2], kh = tap / shape.kernel[2] % shape.kernel[1],
            kd = tap / shape.kernel[2] / shape.kernel[1];
  const int column = static_cast<int>(blockIdx.y) * tile_columns + t % tile_columns;
  const int begin = static_cast<int>(blockIdx.z) * voxels_per_chunk, end = min(begin + voxels_per_chunk, shape.voxels);
  const int y = t / 16 * 4, x = t % 16 * 2;  // of the 4 x 2 results of this thread
  float total[4][2] = {};
  for (int first = begin; first < end; first += tile_voxels) {
    if (t < tile_voxels) {
      const int voxel = first + t, ow = voxel % shape.out[2], line = voxel / shape.out[2], oh = line % shape.out[1],
                plane = line / shape.out[1];
      corner[t][0] = voxel < end ? plane / shape.out[0] : -1;
      corner[t][1] = plane % shape.out[0] * shape.stride[0] - shape.pad[0];
      corner[t][2] = oh * shape.stride[1] - shape.pad[1];
      corner[t][3] = ow * shape.stride[2] - shape.pad[2];
    }
    barrier();
#pragma unroll 4
    for (int k = t / tile_rows; k < tile_voxels; k += threads / tile_rows) {
      const int d = corner[k][1] + kd, h = corner[k][2] + kh, w = corner[k][3] + kw;
      const bool inside = corner[k][0] >= 0 && row < all_rows && d >= 0 && d < shape.in[0] && h >= 0 && h < shape.in[1] &&
                          w >= 0 && w < shape.in[2];
      const std::int64_t line = (static_cast<std::int64_t>(corner[k][0]) * shape.in[0] + d) * shape.in[1] + h;
      a[k][t % tile_rows] = inside ? as_float(input[(line * shape.in[2] + w) * shape.in_channels + channel]) : 0.0f;
    }
#pragma unroll 4
    for (int k = t / tile_columns; k < tile_voxels; k += threads / tile_columns) {
      const bool inside = corner[k][0] >= 0 && column < shape.out_channels;
      b[k][t % tile_columns] =
          inside ? as_float(grad_output[static_cast<std::int64_t>(first + k) * shape.out_channels + column]) : 0.0f;
    }
    barrier();
    // 32 products in a row, then to the total: rounding grows with the tiles, not with the voxels.
    float sum[4][2] = {};
#pragma unroll 8
    for (int k = 0; k < tile_voxels; k++) {
      const float4 r = *reinterpret_cast<const float4*>(&a[k][y]);
      const float2 c = *reinterpret_cast<const float2*>(&b[k][x]);
      sum[0][0] += r.x * c.x, sum[0][1] += r.x * c.y;
      sum[1][0] += r.y * c.x, sum[1][1] += r.y * c.y;
      sum[2][0] += r.z * c.x, sum[2][1] += r.z * c.y;
      sum[3][0] += r.w * c.x, sum[3][1] += r.w * c.y;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) total[i][0] += sum[i][0], total[i][1] += sum[i][1];
    barrier();
  }
  float* to = partials + static_cast<std::int64_t>(blockIdx.z) * all_rows * shape.out_channels;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int r = static_cast<int>(blockIdx.x) * tile_rows + y + i;
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int c = static_cast<int>(blockIdx.y) * tile_columns + x + j;
      if (r < all_rows && c < shape.out_channels) to[static_cast<std::int64_t>(r) * shape.out_channels + c] = total[i][j];
    }
  }
}

// 32 weights per block; warp w adds the chunks w, w + 8, ...
__global__ void __launch_bounds__(threads) sum_partials(std::int64_t count, int chunks, const float* partials, float* result) {
  constexpr int warps = threads / 32;
  __shared__ double sums[warps][32];
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * 32 + lane();
  double sum = 0;
  if (i < count) {
#pragma unroll 8
    for (int c = warp(); c < chunks; c += warps) sum += partials[c * count + i];
  }
  sums[warp()][lane()] = sum;
  barrier();
  if (warp() != 0 || i >= count) return;
  for (int w = 1; w < warps; w++) sum += sums[w][lane()];
  result[i] = static_cast<float>(sum);
}

// Sums of gradOutput per channel; the second quantity of columns.h stays zero.
template <typename T, int Size>
__global__ void __launch_bounds__(column_threads) sum_channels(column_layout l, const T* grad_output, double* partials) {
  const column_part part(l);
  float sum[Size] = {};
  const T* const tensors[1] = {grad_output};
  for_each_row<T, Size>(l, part, tensors, [&](std::int64_t, const packet<T, Size>(&loaded)[1]) {
    float g[Size];
    loaded[0].get(g);
#pragma unroll
    for (int i = 0; i < Size; i++) sum[i] += g[i];
  });
  double quantities[2][Size];
#pragma unroll
  for (int i = 0; i < Size; i++) quantities[0][i] = sum[i], quantities[1][i] = 0;
  store_column_sums<Size>(l, part, quantities, partials);
}

__global__ void __launch_bounds__(128) finish_channels(column_layout l, const double* partials, float* result) {
  const int channel = static_cast<int>(blockIdx.x) * 4 + warp();
  if (channel >= l.channels) return;
  double sum, unused;
  gather_column(l, partials, 0, channel, &sum, &unused);
  if (lane() == 0) result[channel] = static_cast<float>(sum);
}

versemi_status grad_bias(context& device, const grad_weight_call& call) {
  const versemi_conv_problem& p = call.problem;
  const bool narrow = call.format == storage::bfloat16;
  const column_layout l(1, p.n * p.out[0] * p.out[1] * p.out[2], p.out_channels, narrow ? packet_size<bf16> : packet_size<float>);
  double* partials = device.scratch_of<double>(scratch_slot::partials, static_cast<std::size_t>(l.partials()));
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(l.partials()) * sizeof(double));
  const auto sum = [&](auto* kernel_function, auto* grad_output) {
    return launch(device, "gradBias", kernel_function, l.grid(), dim3(column_threads), 0, l, grad_output, partials);
  };
  const auto *halves = static_cast<const bf16*>(call.grad_output);
  const auto *singles = static_cast<const float*>(call.grad_output);
  const versemi_status status =
      narrow ? (l.packet == 1 ? sum(sum_channels<bf16, 1>, halves) : sum(sum_channels<bf16, packet_size<bf16>>, halves))
             : (l.packet == 1 ? sum(sum_channels<float, 1>, singles) : sum(sum_channels<float, packet_size<float>>, singles));
  if (status.code != VERSEMI_OK) return status;
  return launch(device, "gradBias, end", finish_channels, dim3(static_cast<unsigned>(divide_up(p.out_channels, 4))), dim3(128), 0,
                l, partials, call.grad_bias);
}

}  // namespace

float* grad_weight_partials(context& device, const grad_weight_call& call, std::int64_t chunks) {
  if (chunks == 1) return call.grad_weight;
  return device.scratch_of<float>(scratch_slot::partials,
                                  static_cast<std::size_t>(chunks * versemi_conv_weight_count(&call.problem)));
}

versemi_status finish_grad_weight(context& device, const grad_weight_call& call, const float* partials, std::int64_t chunks) {
  if (chunks > 1) {
    const std::int64_t count = versemi_conv_weight_count(&call.problem);
    const versemi_status status = launch(device, "gradWeight, end", sum_partials, dim3(static_cast<unsigned>(divide_up(count, 32))),
                                         dim3(threads), 0, count, static_cast<int>(chunks), partials, call.grad_weight);
    if (status.code != VERSEMI_OK) return status;
  }
  return call.grad_bias == nullptr ? ok() : grad_bias(device, call);
}

versemi_status grad_weight_plain(context& device, const grad_weight_call& call) {
  const grad_weight_shape shape(call.problem);
  const std::int64_t count = versemi_conv_weight_count(&call.problem);
  const std::int64_t rows = divide_up(static_cast<std::int64_t>(shape.taps) * shape.in_channels, tile_rows),
                     columns = divide_up(shape.out_channels, tile_columns), tiles = divide_up(shape.voxels, tile_voxels);
  std::int64_t chunks = grad_weight_chunks(rows * columns, tiles, count, 1056);
  const std::int64_t tiles_per_chunk = divide_up(tiles, chunks);
  chunks = divide_up(tiles, tiles_per_chunk);
  float* partials = grad_weight_partials(device, call, chunks);
  if (partials == nullptr) return out_of_memory(static_cast<std::size_t>(chunks * count) * sizeof(float));
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(columns), static_cast<unsigned>(chunks));
  const int voxels = static_cast<int>(tiles_per_chunk * tile_voxels);
  const versemi_status status =
      call.format == storage::bfloat16
          ? launch(device, "gradWeight, plain", multiply_plain<bf16>, grid, dim3(threads), 0, shape, voxels,
                   static_cast<const bf16*>(call.input), static_cast<const bf16*>(call.grad_output), partials)
          : launch(device, "gradWeight, plain", multiply_plain<float>, grid, dim3(threads), 0, shape, voxels,
                   static_cast<const float*>(call.input), static_cast<const float*>(call.grad_output), partials);
  return status.code != VERSEMI_OK ? status : finish_grad_weight(device, call, partials, chunks);
}

}  // namespace cuda
}  // namespace versemi
