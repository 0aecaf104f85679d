// cut_patches and cut_mix: patches out of volumes that lie on the device, and out of one another. What the rows of their tables
// mean stands in versemi/patch_table.h. A warp moves a line of a patch, so that reads and writes are of neighbours; the only
// arithmetic is that of addresses.
#include "core/elements.h"
#include "versemi/patch_table.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int lines_per_block = 8, lanes = 32;

struct patch_shape {
  std::int64_t n, extent[3];  // d, h, w
};

__global__ void __launch_bounds__(lines_per_block* lanes)
    cut_kernel(const float* volumes, const float* table, const float* lookup, float* output, std::int64_t total,
               std::int64_t lookups, const __grid_constant__ patch_shape shape) {
  const std::int64_t patch = blockIdx.z, z = blockIdx.y, width = shape.extent[2];
  const std::int64_t y = std::int64_t{blockIdx.x} * lines_per_block + threadIdx.x / lanes;
  if (y >= shape.extent[1]) return;
  const patch_line from = line_of_patch(table + patch * patch_row_length, total, shape.extent, z, y);
  float* to = output + ((patch * shape.extent[0] + z) * shape.extent[1] + y) * width;
  for (std::int64_t x = threadIdx.x % lanes; x < width; x += lanes) {
    const bool inside = x >= from.first_x && x < from.last_x;
    to[x] = looked_up(inside ? volumes[from.first + x * from.step] : 0.0f, lookup, lookups, from.lookup);
  }
}

__global__ void __launch_bounds__(lines_per_block* lanes)
    mix_kernel(const float* patches, const float* table, float* output, std::int64_t count,
               const __grid_constant__ patch_shape shape) {
  const int y = static_cast<int>(blockIdx.x) * lines_per_block + static_cast<int>(threadIdx.x) / lanes;
  if (y >= shape.extent[1]) return;
  const int width = static_cast<int>(shape.extent[2]);
  const std::int64_t voxels = shape.extent[0] * shape.extent[1] * width;
  const mix_line from = line_of_mix(table + blockIdx.z * mix_row_length, blockIdx.y, y);
  const std::int64_t first = (blockIdx.y * shape.extent[1] + y) * width;
  const int begin = static_cast<int>(from.begin), end = static_cast<int>(from.end);
  float* to = output + blockIdx.z * voxels + first;
  for (int x = static_cast<int>(threadIdx.x) % lanes; x < width; x += lanes)
    to[x] = patch_value(patches, count, voxels, x >= begin && x < end ? from.inside : from.outside, first + x);
}

template <typename Call>
patch_shape shape_of(const Call& call) {
  return {call.n, {call.d, call.h, call.w}};
}

// Lines of a plane, planes, patches.
dim3 grid_of(const patch_shape& shape) {
  return dim3(static_cast<unsigned>(divide_up(shape.extent[1], lines_per_block)), static_cast<unsigned>(shape.extent[0]),
              static_cast<unsigned>(shape.n));
}

template <typename Call>
const char* refuses_grid(const context&, const double* attributes, std::int32_t) {
  const Call call(attributes);
  if (call.n > 65535 || call.d > 65535) return "more than 65535 patches or planes";
  return call.h <= 1 << 30 && call.w <= 1 << 30 ? nullptr : "more than 2^30 voxels along an axis";
}

versemi_status cut_patches(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const cut_patches_attributes call(attributes);
  const patch_shape shape = shape_of(call);
  return launch(device, "cut patches", cut_kernel, grid_of(shape), dim3(lines_per_block * lanes), 0,
                floats(tensors[0]), floats(tensors[1]), floats(tensors[2]), floats(tensors[3]),
                call.total, call.lookups, shape);
}

versemi_status cut_mix(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const cut_mix_attributes call(attributes);
  const patch_shape shape = shape_of(call);
  return launch(device, "CutMix", mix_kernel, grid_of(shape), dim3(lines_per_block * lanes), 0, floats(tensors[0]),
                floats(tensors[1]), floats(tensors[2]), call.sources, shape);
}

// Everything float32: images stay exact, and nothing is converted.
const kernel rows[] = {
    {VERSEMI_CUT_PATCHES, "lines", refuses_grid<cut_patches_attributes>, nullptr, cut_patches},
    {VERSEMI_CUT_MIX, "lines", refuses_grid<cut_mix_attributes>, nullptr, cut_mix},
};

}  // namespace

kernel_rows patches_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
