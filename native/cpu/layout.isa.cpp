// Ops that move elements: transpose, slice, pad, concat, tile are all one strided copy, done in the longest contiguous
// runs there are.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int tile = 16;  // side of the blocks of a transposition: 16 floats are a cache line

// Runs of contiguous elements.
void copy_runs(versemi_context* context, const paired_axes& c, const float* x, float* y) {
  const int axes = c.rank - 1;
  const std::int64_t run = c.shape[axes];
  std::int64_t runs = 1;
  for (int i = 0; i < axes; i++) runs *= c.shape[i];
  const std::int64_t piece = smaller(run, task_elements), pieces = divide_up(run, piece);
  const std::int64_t together = larger<std::int64_t>(1, task_elements / piece), total = runs * pieces;
  parallel_for(context, divide_up(total, together), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t task = begin * together; task < smaller(end * together, total); task++) {
      std::int64_t in, out;
      locate(c, task / pieces, axes, &in, &out);
      const std::int64_t first = task % pieces * piece, count = smaller(piece, run - first);
      std::memcpy(y + out + first, x + in + first, static_cast<std::size_t>(count) * sizeof(float));
    }
  });
}

// The last axis is not contiguous on both sides. It is walked together with axis `inner`, the one that is contiguous in
// the input if there is one, in square blocks, so that every cache line is used whole.
void copy_transposed(versemi_context* context, paired_axes c, int inner, const float* x, float* y) {
  const std::int64_t columns = c.shape[c.rank - 1], column_from = c.a[c.rank - 1], column_to = c.b[c.rank - 1];
  const std::int64_t rows = c.shape[inner], row_from = c.a[inner], row_to = c.b[inner];
  for (int i = inner; i + 1 < c.rank; i++) {
    c.shape[i] = c.shape[i + 1];
    c.a[i] = c.a[i + 1];
    c.b[i] = c.b[i + 1];
  }
  const int axes = c.rank - 2;
  const std::int64_t row_blocks = divide_up(rows, tile);
  std::int64_t others = 1;
  for (int i = 0; i < axes; i++) others *= c.shape[i];
  parallel_for(context, others * row_blocks, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t task = begin; task < end; task++) {
      std::int64_t in, out;
      locate(c, task / row_blocks, axes, &in, &out);
      const std::int64_t first_row = task % row_blocks * tile, last_row = smaller(first_row + tile, rows);
      for (std::int64_t first = 0; first < columns; first += tile) {
        const std::int64_t last = smaller(first + tile, columns);
        for (std::int64_t row = first_row; row < last_row; row++)
          for (std::int64_t column = first; column < last; column++)
            y[out + row * row_to + column * column_to] = x[in + row * row_from + column * column_from];
      }
    }
  });
}

void copy(versemi_context* context, paired_axes c, const float* x, float* y) {
  for (int i = 0; i < c.rank; i++)
    if (c.shape[i] == 0) return;
  if (c.rank == 0) {
    y[0] = x[0];
    return;
  }
  const int last = c.rank - 1;
  if (c.a[last] == 1 && c.b[last] == 1) return copy_runs(context, c, x, y);
  if (c.rank == 1) {
    c.shape[1] = 1;
    c.a[1] = c.b[1] = 1;
    c.rank = 2;
  }
  int inner = 0;
  while (inner < c.rank - 2 && c.a[inner] != 1) inner++;
  copy_transposed(context, c, inner, x, y);
}

void set_all(versemi_context* context, float* y, std::int64_t count, float value) {
  parallel_elements(context, count, [=](std::int64_t begin, std::int64_t end) {
    const vfloat v = broadcast(value);
    for_each_vector(begin, end, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA { store(y + i, v, part); });
  });
}

// Row-major strides of a shape; size(axis) is its length along an axis.
struct strides {
  std::int64_t of[largest_rank], elements = 1;
  template <typename Size>
  strides(std::int64_t rank, Size size) {
    for (std::int64_t i = rank - 1; i >= 0; i--) {
      of[i] = elements;
      elements *= size(i);
    }
  }
  std::int64_t offset(std::int64_t rank, const attribute_list& place) const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < rank; i++) sum += place[i] * of[i];
    return sum;
  }
};

