// Runs the passes of a convolution over threads, blocks of columns, rows and tiles; see conv_pass.h.
#include "conv_pass.h"

#include "conv_moments.h"
#include "conv_panel.h"
#include "conv_schedule.h"
#include "conv_tile.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// The work of one thread.
class worker {
 public:
  worker(const conv_operation& operation, const schedule& plan, int thread)
      : o_(operation),
        s_(plan),
        panel_(plan.thread_memory + thread * plan.thread_floats),
        windows_(panel_ + plan.panel_floats),
        window_owner_(reinterpret_cast<int64_t*>(windows_ + plan.windows * plan.window_floats)),
        x_offset_(window_owner_ + plan.windows),
        w_offset_(x_offset_ + plan.segment_capacity),
        window_offset_(w_offset_ + plan.segment_capacity),
        window_place_(window_offset_ + plan.segment_capacity),
        segments_(reinterpret_cast<segment_place*>(window_place_ + plan.segment_capacity)) {}

  void run_task(int64_t task) {
    const int64_t pass_index = task % o_.pass_count, band = task / o_.pass_count % s_.bands;
    const int64_t block_index = task / o_.pass_count / s_.bands;
    const conv_pass& pass = o_.passes[pass_index];
    const int64_t chunks = chunks_of(s_, pass), groups = groups_of(s_, pass);
    const int64_t begin = o_.n * chunks * band / s_.bands, end = o_.n * chunks * (band + 1) / s_.bands;
    for (int64_t group = 0; begin < end && group < groups; group++) {
      set_group(pass, pass_index, block_index, group, groups);
      for (int64_t chunk = begin; chunk < end; chunk++) run_chunk(pass, pass_index, chunk / chunks, chunk % chunks);
    }
  }

 private:
  void set_group(const conv_pass& pass, int64_t pass_index, int64_t block_index, int64_t group, int64_t groups) {
    const column_block block = block_at(s_, block_index);
    const int64_t segments = segments_of(pass);
    first_segment_ = segments * group / groups;
    last_segment_ = segments * (group + 1) / groups;
    block_ = block;
    first_column_ = block.first_vector * lanes;
    tile_.columns = smaller<int64_t>(o_.columns - first_column_, block.vectors * lanes);
    tile_.bias = s_.bias == nullptr ? nullptr : s_.bias + first_column_;
    tile_.accumulate = group > 0;
    tile_.count = pass.axis[2].taps * o_.x_channels;
    tile_.x_step = pass.axis[2].x_step * o_.x_channels;
    tile_.out_step = pass.axis[2].out_step * o_.columns;
    last_group_ = group == groups - 1;
    const int64_t width = block.vectors * lanes;
    for (int64_t segment = first_segment_; segment < last_segment_; segment++) {
      const int64_t md = segment / pass.axis[1].taps, mh = segment % pass.axis[1].taps;
      segments_[segment - first_segment_] = segment_place{md, mh};
    }
    for (int64_t i = 0; i < s_.windows; i++) window_owner_[i] = -1;
    // Where the block is the whole row of the weights, and their taps come in order, they already are a panel.
    direct_ = !o_.weight_reversed && o_.columns == width && pass.axis[0].tap_step == 1;
    if (direct_) {
      tile_.w = o_.weight;
      return;
    }
    tile_.w = panel_;
    const int64_t id = (block_index * o_.pass_count + pass_index) * (segments + 1) + first_segment_;
    if (id == packed_) return;
    packed_ = id;
    for (int64_t segment = first_segment_; segment < last_segment_; segment++)
      for (int64_t m = 0; m < pass.axis[2].taps; m++)
        pack_tap(pass, segment, m,
                 panel_ + ((segment - first_segment_) * pass.axis[2].taps + m) * o_.x_channels * width, width);
  }

  // Offset of the weights of tap m of a segment.
  int64_t tap_offset(const conv_pass& pass, int64_t segment, int64_t m) const {
    const int64_t md = segment / pass.axis[1].taps, mh = segment % pass.axis[1].taps;
    const int64_t kd = pass.axis[0].tap_first + pass.axis[0].tap_step * md;
    const int64_t kh = pass.axis[1].tap_first + pass.axis[1].tap_step * mh;
    const int64_t kw = pass.axis[2].tap_first + pass.axis[2].tap_step * m;
    const int64_t channels = o_.columns / o_.column_sets;
    return ((kd * o_.kernel[1] + kh) * o_.kernel[2] + kw) * o_.x_channels * channels;
  }

  void pack_tap(const conv_pass& pass, int64_t segment, int64_t m, float* to, int64_t width) const {
    const float* from = o_.weight + tap_offset(pass, segment, m);
    if (o_.weight_reversed)
      pack_transposed(from + first_column_ * o_.x_channels, tile_.columns, o_.x_channels, to, width);
    else
      pack_rows(from + first_column_, tile_.columns, o_.x_channels, o_.columns, to, width);
  }

