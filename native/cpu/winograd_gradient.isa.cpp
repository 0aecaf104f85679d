// Runs the gradient of the weights by minimal filtering: per chunk of blocks the maps and the products, at the end the taps;
// see winograd_gradient.h.
#include "winograd_gradient.h"

#include "conv_grad_tile.h"
#include "conv_panel.h"
#include "conv_pass.h"
#include "winograd_blocks.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// Input channels of a task that maps sums to taps.
constexpr int64_t tap_rows = 8;
// Two steps of that map.
constexpr int64_t taps_floats = (3 * 36 + 9 * 6) * lanes;

struct range {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};
range part_range(const winograd_gradient_plan& p, int64_t part) {
  return range{p.blocks * part / p.parts, p.blocks * (part + 1) / p.parts};
}
range chunk_range(const winograd_gradient_plan& p, int64_t part, int64_t chunk) {
  const range all = part_range(p, part);
  return range{all.begin + all.count() * chunk / p.chunks, all.begin + all.count() * (chunk + 1) / p.chunks};
}

// Else a task sums all blocks of a pair of slices at once, and maps them to taps before they leave its cache.
bool sums_go_on(const winograd_gradient_plan& p) { return p.parts > 1 || p.segments > 1; }

struct layout {
  block_source inputs, gradients;
  // Mapped inputs of a part are [slice][plane][block][rows], gradients [slice][plane][block][columns].
  block_target v, d;
  int64_t v_floats, d_floats;
  // Sums of a pair of slices: [plane][row][columns].
  int64_t sum_plane, sum_floats;
  int64_t zero_count, work_floats, thread_floats;
  float* thread_memory;
  float* bias;    // [part][chunk][width] or nullptr
};

class worker {
 public:
  worker(const versemi_conv_problem& problem, const winograd_gradient_plan& plan, const layout& l, int thread)
      : p_(problem),
        s_(plan),
        l_(l),
        work_(l.thread_memory + thread * l.thread_floats),
        zeros_(work_ + l.work_floats),
        memory_(zeros_ + round_up(l.zero_count, line_floats) + 27 * plan.rows * plan.columns),
        inputs_(l.inputs, l.v, work_, zeros_),
        gradients_(l.gradients, l.d, work_, zeros_) {
    zero_floats(zeros_, l.zero_count);
  }

  // Behind the work space: what a thread keeps to itself.
  float* memory() { return memory_; }

  // One vector of the channels of a chunk, first those of the inputs, then those of the gradients; v, d: where its first
  // block goes.
  void map(int64_t part, int64_t chunk, int64_t vector, float* v, float* d) {
    const range blocks = chunk_range(s_, part, chunk);
    const int64_t per_sample = s_.grid[0] * s_.grid[1] * s_.grid[2], column = vector - s_.depth / lanes;
    float* const bias = l_.bias == nullptr ? nullptr : l_.bias + (part * s_.chunks + chunk) * s_.width;
    if (bias != nullptr && column >= 0) store(bias + column * lanes, zero());
    for (int64_t block = blocks.begin, end; block < blocks.end; block = end) {
      const int64_t sample = block / per_sample, begin = block % per_sample, done = block - blocks.begin;
      end = smaller(blocks.end, (sample + 1) * per_sample);
      if (column < 0)
        inputs_.map(sample, begin, begin + end - block, vector, vector + 1, v + done * s_.rows, nullptr);
      else
        gradients_.map(sample, begin, begin + end - block, column, column + 1, d + done * s_.columns, bias);
    }
  }

  // sums (+)= products over `blocks` blocks of `rows` channels of a slice of inputs and `columns` of a slice of gradients.
  void multiply(const float* v, const float* d, int64_t rows, int64_t columns, int64_t blocks, range planes, float* sums,
                bool accumulate) const {
    const int64_t zero_offset = 0;
    const int vectors = (int)(columns / lanes);
    const int64_t tiles = divide_up(rows, max_tile_voxels(vectors));
    grad_tile_call call = {};
    call.x_offset = call.grad_offset = &zero_offset;
    call.x_step = s_.rows;
    call.grad_step = s_.columns;
    call.lines = 1;
    call.count = blocks;
    call.out_step = s_.columns;
    call.accumulate = accumulate;
    call.columns = columns;
    for (int64_t plane = planes.begin; plane < planes.end; plane++) {
      call.grad = d + plane * l_.d.plane_floats;
      for (int64_t i = 0; i < tiles; i++) {
        const int64_t begin = rows * i / tiles, count = rows * (i + 1) / tiles - begin;
        call.x = v + plane * l_.v.plane_floats + begin;
        call.out = sums + plane * l_.sum_plane + begin * s_.columns;
        grad_tile_for((int)count, vectors)(call);
      }
    }
  }

