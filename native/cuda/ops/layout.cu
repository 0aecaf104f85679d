// Ops that move elements: transpose, slice, pad, concat and tile are all one strided copy. Values are not looked at: bfloat16
// stays bfloat16, as elements of 2 bytes.
//
// Where the last axis is contiguous on both sides it is copied in the widest words (16 bytes down to one element) that sizes,
// strides and offsets allow, one word per thread, so that a warp moves whole lines. Where another axis is contiguous in the
// input, tiles of 32 x 32 elements are turned over in shared memory [32][33].
#include <cstring>

#include "core/elements.h"
#include "versemi/paired_axes.h"

namespace versemi {
namespace cuda {
namespace {

constexpr int tile = 32;

std::int64_t count_of(const paired_axes& axes) {
  std::int64_t product = 1;
  for (int i = 0; i < axes.rank; i++) product *= axes.shape[i];
  return product;
}

// Offsets of combination number `index` of the first `axes` axes: `a` in the source of a copy, `b` in its target.
__device__ __forceinline__ void locate(const paired_axes& c, int axes, std::int64_t index, std::int64_t* in, std::int64_t* out) {
  std::int64_t a = 0, b = 0;
  for (int i = axes - 1; i >= 0; i--) {
    std::int64_t next, at;
    if ((index | c.shape[i]) >> 32 == 0) {  // a division of 32 bits is several times cheaper
      const std::uint32_t small = static_cast<std::uint32_t>(index), size = static_cast<std::uint32_t>(c.shape[i]);
      next = small / size;
      at = small % size;
    } else {
      next = index / c.shape[i];
      at = index % c.shape[i];
    }
    a += at * c.a[i];
    b += at * c.b[i];
    index = next;
  }
  *in = a;
  *out = b;
}

template <typename T>
__global__ void __launch_bounds__(flat_threads)
    copy_kernel(const T* x, T* y, std::int64_t count, const __grid_constant__ paired_axes c) {
  for (std::int64_t i = flat_index(); i < count; i += flat_threads_of_grid()) {
    std::int64_t in, out;
    locate(c, c.rank, i, &in, &out);
    y[out] = x[in];
  }
}

// Last axis: contiguous in y. Axis rank - 2: contiguous in x. Blocks of 32 x 8 threads, one tile each.
template <typename T>
__global__ void __launch_bounds__(flat_threads)
    turn_kernel(const T* x, T* y, std::int64_t tiles, const __grid_constant__ paired_axes c) {
  __shared__ T memory[tile][tile + 1];
  const int across = static_cast<int>(threadIdx.x) % tile, down = static_cast<int>(threadIdx.x) / tile;
  const std::int64_t columns = c.shape[c.rank - 1], rows = c.shape[c.rank - 2];
  const std::int64_t column_tiles = divide_up(columns, tile), row_tiles = divide_up(rows, tile);
  for (std::int64_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    std::int64_t in, out;
    locate(c, c.rank - 2, index / (column_tiles * row_tiles), &in, &out);
    const std::int64_t first_column = index % column_tiles * tile, first_row = index / column_tiles % row_tiles * tile;
#pragma unroll
    for (int i = 0; i < tile; i += flat_threads / tile) {
      const std::int64_t column = first_column + down + i, row = first_row + across;
      if (column < columns && row < rows) memory[down + i][across] = x[in + column * c.a[c.rank - 1] + row];
    }
    barrier();
#pragma unroll
    for (int i = 0; i < tile; i += flat_threads / tile) {
      const std::int64_t column = first_column + across, row = first_row + down + i;
      if (column < columns && row < rows) y[out + row * c.b[c.rank - 2] + column] = memory[across][down + i];
    }
    barrier();
  }
}

unsigned blocks_for(const context& device, std::int64_t tasks) {
  const std::int64_t most = std::int64_t{device.properties().multiprocessors} * 32;
  return static_cast<unsigned>(tasks < most ? tasks : most);
}

// x and y point to the first element that is read and written.
template <typename T>
versemi_status copy_words(context& device, const void* x, void* y, const paired_axes& c) {
  return launch(device, "strided copy", copy_kernel<T>, grid_for(device, count_of(c), flat_threads), flat_threads, 0,
                static_cast<const T*>(x), static_cast<T*>(y), count_of(c), c);
}

template <typename T>
versemi_status turn(context& device, const void* x, void* y, paired_axes c, int inner) {
  const std::int64_t shape = c.shape[inner], from = c.a[inner], to = c.b[inner];
  for (int i = inner; i + 2 < c.rank; i++) {
    c.shape[i] = c.shape[i + 1];
    c.a[i] = c.a[i + 1];
    c.b[i] = c.b[i + 1];
  }
  c.shape[c.rank - 2] = shape;
  c.a[c.rank - 2] = from;
  c.b[c.rank - 2] = to;
  std::int64_t tiles = divide_up(c.shape[c.rank - 1], tile) * divide_up(c.shape[c.rank - 2], tile);
  for (int i = 0; i < c.rank - 2; i++) tiles *= c.shape[i];
  return launch(device, "transposing copy", turn_kernel<T>, blocks_for(device, tiles), flat_threads, 0,
                static_cast<const T*>(x), static_cast<T*>(y), tiles, c);
}

// Copies with elements of `bytes` bytes; offsets in elements.
versemi_status copy(context& device, paired_axes c, const void* input, std::int64_t from, void* output, std::int64_t to,
                    std::int64_t bytes) {
  if (count_of(c) == 0) return ok();
  const auto* x = static_cast<const unsigned char*>(input) + from * bytes;
  auto* y = static_cast<unsigned char*>(output) + to * bytes;
  const int last = c.rank - 1;
  if (c.rank > 0 && c.a[last] == 1 && c.b[last] == 1) {
    std::int64_t word = 16;
    const auto fits = [&](std::int64_t elements) { return elements * bytes % word == 0; };
    const auto all_fit = [&] {
      bool all = fits(c.shape[last]) && fits(from) && fits(to);
      for (int i = 0; i < last; i++) all = all && fits(c.a[i]) && fits(c.b[i]);
      return all;
    };
    while (word > bytes && !all_fit()) word /= 2;
    const std::int64_t together = word / bytes;
    c.shape[last] /= together;
    for (int i = 0; i < last; i++) {
      c.a[i] /= together;
      c.b[i] /= together;
    }
    switch (word) {
      case 16: return copy_words<uint4>(device, x, y, c);
      case 8: return copy_words<uint2>(device, x, y, c);
      case 4: return copy_words<std::uint32_t>(device, x, y, c);
      default: return copy_words<std::uint16_t>(device, x, y, c);
    }
  }
  int inner = 0;
  while (inner < last && c.a[inner] != 1) inner++;
  if (c.rank >= 2 && inner < last && c.b[last] == 1 && c.shape[inner] >= 8 && c.shape[last] >= 8)
    return bytes == 2 ? turn<std::uint16_t>(device, x, y, c, inner) : turn<std::uint32_t>(device, x, y, c, inner);
  return bytes == 2 ? copy_words<std::uint16_t>(device, x, y, c) : copy_words<std::uint32_t>(device, x, y, c);
}

template <int Width>
__global__ void __launch_bounds__(flat_threads) fill_kernel(void* y, storage format, std::int64_t count, float value) {
  float v[Width];
#pragma unroll
  for (int i = 0; i < Width; i++) v[i] = value;
  for (std::int64_t first = flat_index() * Width; first < count; first += flat_threads_of_grid() * Width) {
    if (first + Width <= count) {
      store_elements(y, format, first, v);
    } else {
      for (std::int64_t i = first; i < count; i++) store_element(y, format, i, value);
    }
  }
}

versemi_status set_all(context& device, const tensor& y, std::int64_t count, float value) {
  return launch(device, "fill", fill_kernel<8>, grid_for(device, divide_up(count, 8), flat_threads), flat_threads, 0, y.data,
                y.format, count, value);
}

std::int64_t bytes_of(const tensor& t) { return t.format == storage::bfloat16 ? 2 : 4; }

// Row-major strides of a shape.
struct strides {
  std::int64_t of[largest_rank], elements = 1;
  // size(i): elements along axis i
  template <typename Size>
  strides(std::int64_t rank, Size size) {
    for (std::int64_t i = rank - 1; i >= 0; i--) {
      of[i] = elements;
      elements *= size(i);
    }
  }
};

versemi_status transpose(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const transpose_attributes call(attributes);
  const auto out_size = [&](std::int64_t i) { return call.shape[call.permutation[i]]; };
  const strides in(call.rank, [&](std::int64_t i) { return call.shape[i]; }), out(call.rank, out_size);
  paired_axes c;
  for (std::int64_t i = 0; i < call.rank; i++) add_axis(c, out_size(i), in.of[call.permutation[i]], out.of[i]);
  return copy(device, c, tensors[0].data, 0, tensors[1].data, 0, bytes_of(tensors[0]));
}

versemi_status slice(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const slice_attributes call(attributes);
  const strides in(call.rank, [&](std::int64_t i) { return call.shape[i]; });
  const strides out(call.rank, [&](std::int64_t i) { return call.size[i]; });
  std::int64_t from = 0;
  paired_axes c;
  for (std::int64_t i = 0; i < call.rank; i++) {
    add_axis(c, call.size[i], in.of[i], out.of[i]);
    from += call.begin[i] * in.of[i];
  }
  return copy(device, c, tensors[0].data, from, tensors[1].data, 0, bytes_of(tensors[0]));
}

versemi_status pad(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const pad_attributes call(attributes);
  const strides in(call.rank, [&](std::int64_t i) { return call.shape[i]; });
  const strides out(call.rank, [&](std::int64_t i) { return call.before[i] + call.shape[i] + call.after[i]; });
  const versemi_status filled = set_all(device, tensors[1], out.elements, static_cast<float>(call.value));
  if (filled.code != VERSEMI_OK) return filled;
  std::int64_t to = 0;
  paired_axes c;
  for (std::int64_t i = 0; i < call.rank; i++) {
    add_axis(c, call.shape[i], in.of[i], out.of[i]);
    to += call.before[i] * out.of[i];
  }
  return copy(device, c, tensors[0].data, 0, tensors[1].data, to, bytes_of(tensors[0]));
}

versemi_status concat(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const concat_attributes call(attributes);
  const std::int64_t n = call.n;
  std::int64_t width = 0, to = 0;
  for (std::int64_t i = 0; i < n; i++) width += call.inner[i];
  for (std::int64_t i = 0; i < n; i++) {
    const std::int64_t own = call.inner[i];
    paired_axes c;
    add_axis(c, call.outer, own, width);
    add_axis(c, own, 1, 1);
    const versemi_status status = copy(device, c, tensors[i].data, 0, tensors[n].data, to, bytes_of(tensors[n]));
    if (status.code != VERSEMI_OK) return status;
    to += own;
  }
  return ok();
}

versemi_status repeat(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const tile_attributes call(attributes);
  const strides in(call.rank, [&](std::int64_t i) { return call.shape[i]; });
  const strides out(call.rank, [&](std::int64_t i) { return call.shape[i] * call.repetitions[i]; });
  paired_axes c;
  for (std::int64_t i = 0; i < call.rank; i++) {
    add_axis(c, call.repetitions[i], 0, out.of[i] * call.shape[i]);
    add_axis(c, call.shape[i], in.of[i], out.of[i]);
  }
  return copy(device, c, tensors[0].data, 0, tensors[1].data, 0, bytes_of(tensors[0]));
}

versemi_status fill(context& device, const tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const fill_attributes call(attributes);
  return set_all(device, tensors[0], call.count, static_cast<float>(call.value));
}

// One input, one output of the same format.
void plan_move(const context&, tensor* tensors, std::int32_t, const double*, std::int32_t) {
  tensors[1].format = tensors[0].format;
}

// bfloat16 only if it holds the value of the padding too.
void plan_pad(const context&, tensor* tensors, std::int32_t, const double* attributes, std::int32_t) {
  const float value = static_cast<float>(pad_attributes(attributes).value);
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0xffffu) != 0) tensors[0].format = storage::float32;
  tensors[1].format = tensors[0].format;
}

// bfloat16 if all inputs are; inputs without elements do not matter.
void plan_concat(const context&, tensor* tensors, std::int32_t tensor_count, const double*, std::int32_t) {
  bool halves = tensor_count > 1;
  for (std::int32_t i = 0; i + 1 < tensor_count; i++)
    halves = halves && (tensors[i].format == storage::bfloat16 || tensors[i].elements == 0);
  for (std::int32_t i = 0; i < tensor_count; i++) tensors[i].format = halves ? storage::bfloat16 : storage::float32;
}

const kernel rows[] = {
    {VERSEMI_TRANSPOSE, "strided-copy", takes_all, plan_move, transpose},
    {VERSEMI_SLICE, "strided-copy", takes_all, plan_move, slice},
    {VERSEMI_PAD, "strided-copy", takes_all, plan_pad, pad},
    {VERSEMI_CONCAT, "strided-copy", takes_all, plan_concat, concat},
    {VERSEMI_TILE, "strided-copy", takes_all, plan_move, repeat},
    {VERSEMI_FILL, "elements", takes_all, nullptr, fill},
};

}  // namespace

kernel_rows layout_kernels() { return {rows, static_cast<std::int32_t>(sizeof rows / sizeof rows[0])}; }

}  // namespace cuda
}  // namespace versemi