  void run_chunk(const conv_pass& pass, int64_t pass_index, int64_t sample, int64_t chunk) {
    const int64_t begin = chunk * s_.chunk_rows, end = smaller(begin + s_.chunk_rows, rows_of(pass));
    tile_.statistics = nullptr;
    if (s_.statistics != nullptr && last_group_) {
      const int64_t index = (pass_index * o_.n + sample) * s_.most_chunks + chunk;
      tile_.statistics = s_.statistics + (index * s_.vectors + block_.first_vector) * 3 * lanes;
    }
    tile_.statistics_begin = true;
    for (int64_t row = begin; row < end; row++)
      run_row(pass, sample, row / pass.axis[1].count, row % pass.axis[1].count);
  }

  void run_row(const conv_pass& pass, int64_t sample, int64_t d, int64_t h) {
    const pass_axis &da = pass.axis[0], &ha = pass.axis[1], &wa = pass.axis[2];
    // The taps that fall into the source.
    const int64_t d0 = da.x_first + da.x_step * d, h0 = ha.x_first + ha.x_step * h;
    const int64_t panel_step = wa.taps * o_.x_channels * block_.vectors * lanes;
    int64_t segments = 0;
    for (int64_t segment = first_segment_; segment < last_segment_; segment++) {
      const segment_place& place = segments_[segment - first_segment_];
      const int64_t xd = d0 + place.d, xh = h0 + place.h;
      if (xd < 0 || xd >= o_.x_size[0] || xh < 0 || xh >= o_.x_size[1]) continue;
      x_offset_[segments] = ((sample * o_.x_size[0] + xd) * o_.x_size[1] + xh) * o_.x_size[2] * o_.x_channels;
      w_offset_[segments] = (direct_ ? segment : segment - first_segment_) * panel_step;
      window_place_[segments] = place.d * ha.taps + xh % ha.taps;
      segments++;
    }
    const int64_t od = da.out_first + da.out_step * d, oh = ha.out_first + ha.out_step * h;
    float* out = o_.out +
                 (((sample * o_.out_size[0] + od) * o_.out_size[1] + oh) * o_.out_size[2] + wa.out_first) * o_.columns +
                 first_column_;
    tile_.segments = segments;
    tile_.w_offset = w_offset_;
    const int64_t tiles = divide_up(wa.count, max_tile_voxels(block_.vectors));
    // The tile asks for what comes `ahead` voxels later, behind the end of the row for what lies there, so that memory has
    // a thousand cycles to answer. Addresses behind the end of the source are harmless.
    const int64_t tile_cycles = segments * tile_.count * tile_accumulators / 2 + 1;
    const int64_t ahead =
        divide_up(wa.count, tiles) * larger<int64_t>(1, smaller<int64_t>(4, 1000 / tile_cycles)) * wa.x_step;
    tile_.ahead_offset = x_offset_;
    tile_.ahead_step = wa.taps == 0 ? 0 : smaller<int64_t>(64, 4 * divide_up(wa.count, tiles) * wa.x_step / wa.taps);
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t begin = wa.count * i / tiles, voxels = wa.count * (i + 1) / tiles - begin;
      const int64_t x_begin = wa.x_first + wa.x_step * begin, x_count = (voxels - 1) * wa.x_step + wa.taps;
      tile_.out = out + begin * tile_.out_step;
      tile_.ahead = o_.x + (x_begin + ahead) * o_.x_channels;
      tile_.x_offset = x_offset_;
      if (x_begin >= 0 && x_begin + x_count <= o_.x_size[2]) {
        tile_.x = o_.x + x_begin * o_.x_channels;
      } else {
        copy_windows(pass, segments, i, tiles, x_begin, x_count);
        tile_.x = windows_;
        tile_.x_offset = window_offset_;
      }
      tile_for((int)voxels, block_.vectors)(tile_);
      tile_.statistics_begin = false;
    }
  }

  // Copies the part of each row that a tile reads, with the zeros around the source. The rows of the output that follow
  // each other meet most of these rows again, so a copy stays until another row wants its place: one place for each
  // (tap along D, row modulo the taps along H), for the first tile of a row and for the others.
  void copy_windows(const conv_pass& pass, int64_t segments, int64_t tile, int64_t tiles, int64_t x_begin,
                    int64_t x_count) {
    const int64_t first = larger<int64_t>(x_begin, 0), last = larger(first, smaller(x_begin + x_count, o_.x_size[2]));
    const int64_t before = smaller(first - x_begin, x_count) * o_.x_channels, inside = (last - first) * o_.x_channels;
    const int64_t total = x_count * o_.x_channels;
    int64_t* const owners = window_owner_ + (tile == 0 ? 0 : segments_of(pass));
    for (int64_t i = 0; i < segments; i++) {
      const int64_t place = window_place_[i];
      float* to = windows_ + (owners - window_owner_ + place) * s_.window_floats;
      window_offset_[i] = to - windows_;
      const int64_t owner = x_offset_[i] * tiles + tile;
      if (owners[place] == owner) continue;
      owners[place] = owner;
      zero_floats(to, before);
      copy_floats(to + before, o_.x + x_offset_[i] + first * o_.x_channels, inside);
      zero_floats(to + before + inside, total - before - inside);
    }
  }

  const conv_operation& o_;
  const schedule& s_;
  float* panel_;
  float* windows_;
  int64_t* window_owner_;
  int64_t* x_offset_;
  int64_t* w_offset_;
  int64_t* window_offset_;
  int64_t* window_place_;
  segment_place* segments_;
  tile_call tile_ = {};
  column_block block_ = {};
  int64_t first_column_ = 0, first_segment_ = 0, last_segment_ = 0, packed_ = -1;
  bool direct_ = false, last_group_ = false;
};

