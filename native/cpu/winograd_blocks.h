// The maps of minimal filtering from a tensor [n, size, channels] to planes: of the inputs (boxes that overlap by two voxels)
// and of the gradients of the outputs (boxes side by side). What lies outside the tensor counts as zero.
#ifndef VERSEMI_CPU_WINOGRAD_BLOCKS_H
#define VERSEMI_CPU_WINOGRAD_BLOCKS_H

#include "winograd_maps.h"

namespace versemi {
namespace VERSEMI_ISA {

// Planes lie one line of the cache further apart than their size: at a power of two they would share a few sets of it.
constexpr int64_t line_floats = 16;

// Voxels that a block of `out` outputs reads along an axis, and their map to out + 2 values.
struct of_inputs {
  static constexpr bool summed = false;
  static constexpr int read(int out) { return out + 2; }
  template <int out>
  VERSEMI_INLINE void map(const vfloat (&d)[out + 2], vfloat (&v)[out + 2]) {
    map_input<out>(d, v);
  }
};
struct of_gradients {
  static constexpr bool summed = true;  // of voxels that no other block reads
  static constexpr int read(int out) { return out; }
  template <int out>
  VERSEMI_INLINE void map(const vfloat (&e)[out], vfloat (&v)[out + 2]) {
    map_gradient<out>(e, v);
  }
};

// A tensor as blocks: the box of block b along an axis begins at voxel first + b * out.
struct block_source {
  const float* x;
  std::int64_t size[3];
  std::int64_t channels;
  std::int64_t first[3];
  int out[3];
  std::int64_t grid[3];  // blocks of a sample
};

// Where mapped values go: [slice of channels][plane][block][channel of the slice]; floats from slice to slice, plane to plane.
struct block_target {
  std::int64_t slice;  // channels, whole vectors
  std::int64_t slice_floats, plane_floats;
};

constexpr int most_rows = 36, most_planes = 216;
// A ring of mapped columns: six are alive at once.
constexpr std::int64_t ring_columns = 8;
constexpr std::int64_t ring_floats = ring_columns * most_rows * lanes;

template <typename Kind>
class block_mapper {
 public:
  // ring: ring_floats; zeros: a line of size[2] * channels zeros.
  block_mapper(const block_source& source, const block_target& target, float* ring, const float* zeros)
      : s_(source), t_(target), ring_(ring), zeros_(zeros), slot_((source.out[0] + 2) * (source.out[1] + 2) * lanes) {}

  // Blocks [begin, end) of a sample, vectors [first, last) of the channels; v: where the first block goes. sums: nullptr, or
  // [vectors * lanes], to which the values are added where each is read once.
  void map(std::int64_t sample, std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t last, float* v,
           float* sums) {
    for (std::int64_t block = begin; block < end;) {
      const std::int64_t w = block % s_.grid[2], count = smaller(s_.grid[2] - w, end - block);
      set_rows(sample, block / s_.grid[2] / s_.grid[1], block / s_.grid[2] % s_.grid[1]);
      for (std::int64_t vector = first; vector < last; vector++) {
        const std::int64_t channel = vector * lanes;
        total_ = zero();
        map_run(w, count, channel, v + channel / t_.slice * t_.slice_floats + (block - begin) * t_.slice + channel % t_.slice);
        if (Kind::summed && sums != nullptr) store(sums + channel, load(sums + channel) + total_);
      }
      block += count;
    }
  }

 private:
  // Where the rows (depth, height) begin that a row of blocks reads; zeros outside.
  void set_rows(std::int64_t sample, std::int64_t block_d, std::int64_t block_h) {
    const std::int64_t d = s_.first[0] + block_d * s_.out[0], h = s_.first[1] + block_h * s_.out[1];
    const int height = Kind::read(s_.out[1]), count = Kind::read(s_.out[0]) * height;
    for (int i = 0; i < count; i++) {
      const std::int64_t xd = d + i / height, xh = h + i % height;
      const bool inside = xd >= 0 && xd < s_.size[0] && xh >= 0 && xh < s_.size[1];
      rows_[i] = inside ? s_.x + ((sample * s_.size[0] + xd) * s_.size[1] + xh) * s_.size[2] * s_.channels : zeros_;
    }
  }

