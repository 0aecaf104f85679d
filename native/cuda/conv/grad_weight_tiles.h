// How gradWeight is cut for the tensor cores (conv3d_grad_weight_mma.cu). Plain functions of the problem.
//
// The matrix product: rows (tap, input channel), columns output channels, the sum over output voxels. A block makes all taps
// of `in_block` x `out_block` channels over some bricks of output voxels. In shared memory, per brick: the voxels of the input
// that the brick's windows reach (the halo), `in_block` channels each, and the brick of gradOutput, `out_block` channels each.
// Rows are taken as units of 8 channels of one tap; two units make the 16 rows of an mma, whatever taps they are of.
//
// Halo voxel (d, h, w) lies at d * plane + h * line + (w % stride) * residue + w / stride, so that the voxels that one tap
// needs for neighbouring outputs are neighbours, and a tap is a constant offset.
#ifndef VERSEMI_CUDA_GRAD_WEIGHT_TILES_H
#define VERSEMI_CUDA_GRAD_WEIGHT_TILES_H

#include "conv/conv3d_grad_weight.h"

namespace versemi {
namespace cuda {

constexpr int grad_weight_threads = 256, grad_weight_warps = 8;

struct grad_weight_tiles {
  grad_weight_shape shape;
  int in_block, out_block;     // channels
  int brick[3], halo[3];       // output voxels, input voxels
  int line, plane, residue;    // see above
  int halo_rows, brick_rows;   // rows in shared memory; brick_rows is the number of voxels, up to a multiple of 16
  int in_pitch, out_pitch;     // bytes of a row: no bank conflicts among 8 neighbours
  int in_shift, out_shift;     // a row is 2^shift packets of 16 bytes
  int grad_offset, stage_bytes, table_bytes;  // grad_offset: of gradOutput in a stage
  int bricks[3], all_bricks, bricks_per_chunk, chunks;
  int units, groups, splits;   // units of rows; warps that share the units; warps that share the voxels
  // Few input channels: the numbers of all (tap, channel) rows are copied side by side for every voxel, `gathered` of them.
  bool gather;
  int gathered, gather_offset;  // offset: of the halo in a stage, one number per voxel and channel

  grad_weight_tiles() = default;
  explicit grad_weight_tiles(const grad_weight_shape& s) : shape(s) {}

