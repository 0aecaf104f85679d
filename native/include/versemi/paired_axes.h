// The axes along which two tensors are walked together, as few as possible: the source and the target of a copy, or the operands of
// an element-wise op. Functions are static: files that are compiled once per instruction set must share none (see cpu/simd.h).
#ifndef VERSEMI_PAIRED_AXES_H
#define VERSEMI_PAIRED_AXES_H

#include <cstdint>

#include "versemi/kernel_table.h"

namespace versemi {

// Strides in elements. A tiled tensor walks each of its axes as two.
struct paired_axes {
  int rank = 0;
  std::int64_t shape[2 * largest_rank] = {0}, a[2 * largest_rank] = {0}, b[2 * largest_rank] = {0};
};

// Appends an axis, outermost first. Axes of size 1 are left out; one that is contiguous with the axis before in both tensors is joined
// to it.
static inline void add_axis(paired_axes& axes, std::int64_t size, std::int64_t a, std::int64_t b) {
  if (size == 1) return;
  const int last = axes.rank - 1;
  const bool joins = last >= 0 && axes.a[last] == a * size && axes.b[last] == b * size;
  if (joins) axes.shape[last] *= size;
  else axes.shape[axes.rank++] = size;
  axes.a[axes.rank - 1] = a;
  axes.b[axes.rank - 1] = b;
}

// Of the operands of `binary` along its output.
static inline paired_axes axes_of(const binary_attributes& call) {
  paired_axes axes;
  for (std::int64_t i = 0; i < call.rank; i++) add_axis(axes, call.shape[i], call.a_stride[i], call.b_stride[i]);
  return axes;
}

}  // namespace versemi

#endif