// A box whose first elements x and y point at.
void copy_box(versemi_context* context, std::int64_t rank, const attribute_list& size, const strides& in, const strides& out,
              const float* x, float* y) {
  paired_axes c;
  for (std::int64_t i = 0; i < rank; i++) add_axis(c, size[i], in.of[i], out.of[i]);
  copy(context, c, x, y);
}

versemi_status transpose(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                         std::int32_t) {
  const transpose_attributes a(attributes);
  const auto out_size = [&](std::int64_t i) { return a.shape[a.permutation[i]]; };
  const strides in(a.rank, [&](std::int64_t i) { return a.shape[i]; }), out(a.rank, out_size);
  paired_axes c;
  for (std::int64_t i = 0; i < a.rank; i++) add_axis(c, out_size(i), in.of[a.permutation[i]], out.of[i]);
  copy(context, c, input(buffers[transpose_buffer::input]), output(buffers[transpose_buffer::output]));
  return ok();
}

versemi_status slice(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                     std::int32_t) {
  const slice_attributes a(attributes);
  const strides in(a.rank, [&](std::int64_t i) { return a.shape[i]; }), out(a.rank, [&](std::int64_t i) { return a.size[i]; });
  copy_box(context, a.rank, a.size, in, out, input(buffers[slice_buffer::input]) + in.offset(a.rank, a.begin),
           output(buffers[slice_buffer::output]));
  return ok();
}

versemi_status pad(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                   std::int32_t) {
  const pad_attributes a(attributes);
  const strides in(a.rank, [&](std::int64_t i) { return a.shape[i]; });
  const strides out(a.rank, [&](std::int64_t i) { return a.shape[i] + a.before[i] + a.after[i]; });
  float* y = output(buffers[pad_buffer::output]);
  set_all(context, y, out.elements, static_cast<float>(a.value));
  copy_box(context, a.rank, a.shape, in, out, input(buffers[pad_buffer::input]), y + out.offset(a.rank, a.before));
  return ok();
}

versemi_status concat(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const concat_attributes a(attributes);
  std::int64_t width = 0;
  for (std::int64_t i = 0; i < a.n; i++) width += a.inner[i];
  float* y = output(buffers[concat_buffer::output_after(a.n)]);
  for (std::int64_t i = 0; i < a.n; i++) {
    const std::int64_t own = a.inner[i];
    paired_axes c;
    add_axis(c, a.outer, own, width);
    add_axis(c, own, 1, 1);
    copy(context, c, input(buffers[concat_buffer::input + i]), y);
    y += own;
  }
  return ok();
}

versemi_status repeat(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const tile_attributes a(attributes);
  const strides in(a.rank, [&](std::int64_t i) { return a.shape[i]; });
  const strides out(a.rank, [&](std::int64_t i) { return a.shape[i] * a.repetitions[i]; });
  paired_axes c;
  for (std::int64_t i = 0; i < a.rank; i++) {
    add_axis(c, a.repetitions[i], 0, out.of[i] * a.shape[i]);
    add_axis(c, a.shape[i], in.of[i], out.of[i]);
  }
  copy(context, c, input(buffers[tile_buffer::input]), output(buffers[tile_buffer::output]));
  return ok();
}

versemi_status fill(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                    std::int32_t) {
  const fill_attributes a(attributes);
  set_all(context, output(buffers[fill_buffer::output]), a.count, static_cast<float>(a.value));
  return ok();
}

const versemi_kernel rows[] = {
    VERSEMI_ROW(VERSEMI_TRANSPOSE, transpose), VERSEMI_ROW(VERSEMI_SLICE, slice),   VERSEMI_ROW(VERSEMI_PAD, pad),
    VERSEMI_ROW(VERSEMI_CONCAT, concat),       VERSEMI_ROW(VERSEMI_TILE, repeat), VERSEMI_ROW(VERSEMI_FILL, fill),
};

}  // namespace

kernel_rows layout_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace VERSEMI_ISA
}  // namespace versemi