  // Writes the taps of input channels `rows` (maybe none), whose sums begin at `sums`, and of a slice of columns. They are
  // gathered first, as 27 lines written at once would share few sets of the cache where channels are powers of two.
  void map_to_taps(const float* sums, range rows, range columns, float* weight) {
    const int nh = s_.out[1] + 2, nw = s_.out[2] + 2;
    const int64_t plane = l_.sum_plane, tap = p_.in_channels * p_.out_channels;
    float* const a = work_;
    float* const b = a + 3 * 36 * lanes;
    float* const taps = zeros_ + round_up(l_.zero_count, line_floats);  // [27][row][column]
    const int64_t width = columns.count(), taps_pitch = rows.count() * width;
    for (int64_t row = 0; row < rows.count(); row++)
      for (int64_t column = 0; column < width; column += lanes) {
        const float* from = sums + row * s_.columns + column;
        taps_axis(s_.out[0], from, 0, nh * nw * plane, plane, a, 0, nh * nw * lanes, lanes, 1, nh * nw);
        taps_axis(s_.out[1], a, nh * nw * lanes, nw * lanes, lanes, b, 3 * nw * lanes, nw * lanes, lanes, 3, nw);
        taps_axis(s_.out[2], b, nw * lanes, lanes, 0, taps + row * width + column, 3 * taps_pitch, taps_pitch, 0, 9, 1);
      }
    const int64_t written = smaller(columns.end, p_.out_channels) - columns.begin;
    for (int64_t i = 0; i < 27; i++)
      for (int64_t row = 0; row < rows.count(); row++)
        copy_floats(weight + i * tap + (rows.begin + row) * p_.out_channels + columns.begin,
                    taps + i * taps_pitch + row * width, written);
  }

 private:
  const versemi_conv_problem& p_;
  const winograd_gradient_plan& s_;
  const layout& l_;
  float* work_;
  float* zeros_;
  float* memory_;
  block_mapper<of_inputs> inputs_;
  block_mapper<of_gradients> gradients_;
};

layout make_layout(const grad_weight_call& call, const winograd_gradient_plan& s) {
  const versemi_conv_problem& p = call.problem;
  layout l = {};
  l.inputs.x = call.input;
  l.inputs.channels = p.in_channels;
  l.gradients.x = call.grad_output;
  l.gradients.channels = p.out_channels;
  for (int i = 0; i < 3; i++) {
    l.inputs.size[i] = p.in[i];
    l.inputs.first[i] = -p.pad[i];
    l.gradients.size[i] = p.out[i];
    l.inputs.out[i] = l.gradients.out[i] = s.out[i];
    l.inputs.grid[i] = l.gradients.grid[i] = s.grid[i];
  }
  const int64_t blocks = divide_up(s.blocks, s.parts);
  const int64_t v_plane = blocks * s.rows + line_floats, d_plane = blocks * s.columns + line_floats;
  l.v = block_target{s.rows, s.planes * v_plane, v_plane};
  l.d = block_target{s.columns, s.planes * d_plane, d_plane};
  l.v_floats = s.row_slices * l.v.slice_floats;
  l.d_floats = s.column_slices * l.d.slice_floats;
  l.sum_plane = s.rows * s.columns + line_floats;
  l.sum_floats = s.planes * l.sum_plane;
  l.zero_count = larger(p.in[2] * p.in_channels, p.out[2] * p.out_channels);
  l.work_floats = larger<int64_t>(ring_floats, taps_floats);
  l.thread_floats = l.work_floats + round_up(l.zero_count, line_floats) + 27 * s.rows * s.columns;
  if (!sums_go_on(s)) l.thread_floats += l.sum_floats;
  l.thread_floats = round_up(l.thread_floats, 1024) + line_floats;
  return l;
}

