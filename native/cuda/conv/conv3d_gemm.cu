// Convolutions as products of matrices (conv_gemm.h): every kernel and stride whose channels fill 16 bytes, in forward; grad-input
// where the stride is 1 or windows touch. Few rows and a long reduction (256 channels at 6^3): the reduction is split over blocks.
#include "conv/conv_gemm.h"
#include "conv/conv_pack.h"

namespace versemi {
namespace cuda {
namespace {

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

// `rows` rows of the grid as a move; D is what is left over.
gemm_move move_by(const int (&grid)[3], int rows) {
  const int lines = rows / grid[2];
  return {lines / grid[1], lines % grid[1], rows % grid[2]};
}

template <typename Shape>
versemi_status run(context& device, const conv_job& job, const gemm_plan& plan, conv_moment_slots* moments) {
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
  gemm.rows_32 = move_by(gemm.grid, 32);
  gemm.rows_8 = move_by(gemm.grid, 8);
  const int windows = scatter ? v.taps() : 1;
  gemm.channel_bytes = v.source_channels * (narrow(device) ? 2 : 4);
  gemm.rows = plan.rows;
  gemm.tiles = plan.tiles;
  gemm.run = plan.run;
  gemm.runs = plan.runs;
  gemm.columns = plan.columns;
  gemm.column_blocks = plan.column_blocks;
  gemm.groups = packed.groups;
  gemm.chunks = plan.chunks;
  gemm.chunks_per_split = plan.chunks_per_split;
  gemm.scatter = scatter;
  gemm.result_channels = v.result_channels;
  gemm.result_elements = v.n * v.result_voxels() * v.result_channels;

  gemm.source_data = static_cast<const unsigned char*>(job.source);
  gemm.weights = packed.words;
  gemm.result_data = job.result;
  if (plan.splits > 1) {
    const std::size_t values = static_cast<std::size_t>(plan.splits * gemm.result_elements);
    gemm.partials = device.scratch_of<float>(scratch_slot::partials, values);
    if (gemm.partials == nullptr) return out_of_memory(values * 4);
  } else {
    gemm.bias = job.bias;
    if (moments != nullptr) {
      const int slots = gemm.runs * windows;
      if (!take_moments(device, v, slots, moments))
        return out_of_memory(sizeof(conv_moments) * static_cast<std::size_t>(v.n) * static_cast<std::size_t>(slots * v.result_channels));
      gemm.moments = moments->moments;
    }
  }
  const dim3 grid(static_cast<unsigned>(std::int64_t{v.n} * gemm.runs * gemm.column_blocks), static_cast<unsigned>(plan.splits));
  status = launch(device, "convolution as a product", narrow(device) ? convolve_gemm<bf16_operands, Shape> : convolve_gemm<tf32_operands, Shape>,
                  grid, dim3(gemm_threads), Shape::shared_bytes, gemm);
  if (status.code != VERSEMI_OK || plan.splits == 1) return status;
  return finish_partials(device, job, gemm.partials, plan.splits, moments);
}

versemi_status convolve(context& device, const conv_job& job, conv_moment_slots* moments) {
  const device_properties& properties = device.properties();
  const gemm_plan plan = plan_gemm(job.view, narrow(device), properties.multiprocessors, properties.compute_capability);
  return plan.kind == gemm_kind::wide     ? run<gemm_wide>(device, job, plan, moments)
         : plan.kind == gemm_kind::medium ? run<gemm_medium>(device, job, plan, moments)
                                          : run<gemm_slim>(device, job, plan, moments);
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
