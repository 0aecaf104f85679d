/* The tables of cut_patches and cut_mix (src/tfjs/table/kernel-table.ts) and what their rows mean, for every device. Tables are data,
 * not attributes: whatever they hold, nothing outside of the buffers is read. */
#ifndef VERSEMI_PATCH_TABLE_H
#define VERSEMI_PATCH_TABLE_H

#include <cstdint>

#include "versemi/kernel_table.h"

/* Static: the kernels of every instruction set include this, and the linker must not take one's copy for another (simd.h). */
#ifdef __CUDACC__
#define VERSEMI_PATCH_FUNCTION __host__ __device__ static inline
#else
#define VERSEMI_PATCH_FUNCTION static inline
#endif

namespace versemi {

/* A whole number of a table; NaN and what is far out of any range become one that is. */
VERSEMI_PATCH_FUNCTION std::int64_t table_number(float value) {
  return value >= -1e9f && value <= 1e9f ? static_cast<std::int64_t>(value) : std::int64_t{-1000000000};
}

/* One row (z, y) of one patch: where voxel x is read is first + x * step in the volumes, for first_x <= x < last_x. */
struct patch_line {
  std::int64_t first, step, first_x, last_x;
  std::int64_t lookup; /* table that values go through; -1: none */
};

/* row: offset (times 2^20 and rest), size xyz, begin xyz, swapped, flipped xyz, lookup. extent: of the patch, d h w. */
VERSEMI_PATCH_FUNCTION patch_line line_of_patch(const float* row, std::int64_t total, const std::int64_t (&extent)[3],
                                                std::int64_t z, std::int64_t y) {
  const std::int64_t offset = table_number(row[0]) * (std::int64_t{1} << 20) + table_number(row[1]);
  const std::int64_t size_x = table_number(row[2]), size_y = table_number(row[3]), size_z = table_number(row[4]);
  const bool swapped = row[8] != 0, flip_x = row[9] != 0;
  /* Along the axes of the volume that x and y of the patch run along. */
  const std::int64_t along_x = swapped ? size_y : size_x, along_y = swapped ? size_x : size_y;
  const std::int64_t stride_x = swapped ? size_x : 1, stride_y = swapped ? 1 : size_x;
  const std::int64_t volume_y = table_number(swapped ? row[5] : row[6]) + (row[10] != 0 ? extent[1] - 1 - y : y);
  const std::int64_t volume_z = table_number(row[7]) + (row[11] != 0 ? extent[0] - 1 - z : z);
  patch_line line = {0, 0, 0, 0, table_number(row[12])};
  const bool whole = offset >= 0 && size_x > 0 && size_y > 0 && size_z > 0 && size_x <= total && size_y <= total &&
                     size_z <= total &&
                     static_cast<double>(size_x) * static_cast<double>(size_y) * static_cast<double>(size_z) <=
                         static_cast<double>(total - offset);
  if (!whole || volume_y < 0 || volume_y >= along_y || volume_z < 0 || volume_z >= size_z) return line;
  /* Voxel x of the patch is voxel origin + x (or origin - x) along its axis of the volume. */
  const std::int64_t origin = table_number(swapped ? row[6] : row[5]) + (flip_x ? extent[2] - 1 : 0);
  const std::int64_t low = flip_x ? origin - along_x + 1 : -origin, high = flip_x ? origin + 1 : along_x - origin;
  line.first_x = low < 0 ? 0 : low > extent[2] ? extent[2] : low;
  line.last_x = high < line.first_x ? line.first_x : high > extent[2] ? extent[2] : high;
  line.step = flip_x ? -stride_x : stride_x;
  line.first = offset + volume_z * size_x * size_y + volume_y * stride_y + origin * stride_x;
  return line;
}

/* The value behind a label or a pair of labels: lookup holds `lookups` tables. */
VERSEMI_PATCH_FUNCTION float looked_up(float value, const float* lookup, std::int64_t lookups, std::int64_t table) {
  if (table < 0 || table >= lookups || lookup == nullptr) return value;
  if (!(value >= 0.0f && value < 16777216.0f)) return 0.0f;
  const float* entries = lookup + table * lookup_length;
  const std::int32_t pair = static_cast<std::int32_t>(value), share = pair >> 16;
  const float first = entries[pair & 255];
  if (share == 0) return first;
  /* With entries 0 and 1 all but the division is exact: every device gives the same bits, fused or not. */
  return first + (entries[pair >> 8 & 255] - first) * (static_cast<float>(share) / static_cast<float>(pair_shares));
}

/* Where (z, y) of a mix takes from: the patch `inside` for begin <= x < end, `outside` elsewhere. */
struct mix_line {
  std::int64_t outside, inside, begin, end;
};

/* row: outside, inside, begin xyz, size xyz */
VERSEMI_PATCH_FUNCTION mix_line line_of_mix(const float* row, std::int64_t z, std::int64_t y) {
  const std::int64_t begin_y = table_number(row[3]), begin_z = table_number(row[4]);
  const bool crosses = z >= begin_z && z < begin_z + table_number(row[7]) && y >= begin_y && y < begin_y + table_number(row[6]);
  const std::int64_t begin = table_number(row[2]);
  return {table_number(row[0]), table_number(row[1]), crosses ? begin : 0, crosses ? begin + table_number(row[5]) : 0};
}

/* Element `at` of patch `index` of `patches` with `voxels` voxels each; -1 is all 0, -2 all 1, any other number too is 0. */
VERSEMI_PATCH_FUNCTION float patch_value(const float* patches, std::int64_t count, std::int64_t voxels, std::int64_t index,
                                         std::int64_t at) {
  if (index >= 0 && index < count) return patches[index * voxels + at];
  return index == -2 ? 1.0f : 0.0f;
}

}  // namespace versemi

#endif