versemi_status run(versemi_context* context, const conv_operation& o, schedule& s) {
  const std::size_t bytes = (std::size_t)(s.thread_floats * thread_count(context)) * sizeof(float);
  s.thread_memory = static_cast<float*>(scratch(context, scratch_slot::per_thread, bytes));
  if (s.thread_memory == nullptr) return out_of_memory(bytes);
  if (o.bias != nullptr) {
    const std::size_t bias_bytes = (std::size_t)(s.vectors * lanes) * sizeof(float);
    s.bias = static_cast<float*>(scratch(context, scratch_slot::bias, bias_bytes));
    if (s.bias == nullptr) return out_of_memory(bias_bytes);
    const int64_t channels = o.columns / o.column_sets;
    for (int64_t i = 0; i < s.vectors * lanes; i++) s.bias[i] = i < o.columns ? o.bias[i % channels] : 0.0f;
  }
  parallel_for(context, s.blocks * s.bands * o.pass_count, [&](int64_t begin, int64_t end, int thread) {
    worker work(o, s, thread);
    for (int64_t task = begin; task < end; task++) work.run_task(task);
  });
  return ok();
}

// Combines the sums of all chunks of a channel.
moment_sum combine(const conv_operation& o, const schedule& s, int64_t sample, int64_t channel) {
  const int64_t channels = o.columns / o.column_sets;
  moment_sum result;
  for (int64_t i = 0; i < o.pass_count; i++) {
    const conv_pass& pass = o.passes[i];
    const int64_t rows = rows_of(pass), chunks = chunks_of(s, pass);
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
      const double number =
          (double)((smaller((chunk + 1) * s.chunk_rows, rows) - chunk * s.chunk_rows) * pass.axis[2].count);
      for (int64_t set = 0; set < o.column_sets; set++) {
        const int64_t column = set * channels + channel, vector = column / lanes;
        // The layout of a block is [3][vectors * lanes]; find the block of this vector.
        int64_t block = vector * s.blocks / s.vectors;
        while (block_at(s, block).first_vector > vector) block--;
        while (block_at(s, block).first_vector + block_at(s, block).vectors <= vector) block++;
        const column_block columns = block_at(s, block);
        const int64_t width = columns.vectors * lanes;
        const float* sums =
            s.statistics +
            (((i * o.n + sample) * s.most_chunks + chunk) * s.vectors + columns.first_vector) * 3 * lanes +
            (column - columns.first_vector * lanes);
        result.add(number, sums[0], sums[width], sums[2 * width]);
      }
    }
  }
  return result;
}

}  // namespace

versemi_status run_direct(versemi_context* context, const conv_operation& operation, const conv_moments* moments) {
  schedule s = make_schedule(context, operation);
  if (moments == nullptr) return run(context, operation, s);
  const std::size_t bytes =
      (std::size_t)(operation.pass_count * operation.n * s.most_chunks * s.vectors * lanes * 3) * sizeof(float);
  s.statistics = static_cast<float*>(scratch(context, scratch_slot::statistics, bytes));
  if (s.statistics == nullptr) return out_of_memory(bytes);
  const versemi_status status = run(context, operation, s);
  if (status.code != VERSEMI_OK) return status;
  const int64_t channels = operation.columns / operation.column_sets;
  parallel_for(context, operation.n * channels, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const moment_sum sum = combine(operation, s, i / channels, i % channels);
      moments->mean[i] = sum.mean();
      moments->rstd[i] = sum.rstd(moments->epsilon);
    }
  });
  return status;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
