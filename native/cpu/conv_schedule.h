// How an operation is cut up for the threads and their caches; see conv_pass.isa.cpp, which alone includes this.
#ifndef VERSEMI_CPU_CONV_SCHEDULE_H
#define VERSEMI_CPU_CONV_SCHEDULE_H

#include "conv_pass.h"
#include "conv_tile.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// A panel of weights stays in the second-level cache (1 MiB and more on processors with AVX-512) beside the rows it meets.
constexpr int64_t panel_bytes = 448 << 10;
// Rows of the source or of the output that several passes or groups visit.
constexpr int64_t band_bytes = 256 << 10;

// How an operation is cut up. Tasks are (block of columns, band of chunks, pass), in this order.
struct schedule {
  int64_t vectors;  // of columns, all blocks together
  int64_t blocks;
  int64_t chunk_rows;  // rows of one chunk; a row is one line along W
  int64_t bands;
  int64_t group_segments;  // segments whose panel is used at once; more need several groups, summed up in the output
  int64_t window_floats, windows;                         // copies of parts of rows, see copy_windows
  int64_t panel_floats, segment_capacity, thread_floats;  // per thread
  float* thread_memory;
  float* bias;          // [vectors * lanes] or nullptr
  float* statistics;    // [pass][sample][chunk][3 * padded] or nullptr
  int64_t most_chunks;  // chunks per sample of the largest pass
};

// Where a segment lies: its taps along D and H.
struct segment_place {
  int64_t d, h;
};

struct column_block {
  int64_t first_vector;
  int vectors;
};

column_block block_at(const schedule& s, int64_t block) {
  const int64_t begin = s.vectors * block / s.blocks, end = s.vectors * (block + 1) / s.blocks;
  return column_block{begin, (int)(end - begin)};
}

int64_t rows_of(const conv_pass& pass) { return pass.axis[0].count * pass.axis[1].count; }
int64_t chunks_of(const schedule& s, const conv_pass& pass) { return divide_up(rows_of(pass), s.chunk_rows); }
int64_t segments_of(const conv_pass& pass) {
  return pass.axis[2].taps == 0 ? 0 : pass.axis[0].taps * pass.axis[1].taps;
}
int64_t groups_of(const schedule& s, const conv_pass& pass) {
  const int64_t groups = divide_up(segments_of(pass), s.group_segments);
  return groups == 0 ? 1 : groups;
}

schedule make_schedule(versemi_context* context, const conv_operation& o) {
  schedule s = {};
  s.vectors = divide_up(o.columns, lanes);
  s.blocks = divide_up(s.vectors, max_tile_vectors);
  const int64_t widest = divide_up(s.vectors, s.blocks) * lanes;

  const int most_voxels = max_tile_voxels((int)(s.vectors / s.blocks));
  int64_t voxels = 0, most_rows = 0, most_segments = 0, segment_floats = 0, window_voxels = 0;
  for (int64_t i = 0; i < o.pass_count; i++) {
    const conv_pass& pass = o.passes[i];
    const pass_axis& w = pass.axis[2];
    voxels += rows_of(pass) * w.count;
    most_rows = larger(most_rows, rows_of(pass));
    most_segments = larger(most_segments, segments_of(pass));
    segment_floats = larger(segment_floats, w.taps * o.x_channels * widest);
    window_voxels = larger(window_voxels, (smaller<int64_t>(w.count, most_voxels) - 1) * w.x_step + w.taps);
  }
  const int64_t row_voxels = larger<int64_t>(1, voxels / larger<int64_t>(1, most_rows * o.pass_count));
  // Between 64 and 2048 voxels, so that small volumes still give work to all threads and large ones few partial sums.
  const int64_t chunk_voxels = larger<int64_t>(64, smaller<int64_t>(2048, voxels / o.pass_count / 64));
  s.chunk_rows = larger<int64_t>(1, chunk_voxels / row_voxels);
  s.most_chunks = divide_up(most_rows, s.chunk_rows);

  s.group_segments = larger<int64_t>(1, panel_bytes / 4 / larger<int64_t>(1, segment_floats));
  s.group_segments =
      larger<int64_t>(1, divide_up(most_segments, larger<int64_t>(1, divide_up(most_segments, s.group_segments))));

  const int64_t chunks = o.n * s.most_chunks;
  const int64_t threads = thread_count(context);
  s.bands = divide_up(6 * threads, s.blocks * o.pass_count);
  if (o.pass_count > 1 || most_segments > s.group_segments) {
    const int64_t x_bytes = o.n * o.x_size[0] * o.x_size[1] * o.x_size[2] * o.x_channels * 4;
    const int64_t out_bytes = o.n * most_rows * row_voxels * widest * 4;
    const int64_t bytes = o.pass_count > 1 ? x_bytes + out_bytes * o.pass_count : out_bytes;
    // Each band packs its panel anew: that pays from some 128 voxels on.
    s.bands = larger(s.bands, smaller(divide_up(bytes, band_bytes), o.n * most_rows * row_voxels / 128));
  }
  s.bands = larger<int64_t>(1, smaller(s.bands, chunks));

  s.panel_floats = round_up(s.group_segments * segment_floats, lanes);
  s.segment_capacity = round_up(s.group_segments, 8);
  s.window_floats = round_up(window_voxels * o.x_channels, lanes);
  s.windows = 2 * most_segments;
  s.thread_floats = round_up(s.panel_floats + s.windows * s.window_floats + 2 * s.windows +
                                 (4 + 2) * 2 * s.segment_capacity,
                             1024);
  return s;
}

}  // namespace
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
