// cut_patches and cut_mix: patches out of volumes and out of one another. What the rows of their tables mean stands in
// versemi/patch_table.h.
#include "dispatch.h"
#include "kernel_row.h"
#include "versemi/patch_table.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct patch_shape {
  std::int64_t n, extent[3];  // d, h, w
  template <typename Attributes>
  explicit patch_shape(const Attributes& of) : n(of.n), extent{of.d, of.h, of.w} {}
  std::int64_t lines() const { return n * extent[0] * extent[1]; }
  std::int64_t voxels() const { return extent[0] * extent[1] * extent[2]; }
};

// Calls body(patch, z, y, output of that line) for every line of every patch.
template <typename Body>
void each_line(versemi_context* context, const patch_shape& shape, float* output, Body body) {
  parallel_for(context, shape.lines(), [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t line = first; line < last; line++) {
      const std::int64_t y = line % shape.extent[1], rest = line / shape.extent[1];
      body(rest / shape.extent[0], rest % shape.extent[0], y, output + line * shape.extent[2]);
    }
  });
}

versemi_status cut_patches(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                           std::int32_t) {
  namespace buffer = cut_patches_buffer;
  const cut_patches_attributes of(attributes);
  const patch_shape shape(of);
  const std::int64_t total = of.total, lookups = of.lookups;
  const float *volumes = input(buffers[buffer::volumes]), *table = input(buffers[buffer::table]);
  const float* lookup = input(buffers[buffer::lookup]);
  each_line(context, shape, output(buffers[buffer::patches]), [&](std::int64_t patch, std::int64_t z, std::int64_t y, float* to) {
    const patch_line line = line_of_patch(table + patch * patch_row_length, total, shape.extent, z, y);
    for (std::int64_t x = 0; x < shape.extent[2]; x++) {
      const bool inside = x >= line.first_x && x < line.last_x;
      to[x] = looked_up(inside ? volumes[line.first + x * line.step] : 0.0f, lookup, lookups, line.lookup);
    }
  });
  return ok();
}

versemi_status cut_mix(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                       std::int32_t) {
  const cut_mix_attributes of(attributes);
  const patch_shape shape(of);
  const std::int64_t count = of.sources, voxels = shape.voxels();
  const float *patches = input(buffers[cut_mix_buffer::patches]), *table = input(buffers[cut_mix_buffer::table]);
  each_line(context, shape, output(buffers[cut_mix_buffer::mixes]), [&](std::int64_t mix, std::int64_t z, std::int64_t y, float* to) {
    const mix_line line = line_of_mix(table + mix * mix_row_length, z, y);
    const std::int64_t at = (z * shape.extent[1] + y) * shape.extent[2];
    for (std::int64_t x = 0; x < shape.extent[2]; x++)
      to[x] = patch_value(patches, count, voxels, x >= line.begin && x < line.end ? line.inside : line.outside, at + x);
  });
  return ok();
}

const versemi_kernel rows[] = {VERSEMI_ROW(VERSEMI_CUT_PATCHES, cut_patches), VERSEMI_ROW(VERSEMI_CUT_MIX, cut_mix)};

}  // namespace

kernel_rows patches_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