versemi_status run(versemi_context* context, const grad_weight_call& call, const winograd_gradient_plan& s, const layout& l) {
  const versemi_conv_problem& p = call.problem;
  const int64_t pairs = s.row_slices * s.column_slices;
  const int64_t floats = l.v_floats + l.d_floats + (sums_go_on(s) ? pairs * l.sum_floats : 0);
  float* const v = scratch_floats(context, scratch_slot::mapped, (std::size_t)floats);
  if (v == nullptr) return out_of_memory((std::size_t)floats * sizeof(float));
  float* const d = v + l.v_floats;
  float* const sums = d + l.d_floats;
  const auto rows_of = [&](int64_t pair) {
    const int64_t first = pair / s.column_slices * s.rows;
    return range{first, smaller(first + s.rows, p.in_channels)};
  };
  const auto columns_of = [&](int64_t pair) {
    const int64_t first = pair % s.column_slices * s.columns;
    return range{first, smaller(first + s.columns, s.width)};
  };
  const int64_t vectors = (s.depth + s.width) / lanes;
  for (int64_t part = 0; part < s.parts; part++) {
    const range blocks = part_range(s, part);
    parallel_for(context, s.chunks * vectors, [&](int64_t begin, int64_t end, int thread) {
      worker work(p, s, l, thread);
      for (int64_t task = begin; task < end; task++) {
        const int64_t chunk = task / vectors, vector = task % vectors;
        const int64_t done = chunk_range(s, part, chunk).begin - blocks.begin;
        work.map(part, chunk, vector, v + done * s.rows, d + done * s.columns);
      }
    });
    parallel_for(context, pairs * s.segments, [&](int64_t begin, int64_t end, int thread) {
      worker work(p, s, l, thread);
      for (int64_t task = begin; task < end; task++) {
        const int64_t pair = task / s.segments, segment = task % s.segments;
        const range planes{s.planes * segment / s.segments, s.planes * (segment + 1) / s.segments};
        float* const to = sums_go_on(s) ? sums + pair * l.sum_floats : work.memory();
        work.multiply(v + pair / s.column_slices * l.v.slice_floats, d + pair % s.column_slices * l.d.slice_floats,
                      rows_of(pair).count(), columns_of(pair).count(), blocks.count(), planes, to, part > 0);
        if (!sums_go_on(s)) work.map_to_taps(to, rows_of(pair), columns_of(pair), call.grad_weight);
      }
    });
  }
  if (!sums_go_on(s)) return ok();
  const int64_t runs = divide_up(s.rows, tap_rows);
  parallel_for(context, pairs * runs, [&](int64_t begin, int64_t end, int thread) {
    worker work(p, s, l, thread);
    for (int64_t task = begin; task < end; task++) {
      const int64_t pair = task / runs, first = task % runs * tap_rows;
      const range all = rows_of(pair), rows{all.begin + first, smaller(all.end, all.begin + first + tap_rows)};
      work.map_to_taps(sums + pair * l.sum_floats + first * s.columns, rows, columns_of(pair), call.grad_weight);
    }
  });
  return ok();
}

}  // namespace

versemi_status run_winograd_gradient(versemi_context* context, const grad_weight_call& call) {
  winograd_gradient_plan s;
  const char* reason = plan_winograd_gradient(context, call.problem, &s);
  if (reason != nullptr) return failure(VERSEMI_UNSUPPORTED, "%s", reason);
  layout l = make_layout(call, s);
  const std::size_t bytes = (std::size_t)(l.thread_floats * thread_count(context)) * sizeof(float);
  l.thread_memory = static_cast<float*>(scratch(context, scratch_slot::per_thread, bytes));
  if (l.thread_memory == nullptr) return out_of_memory(bytes);
  const int64_t chunks = s.parts * s.chunks;
  if (call.grad_bias != nullptr) {
    l.bias = scratch_floats(context, scratch_slot::bias, (std::size_t)(chunks * s.width));
    if (l.bias == nullptr) return out_of_memory((std::size_t)(chunks * s.width) * sizeof(float));
  }
  const versemi_status status = run(context, call, s, l);
  if (status.code != VERSEMI_OK || call.grad_bias == nullptr) return status;
  for (int64_t channel = 0; channel < call.problem.out_channels; channel++) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++) sum += (double)l.bias[chunk * s.width + channel];
    call.grad_bias[channel] = (float)sum;
  }
  return status;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
