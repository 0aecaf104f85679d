// Ops that move elements: transpose, slice, pad, concat, tile are all one strided copy, done in the longest contiguous
// runs there are.

#include "dispatch.h"
#include "kernel_row.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int largest_rank = 8;
constexpr int tile = 16;  // side of the blocks of a transposition: 16 floats are a cache line

// Copy of `shape` elements between two strided tensors; axes of size 1 and joinable axes are removed by add().
struct strided_copy {
  int rank = 0;
  std::int64_t shape[2 * largest_rank], from[2 * largest_rank], to[2 * largest_rank];

  // Next axis, outermost first.
  void add(std::int64_t size, std::int64_t from_stride, std::int64_t to_stride) {
    if (size == 1) return;
    if (rank > 0 && from[rank - 1] == from_stride * size && to[rank - 1] == to_stride * size) {
      shape[rank - 1] *= size;
    } else {
      shape[rank++] = size;
    }
    from[rank - 1] = from_stride;
    to[rank - 1] = to_stride;
  }

  // The element offsets of combination number `index` of the first `axes` axes.
  void locate(std::int64_t index, int axes, std::int64_t* in, std::int64_t* out) const {
    *in = *out = 0;
    for (int i = axes - 1; i >= 0; i--) {
      *in += index % shape[i] * from[i];
      *out += index % shape[i] * to[i];
      index /= shape[i];
    }
  }
};

// Runs of contiguous elements.
void copy_runs(versemi_context* context, const strided_copy& c, const float* x, float* y) {
  const int axes = c.rank - 1;
  const std::int64_t run = c.shape[axes];
  std::int64_t runs = 1;
  for (int i = 0; i < axes; i++) runs *= c.shape[i];
  const std::int64_t piece = smaller(run, task_elements), pieces = divide_up(run, piece);
  const std::int64_t together = larger<std::int64_t>(1, task_elements / piece), total = runs * pieces;
  parallel_for(context, divide_up(total, together), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t task = begin * together; task < smaller(end * together, total); task++) {
      std::int64_t in, out;
      c.locate(task / pieces, axes, &in, &out);
      const std::int64_t first = task % pieces * piece, count = smaller(piece, run - first);
      std::memcpy(y + out + first, x + in + first, static_cast<std::size_t>(count) * sizeof(float));
    }
  });
}

