// Sums per channel over the voxels of a sample, twice at once (two quantities), and passes that apply numbers per channel:
// which thread takes what, and how its sums come together. Deterministic: the cut depends on the problem alone, and sums are
// added in a fixed order, in double.
//
// A sample is `rows` of `period` elements. A row is the channels of one voxel or, where those do not fill whole packets, the
// fewest voxels that do. A thread keeps its packet of columns and walks down the rows, so that its sums and the numbers of
// its channels stay in registers; neighbouring threads read neighbouring packets. Block (x, y): chunk x % chunks of the rows
// of sample x / chunks, tile y of at most 256 packets of columns.
#ifndef VERSEMI_CUDA_COLUMNS_H
#define VERSEMI_CUDA_COLUMNS_H

#include <cstdint>

#include "core/packets.h"
#include "core/rounding.h"

namespace versemi {
namespace cuda {

constexpr int column_threads = 256;

struct column_layout {
  std::int64_t n, rows, rows_per_chunk;
  int channels, period, packet;  // packet: elements per access
  int groups;                    // packets of a row that one block takes
  int tiles;                     // blocks that a row needs
  int block_rows;                // rows that a block reads at a time
  int chunks;                    // per sample

  // `packet`: what fills 16 bytes. wanted_blocks: about eight blocks for each multiprocessor of a large device.
  column_layout(std::int64_t n_, std::int64_t voxels, std::int64_t channels_, int full_packet, std::int64_t wanted_blocks = 1056)
      : n(n_), channels(static_cast<int>(channels_)) {
    int shared = full_packet;  // the largest power of two that divides both
    while (channels_ % shared != 0) shared /= 2;
    const std::int64_t whole = channels_ * (full_packet / shared);
    const bool wide = voxels * channels_ % whole == 0;
    packet = wide ? full_packet : 1;
    period = static_cast<int>(wide ? whole : channels_);
    rows = voxels * channels_ / period;
    const int packets = period / packet;
    tiles = divide_up(packets, column_threads);
    groups = divide_up(packets, tiles);
    block_rows = column_threads / groups;
    const std::int64_t steps = divide_up(rows, block_rows);
    // At least two steps per thread, and not more blocks than wanted.
    std::int64_t most = wanted_blocks / (n * tiles);
    if (most < 1) most = 1;
    std::int64_t wanted = (steps + 1) / 2;
    if (wanted > most) wanted = most;
    const std::int64_t steps_per_chunk = divide_up(steps, wanted);
    rows_per_chunk = steps_per_chunk * block_rows;
    chunks = static_cast<int>(divide_up(rows, rows_per_chunk));
  }

  dim3 grid() const { return dim3(static_cast<unsigned>(n * chunks), static_cast<unsigned>(tiles), 1); }
  // Doubles of partial sums: [n][chunks][2][period].
  std::int64_t partials() const { return n * chunks * 2 * period; }
};

// What the calling thread of a block of column_threads takes.
struct column_part {
  std::int64_t sample, first, begin, end, step;  // first: element of row 0; rows begin, begin + step, ... before end
  int chunk, row, column;                        // row: of the block's rows; column: its first
  bool active;

  // backward: the first blocks take the last chunks, whose elements a pass before has left in the cache.
  __device__ __forceinline__ explicit column_part(const column_layout& l, bool backward = false) {
    const int t = static_cast<int>(threadIdx.x);
    const unsigned block = backward ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
    sample = block / static_cast<unsigned>(l.chunks);
    chunk = static_cast<int>(block % static_cast<unsigned>(l.chunks));
    row = t / l.groups;
    column = (static_cast<int>(blockIdx.y) * l.groups + t % l.groups) * l.packet;
    active = row < l.block_rows && column < l.period;
    begin = chunk * l.rows_per_chunk + row;
    end = min(chunk * l.rows_per_chunk + l.rows_per_chunk, l.rows);
    step = l.block_rows;
    first = sample * l.rows * l.period + column;
    if (!active) end = begin;
  }
};

// Calls use(offset, packets of each tensor) for every row of the part, four rows of loads in flight.
template <typename T, int Size, int Tensors, typename Use>
__device__ __forceinline__ void for_each_row(const column_layout& l, const column_part& part, const T* const (&tensors)[Tensors],
                                             Use use) {
  constexpr int at_once = 4;
  std::int64_t offset = part.first + part.begin * l.period;
  const std::int64_t step = part.step * l.period;
  std::int64_t row = part.begin;
  for (; row + (at_once - 1) * part.step < part.end; row += at_once * part.step) {
    packet<T, Size> loaded[at_once][Tensors];
#pragma unroll
    for (int i = 0; i < at_once; i++)
#pragma unroll
      for (int k = 0; k < Tensors; k++) loaded[i][k].load(tensors[k] + offset + i * step);
#pragma unroll
    for (int i = 0; i < at_once; i++) use(offset + i * step, loaded[i]);
    offset += at_once * step;
  }
  for (; row < part.end; row += part.step) {
    packet<T, Size> loaded[Tensors];
#pragma unroll
    for (int k = 0; k < Tensors; k++) loaded[k].load(tensors[k] + offset);
    use(offset, loaded);
    offset += step;
  }
}

// Adds the two quantities of the threads that share columns, and writes the block's partial sums. All threads call it.
template <int Size>
__device__ __forceinline__ void store_column_sums(const column_layout& l, const column_part& part,
                                                  const double (&quantities)[2][Size], double* partials) {
  __shared__ double sums[Size][column_threads];  // threads side by side: no bank conflicts
  const int t = static_cast<int>(threadIdx.x);
  int half = 1;
  while (2 * half < l.block_rows) half *= 2;
#pragma unroll
  for (int q = 0; q < 2; q++) {
#pragma unroll
    for (int i = 0; i < Size; i++) sums[i][t] = quantities[q][i];
    barrier();
    for (int s = half; s > 0; s /= 2) {
      if (part.row < s && part.row + s < l.block_rows) {
#pragma unroll
        for (int i = 0; i < Size; i++) sums[i][t] += sums[i][t + s * l.groups];
      }
      barrier();
    }
    if (part.row == 0 && part.active) {
      double* to = partials + ((part.sample * l.chunks + part.chunk) * 2 + q) * l.period + part.column;
#pragma unroll
      for (int i = 0; i < Size; i++) to[i] = sums[i][t];
    }
    barrier();
  }
}

// Both sums of one channel of one sample, by a whole warp; every lane has them.
__device__ __forceinline__ void gather_column(const column_layout& l, const double* partials, std::int64_t sample, int channel,
                                              double* first, double* second) {
  const int repeats = l.period / l.channels;
  double a = 0, b = 0;
  for (int i = lane(); i < l.chunks * repeats; i += 32) {
    const double* from = partials + (sample * l.chunks + i / repeats) * 2 * l.period + channel + i % repeats * l.channels;
    a += from[0];
    b += from[l.period];
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    a += shuffle_xor(a, mask);
    b += shuffle_xor(b, mask);
  }
  *first = a;
  *second = b;
}

}  // namespace cuda
}  // namespace versemi

#endif