  // `count` neighbouring blocks along W, one vector of channels. Columns are mapped along depth and height once, and shared
  // by the blocks that read them.
  void map_run(std::int64_t first, std::int64_t count, std::int64_t channel, float* v) {
    const int out = s_.out[2], read = Kind::read(out);
    const int left = (int)smaller<std::int64_t>(lanes, s_.channels - channel);
    std::int64_t column = first * out;
    for (std::int64_t block = first; block < first + count; block++, v += t_.slice) {
      for (; column < block * out + read; column++) {
        float* to = ring_ + column % ring_columns * slot_;
        const std::int64_t x = s_.first[2] + column;
        if (x < 0 || x >= s_.size[2]) {
          for (std::int64_t i = 0; i < slot_; i += lanes) store(to + i, zero());
          continue;
        }
        map_column(x * s_.channels + channel, left, to);
      }
      const float* columns[6];
      for (int i = 0; i < read; i++) columns[i] = ring_ + (block * out + i) % ring_columns * slot_;
      if (out == 2)
        map_width<2>(columns, v);
      else
        map_width<4>(columns, v);
    }
  }

  void map_column(std::int64_t offset, int left, float* to) {
    if (s_.out[0] == 2)
      left == lanes ? map_depth<2, true>(offset, left, to) : map_depth<2, false>(offset, left, to);
    else
      left == lanes ? map_depth<4, true>(offset, left, to) : map_depth<4, false>(offset, left, to);
    if (s_.out[1] == 2)
      map_height<2>(to);
    else
      map_height<4>(to);
  }

  template <int out, bool whole>
  void map_depth(std::int64_t offset, int left, float* to) {
    constexpr int read = Kind::read(out);
    const int height = Kind::read(s_.out[1]), pitch = s_.out[1] + 2;
    const std::int64_t ahead = 4 * s_.channels;
    vfloat total = total_;
    for (int h = 0; h < height; h++) {
      vfloat d[read], v[out + 2];
      VERSEMI_UNROLL
      for (int i = 0; i < read; i++) {
        const float* x = rows_[i * height + h] + offset;
        d[i] = whole ? load(x) : load_first(x, left);
        // For the second-level cache: these rows share a few sets of the first, which would lose what comes too early.
        __builtin_prefetch(x + ahead, 0, 2);
        if constexpr (Kind::summed) total += d[i];
      }
      Kind::template map<out>(d, v);
      VERSEMI_UNROLL
      for (int i = 0; i < out + 2; i++) store(to + (i * pitch + h) * lanes, v[i]);
    }
    total_ = total;
  }

  // In place: a line is read before it is written.
  template <int out>
  void map_height(float* to) const {
    constexpr int read = Kind::read(out);
    for (int row = 0; row < s_.out[0] + 2; row++, to += (out + 2) * lanes) {
      vfloat d[read], v[out + 2];
      VERSEMI_UNROLL
      for (int i = 0; i < read; i++) d[i] = load(to + i * lanes);
      Kind::template map<out>(d, v);
      VERSEMI_UNROLL
      for (int i = 0; i < out + 2; i++) store(to + i * lanes, v[i]);
    }
  }

  template <int out>
  void map_width(const float* const (&columns)[6], float* v) const {
    constexpr int read = Kind::read(out);
    const std::int64_t plane = t_.plane_floats;
    for (std::int64_t row = 0; row < slot_; row += lanes) {
      vfloat d[read], mapped[out + 2];
      VERSEMI_UNROLL
      for (int i = 0; i < read; i++) d[i] = load(columns[i] + row);
      Kind::template map<out>(d, mapped);
      VERSEMI_UNROLL
      for (int i = 0; i < out + 2; i++, v += plane) store(v, mapped[i]);
    }
  }

  const block_source& s_;
  const block_target& t_;
  float* ring_;
  const float* zeros_;
  const std::int64_t slot_;  // floats of a mapped column
  vfloat total_ = zero();
  const float* rows_[most_rows];
};

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