  // Tiles (pairs of units) of a warp.
  __host__ __device__ int own_tiles() const { return divide_up(divide_up(units, 2), groups); }
  // Position of a tap relative to that of a window's first voxel, in rows.
  __host__ __device__ int tap_offset(int tap) const {
    const int kw = tap % shape.kernel[2], kh = tap / shape.kernel[2] % shape.kernel[1], kd = tap / shape.kernel[2] / shape.kernel[1];
    return kd * plane + kh * line + kw % shape.stride[2] * residue + kw / shape.stride[2];
  }
  // Row of the first voxel of the window of a brick's voxel.
  __host__ __device__ int window_row(int d, int h, int w) const {
    return d * shape.stride[0] * plane + h * shape.stride[1] * line + w;
  }
  // Coordinates of a halo row, 10 bits each; no_voxel for the rows that only make the pitch.
  static constexpr unsigned no_voxel = 0xffffffffu;
  __host__ __device__ unsigned halo_voxel(int row) const {
    const int d = row / plane, h = row % plane / line, i = row % plane % line;
    const int w = i % residue * shape.stride[2] + i / residue;
    if (d >= halo[0] || h >= halo[1] || i >= residue * shape.stride[2] || w >= halo[2]) return no_voxel;
    return static_cast<unsigned>(d << 20 | h << 10 | w);
  }
};

// Bytes between rows of `channels` numbers in shared memory. bfloat16: ldmatrix reads 16 bytes of 8 rows, so the 16-byte
// columns of 8 neighbouring rows must differ. float32: lane (g, t) reads number g of row t, so 4 rows must lie 8 banks apart.
constexpr int grad_weight_pitch(int channels, bool narrow) {
  return narrow ? (channels == 8 ? 16 : channels * 2 + 16) : (channels == 8 ? 32 : channels * 4 + 32);
}

// Smallest pitch >= least with pitch * stride = step modulo 8 (rows that follow each other in the sum then lie in different
// banks across the end of a line); least itself where there is none.
constexpr int grad_weight_line(int least, int stride, int step) {
  for (int pitch = least; pitch < least + 8; pitch++)
    if ((pitch * stride - step) % 8 == 0) return pitch;
  return least;
}

// Largest of 32, 16, 8 that divides the channels; 0 if none does.
constexpr int grad_weight_block(std::int64_t channels) {
  return channels % 32 == 0 ? 32 : channels % 16 == 0 ? 16 : channels % 8 == 0 ? 8 : 0;
}

// Tiles of 16 rows that one warp of conv3d_grad_weight_mma.cu can hold.
constexpr int grad_weight_most_tiles = 7;

inline void set_brick(grad_weight_tiles* t, int d, int h, int w, bool narrow) {
  const grad_weight_shape& s = t->shape;
  const int size[3] = {d, h, w};
  for (int i = 0; i < 3; i++) {
    t->brick[i] = size[i];
    t->halo[i] = (size[i] - 1) * s.stride[i] + s.kernel[i];
    t->bricks[i] = divide_up(s.out[i], size[i]);
  }
  t->all_bricks = s.voxels / (s.out[0] * s.out[1] * s.out[2]) * t->bricks[0] * t->bricks[1] * t->bricks[2];
  t->residue = divide_up(t->halo[2], s.stride[2]);
  const int length = t->residue * s.stride[2];
  t->line = w % 8 == 0 ? length : grad_weight_line(length, s.stride[1], w);
  t->plane = w % 8 == 0 ? t->line * t->halo[1] : grad_weight_line(t->line * t->halo[1], s.stride[0], h * w);
  t->halo_rows = t->plane * t->halo[0];
  t->brick_rows = round_up(d * h * w, 16);
  const int channel_bytes = narrow ? 2 : 4;
  // The gathered rows stand where the halo would, and that behind gradOutput.
  t->in_pitch = grad_weight_pitch(t->gather ? t->gathered : t->in_block, narrow);
  t->out_pitch = grad_weight_pitch(t->out_block, narrow);
  t->grad_offset = (t->gather ? t->brick_rows : t->halo_rows) * t->in_pitch;
  t->gather_offset = t->grad_offset + t->brick_rows * t->out_pitch;
  t->stage_bytes = t->gather_offset + (t->gather ? round_up(t->halo_rows * s.in_channels * channel_bytes, 16) : 0);
  t->table_bytes = round_up(t->halo_rows * 8 + t->brick_rows * 12 + (t->gather ? t->gathered * 4 : 0), 16);
}

// Fills in everything. false: the channels or the kernel do not fit.
inline bool cut_grad_weight(grad_weight_tiles* t, bool narrow, int shared_bytes, int multiprocessors) {
  const grad_weight_shape& s = t->shape;
  t->out_block = grad_weight_block(s.out_channels);
  t->in_block = grad_weight_block(s.in_channels);
  t->gather = t->in_block == 0;
  const int rows = s.taps * (t->gather ? s.in_channels : t->in_block);
  t->gathered = round_up(rows, 16);
  if (t->out_block == 0 || rows > grad_weight_warps * grad_weight_most_tiles * 16) return false;
  if (t->gather) {
    if (t->gathered > grad_weight_most_tiles * 16) return false;
    t->in_block = s.in_channels;
    t->out_block = t->out_block > 16 ? 16 : t->out_block;
  }
  t->in_shift = t->out_shift = narrow ? 0 : 1;
  while (t->in_block > 8 << (t->in_shift - (narrow ? 0 : 1))) t->in_shift++;
  while (t->out_block > 8 << (t->out_shift - (narrow ? 0 : 1))) t->out_shift++;
  t->units = t->gather ? t->gathered / 8 : rows / 8;
  t->groups = 1;
  while ((t->units + 1) / 2 > t->groups * grad_weight_most_tiles) t->groups *= 2;
  t->splits = grad_weight_warps / t->groups;
  // Blocks that share a multiprocessor: registers allow one where the most results are held, else two.
  const int at_once = t->out_block == 32 && t->own_tiles() > 4 ? 1 : 2;
  const int budget = shared_bytes / at_once - 1024;
  // The brick: least time of what takes longer, products or loads (both in cycles of a multiprocessor, roughly), for the whole.
  static const int sizes[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32};
  double best = -1;
  int chosen[3] = {0, 0, 0};
  for (int d : sizes)
    for (int h : sizes)
      for (int w : sizes) {
        if (d * h * w > 512 || (d > s.out[0] && d > 1) || (h > s.out[1] && h > 1) || (w > s.out[2] && w > 1)) continue;
        // What does not fit at one byte per voxel need not be measured, and might not be: sizes are kept in 32 bits.
        double reached = 1;
        const int size[3] = {d, h, w};
        for (int i = 0; i < 3; i++) reached *= (size[i] - 1.0) * s.stride[i] + s.kernel[i];
        if (reached > budget) continue;
        set_brick(t, d, h, w, narrow);
        if (2 * t->stage_bytes + t->table_bytes > budget) continue;
        const double products = 1.6 * (t->brick_rows / 16) * ((t->units + 1) / 2) * (t->out_block / 8) * (narrow ? 1 : 2);
        const double loads = (t->halo[0] * t->halo[1] * t->halo[2] * t->in_block + d * h * w * t->out_block) * (narrow ? 2 : 4) / 32.0;
        const double time = t->all_bricks * ((products > loads ? products : loads) + 0.3 * (products + loads) + 200);
        if (best < 0 || time < best) {
          best = time;
          chosen[0] = d, chosen[1] = h, chosen[2] = w;
        }
      }
  if (best < 0) return false;
  set_brick(t, chosen[0], chosen[1], chosen[2], narrow);
  const int pairs = (t->gather ? 1 : s.in_channels / t->in_block) * (s.out_channels / t->out_block);
  const std::int64_t weights = static_cast<std::int64_t>(s.taps) * s.in_channels * s.out_channels;
  t->chunks = static_cast<int>(grad_weight_chunks(pairs, t->all_bricks, weights * t->splits, multiprocessors * at_once));
  t->bricks_per_chunk = divide_up(t->all_bricks, t->chunks);
  t->chunks = divide_up(t->all_bricks, t->bricks_per_chunk);
  return true;
}

}  // namespace cuda
}  // namespace versemi

#endif
