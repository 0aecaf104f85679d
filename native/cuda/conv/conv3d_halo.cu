// 3^3 convolutions of stride 1 with 16 or 32 source channels (halo-mma) or one (first-mma), forward and grad-input; kernels in
// conv_halo.h and conv_first.h.
#include "conv/conv_first.h"
#include "conv/conv_halo.h"
#include "conv/conv_pack.h"

namespace versemi {
namespace cuda {
namespace {

const char* refuses_3x3x3(const context& device, const conv_view& v) {
  if (device.operands() == precision::float32) return "exact float32 is wanted";
  if (v.form != conv_form::direct || !v.cube(3, 1)) return "only kernels 3x3x3 with stride 1";
  if (v.result_voxels() == 1) return "a result of one voxel is stored as float32";
  return nullptr;
}

std::int64_t filled(std::int64_t size, std::int64_t part) { return divide_up(size, part) * part; }

// --- 16 or 32 source channels -----------------------------------------------------------------------------------------

bool narrow(const context& device) { return device.operands() == precision::bfloat16; }
int voxel_bytes(const context& device, const conv_view& v) { return v.source_channels * (narrow(device) ? 2 : 4); }

const char* refuses_halo(const context& device, const conv_view& v) {
  const char* reason = refuses_3x3x3(device, v);
  if (reason != nullptr) return reason;
  if (v.source_channels != 16 && v.source_channels != 32) return "only 16 or 32 source channels";
  if (v.result_channels % 16 != 0) return "result channels are no multiple of 16";
  if (2 * std::int64_t{v.result[1]} * v.result[2] < filled(v.result[1], halo_rows) * filled(v.result[2], halo_width))
    return "tiles of 8 x 16 voxels would be less than half full";
  if (halo_ring * halo_slice_bytes(voxel_bytes(device, v)) + 4096 > device.properties().shared_bytes_per_block)
    return "too little shared memory";
  return nullptr;
}

template <typename Operands, int channel_steps>
versemi_status run_halo(context& device, const halo_job& job, int tiles, dim3 grid) {
  const std::size_t shared = halo_ring * halo_slice_bytes(32 * channel_steps);
  return launch(device, "halo convolution",
                tiles == 4 ? convolve_halo<Operands, channel_steps, 4> : convolve_halo<Operands, channel_steps, 2>, grid,
                dim3(halo_threads), shared, job);
}

versemi_status convolve_with_halo(context& device, const conv_job& job, conv_moment_slots* moments) {
  const conv_view& v = job.view;
  const int tiles = v.result_channels % 32 == 0 ? 4 : 2, groups = v.result_channels / (8 * tiles);
  packed_weights packed;
  const versemi_status status = pack_weights(device, job, pack_order::halo, tiles, narrow(device), &packed);
  if (status.code != VERSEMI_OK) return status;

  halo_job halo{};
  for (int i = 0; i < 3; i++) {
    halo.source[i] = v.source[i];
    halo.result[i] = v.result[i];
    halo.pad[i] = v.pad[i];
  }
  halo.channel_bytes = voxel_bytes(device, v);
  halo.result_channels = v.result_channels;
  halo.columns_h = static_cast<int>(divide_up(v.result[1], halo_rows));
  halo.columns_w = static_cast<int>(divide_up(v.result[2], halo_width));
  halo.steps = static_cast<int>(divide_up(v.result[0], 2));
  const std::int64_t columns = std::int64_t{v.n} * halo.columns_h * halo.columns_w;
  halo.units = columns * halo.steps;
  // As many blocks as run at a time, each at least two steps, which share two of six slices.
  const device_properties& properties = device.properties();
  const int bytes = halo_ring * halo_slice_bytes(halo.channel_bytes) + 3072;
  std::int64_t resident = (properties.shared_bytes_per_block + 1024) / bytes;
  const std::int64_t by_registers = halo_resident(tiles);
  resident = resident < 1 ? 1 : resident > by_registers ? by_registers : resident;
  std::int64_t blocks = divide_up(resident * properties.multiprocessors, groups);
  if (blocks > divide_up(halo.units, 2)) blocks = divide_up(halo.units, 2);
  halo.sharers = static_cast<int>(most_sharers(halo.units, blocks, halo.steps));
  if (moments != nullptr) {
    const int slots = halo.columns_h * halo.columns_w * halo.sharers;
    if (!take_moments(device, v, slots, moments))
      return out_of_memory(sizeof(conv_moments) * static_cast<std::size_t>(v.n) * static_cast<std::size_t>(slots * v.result_channels));
    halo.moments = moments->moments;
  }
  halo.source_data = static_cast<const unsigned char*>(job.source);
  halo.weights = packed.words;
  halo.bias = job.bias;
  halo.result_data = job.result;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(groups));
  if (narrow(device))
    return v.source_channels == 32 ? run_halo<bf16_operands, 2>(device, halo, tiles, grid) : run_halo<bf16_operands, 1>(device, halo, tiles, grid);
  return v.source_channels == 32 ? run_halo<tf32_operands, 4>(device, halo, tiles, grid) : run_halo<tf32_operands, 2>(device, halo, tiles, grid);
}

// --- one source channel -----------------------------------------------------------------------------------------------

const char* refuses_first(const context& device, const conv_view& v) {
  const char* reason = refuses_3x3x3(device, v);
  if (reason != nullptr) return reason;
  if (v.source_channels != 1) return "only one source channel";
  if (v.result_channels != 8 && v.result_channels != 16 && v.result_channels != 32) return "only 8, 16 or 32 result channels";
  return nullptr;
}

template <typename Operands>
versemi_status run_first(context& device, const first_job& job, int tiles, dim3 grid) {
  return launch(device, "convolution of one channel",
                tiles == 4   ? convolve_first<Operands, 4>
                : tiles == 2 ? convolve_first<Operands, 2>
                             : convolve_first<Operands, 1>,
                grid, dim3(first_threads), 0, job);
}

versemi_status convolve_one_channel(context& device, const conv_job& job, conv_moment_slots* moments) {
  const conv_view& v = job.view;
  const int tiles = v.result_channels / 8;
  packed_weights packed;
  const versemi_status status = pack_weights(device, job, pack_order::first, tiles, narrow(device), &packed);
  if (status.code != VERSEMI_OK) return status;
  first_job first{};
  const int part[3] = {first_slices, first_rows, first_width};
  for (int i = 0; i < 3; i++) {
    first.source[i] = v.source[i];
    first.result[i] = v.result[i];
    first.pad[i] = v.pad[i];
    first.blocks[i] = static_cast<int>(divide_up(v.result[i], part[i]));
  }
  const int blocks = first.blocks[0] * first.blocks[1] * first.blocks[2];
  if (moments != nullptr) {
    if (!take_moments(device, v, blocks, moments))
      return out_of_memory(sizeof(conv_moments) * static_cast<std::size_t>(v.n) * static_cast<std::size_t>(blocks * v.result_channels));
    first.moments = moments->moments;
  }
  first.source_data = job.source;
  first.source_narrow = job.source_format == storage::bfloat16;
  first.weights = packed.words;
  first.bias = job.bias;
  first.result_data = job.result;
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(v.n));
  return narrow(device) ? run_first<bf16_operands>(device, first, tiles, grid) : run_first<tf32_operands>(device, first, tiles, grid);
}

constexpr conv_family halo_family = {refuses_halo, convolve_with_halo, false};
constexpr conv_family first_family = {refuses_first, convolve_one_channel, true};
constexpr kernel rows[] = {
    conv_row<halo_family, VERSEMI_CONV3D_FORWARD>::row("conv3d-halo"),
    conv_row<first_family, VERSEMI_CONV3D_FORWARD>::row("conv3d-first"),
    conv_row<halo_family, VERSEMI_CONV3D_GRAD_INPUT>::row("conv3d-halo"),
    conv_row<first_family, VERSEMI_CONV3D_GRAD_INPUT>::row("conv3d-first"),
    conv_row<halo_family, VERSEMI_CONV3D_NORM_RELU>::row("conv3d-halo"),
    conv_row<first_family, VERSEMI_CONV3D_NORM_RELU>::row("conv3d-first"),
};

}  // namespace

kernel_rows conv3d_halo_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
