// Convolutions as products of matrices (conv_gemm.h): every kernel and stride whose channels fill 16 bytes, in forward; grad-input
// where the stride is 1 or windows touch. Few rows and a long reduction (256 channels at 6^3): the reduction is split over blocks.
#include "conv_gemm.h"
#include "conv_pack.h"

namespace versemi {
namespace cuda {
namespace {

// Columns: more than 32, up to 32, up to 16.
using wide = gemm_shape<4, 2, 2, 4>;
using medium = gemm_shape<4, 4, 1, 3>;
using slim = gemm_shape<2, 4, 1, 3>;

bool narrow(const context& device) { return device.operands() == precision::bfloat16; }

const char* refuses(const context& device, const conv_view& v) {
  if (device.operands() == precision::float32) return "exact float32 is wanted";
  if (v.form == conv_form::gather) return "grad-input with a stride, of windows that do not touch";
  if (v.result_voxels() == 1) return "a result of one voxel is stored as float32";
  if (v.result_channels % 8 != 0) return "result channels are no multiple of 8";
  const std::int64_t bytes = std::int64_t{v.source_channels} * (narrow(device) ? 2 : 4);
  if (bytes % 16 != 0) return narrow(device) ? "source channels are no multiple of 8" : "source channels are no multiple of 4";
  for (int i = 0; i < 3; i++)
    if (v.kernel[i] > 8) return "a kernel larger than 8";
  if ((v.source_voxels() + std::int64_t{v.kernel[0]} * v.source[1] * v.source[2]) * (bytes / 16) >= std::int64_t{1} << 31 ||
      v.result_voxels() >= std::int64_t{1} << 30)
    return "a sample too large for 32-bit row offsets";
  return nullptr;
}

template <typename Shape>
versemi_status run(context& device, const conv_job& job, conv_moment_slots* moments) {
  const conv_view& v = job.view;
  const bool scatter = v.form == conv_form::scatter;
  packed_weights packed;
  versemi_status status = pack_weights(device, job, pack_order::flat, Shape::tiles, narrow(device), &packed);
  if (status.code != VERSEMI_OK) return status;

  gemm_job gemm{};
  for (int i = 0; i < 3; i++) {
    gemm.source[i] = v.source[i];
    gemm.grid[i] = scatter ? v.source[i] : v.result[i];
    gemm.kernel[i] = scatter ? 1 : v.kernel[i];
    gemm.stride[i] = scatter ? 1 : v.stride[i];
    gemm.pad[i] = scatter ? 0 : v.pad[i];
    gemm.window[i] = scatter ? v.kernel[i] : 1;
  }
  const int windows = scatter ? v.taps() : 1;
  gemm.channel_bytes = v.source_channels * (narrow(device) ? 2 : 4);
  gemm.rows = gemm.grid[0] * gemm.grid[1] * gemm.grid[2];
  gemm.tiles = static_cast<int>(divide_up(gemm.rows, Shape::rows));
  gemm.columns = v.result_channels * windows;
  gemm.column_blocks = static_cast<int>(divide_up(gemm.columns, Shape::columns));
  gemm.groups = packed.groups;
  gemm.chunks = packed.steps / 2;
  gemm.scatter = scatter;
  gemm.result_channels = v.result_channels;
  gemm.result_elements = v.n * v.result_voxels() * v.result_channels;

  // Three blocks are resident per multiprocessor. More tiles than four waves of them: a block makes several. Fewer than one
  // block per multiprocessor: the reduction is split, down to eight chunks, and the parts are added in order.
  const std::int64_t processors = device.properties().multiprocessors;
  const std::int64_t blocks = std::int64_t{v.n} * gemm.tiles * gemm.column_blocks;
  std::int64_t run = blocks / (processors * 12);
  run = run < 1 ? 1 : run > 16 ? 16 : run;
  gemm.run = static_cast<int>(run);
  gemm.runs = static_cast<int>(divide_up(gemm.tiles, run));
  std::int64_t splits = 1;
  if (blocks < processors) {
    splits = divide_up(2 * processors, blocks);
    const std::int64_t most = gemm.chunks / 8;
    splits = splits > most ? most : splits;
    splits = splits < 1 ? 1 : splits > 16 ? 16 : splits;
  }
  gemm.chunks_per_split = static_cast<int>(divide_up(gemm.chunks, splits));
  splits = divide_up(gemm.chunks, gemm.chunks_per_split);

  gemm.source_data = static_cast<const unsigned char*>(job.source);
  gemm.weights = packed.words;
  gemm.result_data = job.result;
  if (splits > 1) {
    gemm.partials = device.scratch_of<float>(conv_scratch_partials, static_cast<std::size_t>(splits * gemm.result_elements));
    if (gemm.partials == nullptr) return out_of_memory(static_cast<std::size_t>(splits * gemm.result_elements) * 4);
  } else {
    gemm.bias = job.bias;
    if (moments != nullptr) {
      const int slots = gemm.runs * windows;
      if (!take_moments(device, v, slots, moments))
        return out_of_memory(sizeof(conv_moments) * static_cast<std::size_t>(v.n) * static_cast<std::size_t>(slots * v.result_channels));
      gemm.moments = moments->moments;
    }
  }
  const dim3 grid(static_cast<unsigned>(std::int64_t{v.n} * gemm.runs * gemm.column_blocks), static_cast<unsigned>(splits));
  status = launch(device, "convolution as a product", narrow(device) ? convolve_gemm<bf16_operands, Shape> : convolve_gemm<tf32_operands, Shape>,
                  grid, dim3(gemm_threads), Shape::shared_bytes, gemm);
  if (status.code != VERSEMI_OK || splits == 1) return status;
  return finish_partials(device, job, gemm.partials, static_cast<int>(splits), moments);
}

versemi_status convolve(context& device, const conv_job& job, conv_moment_slots* moments) {
  const std::int64_t columns = std::int64_t{job.view.result_channels} * (job.view.form == conv_form::scatter ? job.view.taps() : 1);
  return columns > 32   ? run<wide>(device, job, moments)
         : columns > 16 ? run<medium>(device, job, moments)
                        : run<slim>(device, job, moments);
}

constexpr conv_family family = {refuses, convolve, false};
constexpr kernel rows[] = {
    conv_row<family, VERSEMI_CONV3D_FORWARD>::row("conv3d-gemm"),
    conv_row<family, VERSEMI_CONV3D_GRAD_INPUT>::row("conv3d-gemm"),
    conv_row<family, VERSEMI_CONV3D_NORM_RELU>::row("conv3d-gemm"),
};

}  // namespace

kernel_rows conv3d_gemm_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