// The last axis is not contiguous on both sides. It is walked together with axis `inner`, the one that is contiguous in
// the input if there is one, in square blocks, so that every cache line is used whole.
void copy_transposed(versemi_context* context, strided_copy c, int inner, const float* x, float* y) {
  const std::int64_t columns = c.shape[c.rank - 1], column_from = c.from[c.rank - 1], column_to = c.to[c.rank - 1];
  const std::int64_t rows = c.shape[inner], row_from = c.from[inner], row_to = c.to[inner];
  for (int i = inner; i + 1 < c.rank; i++) {
    c.shape[i] = c.shape[i + 1];
    c.from[i] = c.from[i + 1];
    c.to[i] = c.to[i + 1];
  }
  const int axes = c.rank - 2;
  const std::int64_t row_blocks = divide_up(rows, tile);
  std::int64_t others = 1;
  for (int i = 0; i < axes; i++) others *= c.shape[i];
  parallel_for(context, others * row_blocks, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t task = begin; task < end; task++) {
      std::int64_t in, out;
      c.locate(task / row_blocks, axes, &in, &out);
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

void copy(versemi_context* context, strided_copy c, const float* x, float* y) {
  for (int i = 0; i < c.rank; i++)
    if (c.shape[i] == 0) return;
  if (c.rank == 0) {
    y[0] = x[0];
    return;
  }
  const int last = c.rank - 1;
  if (c.from[last] == 1 && c.to[last] == 1) return copy_runs(context, c, x, y);
  if (c.rank == 1) {
    c.shape[1] = 1;
    c.from[1] = c.to[1] = 1;
    c.rank = 2;
  }
  int inner = 0;
  while (inner < c.rank - 2 && c.from[inner] != 1) inner++;
  copy_transposed(context, c, inner, x, y);
}

void set_all(versemi_context* context, float* y, std::int64_t count, float value) {
  parallel_elements(context, count, [=](std::int64_t begin, std::int64_t end) {
    const vfloat v = broadcast(value);
    for_each_vector(begin, end, [=](std::int64_t i, auto part) VERSEMI_INLINE_LAMBDA { store(y + i, v, part); });
  });
}

// Row-major strides of a shape given as attributes.
struct strides {
  std::int64_t of[largest_rank], elements = 1;
  strides(const double* shape, const double* before, const double* after, int rank) {
    for (int i = rank - 1; i >= 0; i--) {
      of[i] = elements;
      elements *= whole(shape[i]) + (before == nullptr ? 0 : whole(before[i]) + whole(after[i]));
    }
  }
};

versemi_status transpose(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                         std::int32_t) {
  const int rank = static_cast<int>(attributes[0]);
  const double *shape = attributes + 1, *permutation = shape + rank;
  double out_shape[largest_rank];
  for (int i = 0; i < rank; i++) out_shape[i] = shape[static_cast<int>(permutation[i])];
  const strides in(shape, nullptr, nullptr, rank), out(out_shape, nullptr, nullptr, rank);
  strided_copy c;
  for (int i = 0; i < rank; i++) c.add(whole(out_shape[i]), in.of[static_cast<int>(permutation[i])], out.of[i]);
  copy(context, c, input(buffers[0]), output(buffers[1]));
  return ok();
}

versemi_status slice(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                     std::int32_t) {
  const int rank = static_cast<int>(attributes[0]);
  const double *shape = attributes + 1, *begin = shape + rank, *size = begin + rank;
  const strides in(shape, nullptr, nullptr, rank), out(size, nullptr, nullptr, rank);
  const float* x = input(buffers[0]);
  strided_copy c;
  for (int i = 0; i < rank; i++) {
    c.add(whole(size[i]), in.of[i], out.of[i]);
    x += whole(begin[i]) * in.of[i];
  }
  copy(context, c, x, output(buffers[1]));
  return ok();
}

versemi_status pad(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                   std::int32_t) {
  const int rank = static_cast<int>(attributes[0]);
  const double *shape = attributes + 1, *before = shape + rank, *after = before + rank;
  const strides in(shape, nullptr, nullptr, rank), out(shape, before, after, rank);
  float* y = output(buffers[1]);
  set_all(context, y, out.elements, static_cast<float>(after[rank]));
  strided_copy c;
  for (int i = 0; i < rank; i++) {
    c.add(whole(shape[i]), in.of[i], out.of[i]);
    y += whole(before[i]) * out.of[i];
  }
  copy(context, c, input(buffers[0]), y);
  return ok();
}

versemi_status concat(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const std::int64_t n = whole(attributes[0]), outer = whole(attributes[1]);
  const double* inner = attributes + 2;
  std::int64_t width = 0;
  for (std::int64_t i = 0; i < n; i++) width += whole(inner[i]);
  float* y = output(buffers[n]);
  for (std::int64_t i = 0; i < n; i++) {
    const std::int64_t own = whole(inner[i]);
    strided_copy c;
    c.add(outer, own, width);
    c.add(own, 1, 1);
    copy(context, c, input(buffers[i]), y);
    y += own;
  }
  return ok();
}

versemi_status repeat(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                      std::int32_t) {
  const int rank = static_cast<int>(attributes[0]);
  const double *shape = attributes + 1, *repetitions = shape + rank;
  double out_shape[largest_rank];
  for (int i = 0; i < rank; i++) out_shape[i] = shape[i] * repetitions[i];
  const strides in(shape, nullptr, nullptr, rank), out(out_shape, nullptr, nullptr, rank);
  strided_copy c;
  for (int i = 0; i < rank; i++) {
    c.add(whole(repetitions[i]), 0, out.of[i] * whole(shape[i]));
    c.add(whole(shape[i]), in.of[i], out.of[i]);
  }
  copy(context, c, input(buffers[0]), output(buffers[1]));
  return ok();
}

versemi_status fill(versemi_context* context, const versemi_buffer* buffers, std::int32_t, const double* attributes,
                    std::int32_t) {
  set_all(context, output(buffers[0]), whole(attributes[0]), static_cast<float>(attributes[1]));
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
