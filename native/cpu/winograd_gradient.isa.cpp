// Runs the gradient of the weights by minimal filtering: per chunk of blocks the maps and the products, at the end the taps;
// see winograd_gradient.h.
#include "winograd_gradient.h"

#include "conv_grad_tile.h"
#include "conv_panel.h"
#include "conv_pass.h"
#include "conv_slices.h"
#include "winograd_blocks.h"

// For lambdas that take or give vectors: a call out of line would go through memory.
#define VERSEMI_INLINE_MAP __attribute__((always_inline))

namespace versemi {
namespace VERSEMI_ISA {
namespace {

VERSEMI_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
VERSEMI_INLINE int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Planes lie one line of the cache further apart than their size: at a power of two they would share a few sets of it.
constexpr int64_t line_floats = 16;
// Two steps of the map to taps, and its result.
constexpr int64_t taps_floats = (3 * 36 + 9 * 6 + 27) * lanes;

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

struct layout {
  block_source inputs, gradients;
  // Mapped inputs are [slice][plane][block][rows], gradients [slice][plane][block][columns], of a chunk or of a part.
  block_target v, d;
  int64_t v_floats, d_floats;
  // Sums of a pair of slices: [plane][row][columns].
  int64_t sum_plane, sum_floats;
  int64_t zero_count, work_floats, thread_floats;
  float* thread_memory;
  float* weight;  // [27][in_channels][out_channels], of each part where these are not grouped
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
        memory_(zeros_ + round_up(l.zero_count, line_floats)),
        inputs_(l.inputs, l.v, work_, zeros_),
        gradients_(l.gradients, l.d, work_, zeros_) {
    zero_floats(zeros_, l.zero_count);
  }

  // Behind the work space: what a thread keeps to itself.
  float* memory() { return memory_; }

  void run_part(int64_t part) {
    float* const v = memory_;
    float* const d = v + l_.v_floats;
    float* const sums = d + l_.d_floats;
    for (int64_t chunk = 0; chunk < s_.chunks; chunk++) {
      const range blocks = chunk_range(s_, part, chunk);
      map(part, chunk, 0, (s_.depth + s_.width) / lanes, v, d);
      multiply(v, d, p_.in_channels, s_.columns, blocks.count(), sums, chunk > 0);
    }
    map_to_taps(sums, range{0, p_.in_channels}, 0, s_.columns, l_.weight + part * versemi_conv_weight_count(&p_));
  }

  // Vectors [first, last) of the channels of a chunk, first those of the inputs, then those of the gradients; v, d: where
  // its first block goes.
  void map(int64_t part, int64_t chunk, int64_t first, int64_t last, float* v, float* d) {
    const range blocks = chunk_range(s_, part, chunk);
    const int64_t x_vectors = s_.depth / lanes, per_sample = s_.grid[0] * s_.grid[1] * s_.grid[2];
    const range x{smaller(first, x_vectors), smaller(last, x_vectors)};
    const range g{larger<int64_t>(first - x_vectors, 0), larger<int64_t>(last - x_vectors, 0)};
    float* const bias = l_.bias == nullptr ? nullptr : l_.bias + (part * s_.chunks + chunk) * s_.width;
    if (bias != nullptr) zero_floats(bias + g.begin * lanes, g.count() * lanes);
    for (int64_t block = blocks.begin, end; block < blocks.end; block = end) {
      const int64_t sample = block / per_sample, place = block % per_sample;
      end = smaller(blocks.end, (sample + 1) * per_sample);
      const int64_t done = block - blocks.begin;
      if (x.count() > 0) inputs_.map(sample, place, place + end - block, x.begin, x.end, v + done * s_.rows, nullptr);
      if (g.count() > 0) gradients_.map(sample, place, place + end - block, g.begin, g.end, d + done * s_.columns, bias);
    }
  }

  // sums (+)= products over `blocks` blocks of `rows` channels of a slice of inputs and `columns` of a slice of gradients.
  void multiply(const float* v, const float* d, int64_t rows, int64_t columns, int64_t blocks, float* sums,
                bool accumulate) const {
    const int64_t zero_offset = 0, vectors = columns / lanes, tiles = divide_up(vectors, max_tile_vectors);
    grad_tile_call call = {};
    call.x_offset = call.grad_offset = &zero_offset;
    call.x_step = s_.rows;
    call.grad_step = s_.columns;
    call.lines = 1;
    call.count = blocks;
    call.out_step = s_.columns;
    call.accumulate = accumulate;
    for (int plane = 0; plane < s_.planes; plane++) {
      const float* x = v + plane * l_.v.plane_floats;
      const float* grad = d + plane * l_.d.plane_floats;
      float* out = sums + plane * l_.sum_plane;
      for (int64_t i = 0; i < tiles; i++) {
        const int64_t first = vectors * i / tiles, width = vectors * (i + 1) / tiles - first;
        call.grad = grad + first * lanes;
        call.columns = width * lanes;
        const int64_t row_tiles = divide_up(rows, max_tile_voxels((int)width));
        for (int64_t j = 0; j < row_tiles; j++) {
          const int64_t begin = rows * j / row_tiles, count = rows * (j + 1) / row_tiles - begin;
          call.x = x + begin;
          call.out = out + begin * s_.columns + first * lanes;
          grad_tile_for((int)count, (int)width)(call);
        }
      }
    }
  }

  // Input channels `rows`, whose sums begin at `sums`, and columns [first, last).
  void map_to_taps(const float* sums, range rows, int64_t first, int64_t last, float* weight) {
    const int nh = s_.out[1] + 2, nw = s_.out[2] + 2;
    const int64_t plane = l_.sum_plane, tap = p_.in_channels * p_.out_channels;
    float* const a = work_;
    float* const b = a + 3 * 36 * lanes;
    float* const taps = b + 9 * 6 * lanes;
    for (int64_t row = rows.begin; row < rows.end; row++, sums += s_.columns)
      for (int64_t column = first; column < last; column += lanes) {
        taps_axis(s_.out[0], sums + (column - first), 0, nh * nw * plane, plane, a, 0, nh * nw * lanes, lanes, 1, nh * nw);
        taps_axis(s_.out[1], a, nh * nw * lanes, nw * lanes, lanes, b, 3 * nw * lanes, nw * lanes, lanes, 3, nw);
        taps_axis(s_.out[2], b, nw * lanes, lanes, 0, taps, 3 * lanes, lanes, 0, 9, 1);
        const int left = (int)smaller<int64_t>(lanes, p_.out_channels - column);
        float* to = weight + row * p_.out_channels + column;
        for (int i = 0; i < 27; i++) {
          const vfloat value = load(taps + i * lanes);
          if (left == lanes)
            store(to + i * tap, value);
          else
            store_first(to + i * tap, value, left);
        }
      }
  }

 private:
  static void taps_axis(int out, const float* from, int64_t from_outer, int64_t from_step, int64_t from_inner, float* to,
                        int64_t to_outer, int64_t to_step, int64_t to_inner, int outer, int inner) {
    if (out == 2)
      along_axis<4, 3>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                       [](const vfloat(&u)[4], vfloat(&g)[3]) VERSEMI_INLINE_MAP { map_taps<2>(u, g); });
    else
      along_axis<6, 3>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                       [](const vfloat(&u)[6], vfloat(&g)[3]) VERSEMI_INLINE_MAP { map_taps<4>(u, g); });
  }

  const versemi_conv_problem& p_;
  const winograd_gradient_plan& s_;
  const layout& l_;
  float* work_;
  float* zeros_;
  float* memory_;
  block_mapper<of_inputs> inputs_;
  block_mapper<of_gradients> gradients_;
};

layout make_layout(const conv3d_call& call, const winograd_gradient_plan& s) {
  const versemi_conv_problem& p = call.problem;
  layout l = {};
  l.inputs.x = call.input;
  l.inputs.channels = p.in_channels;
  l.gradients.x = call.output;
  l.gradients.channels = p.out_channels;
  for (int i = 0; i < 3; i++) {
    l.inputs.size[i] = p.in[i];
    l.inputs.first[i] = -p.pad[i];
    l.gradients.size[i] = p.out[i];
    l.inputs.out[i] = l.gradients.out[i] = s.out[i];
    l.inputs.grid[i] = l.gradients.grid[i] = s.grid[i];
  }
  const int64_t part = divide_up(s.blocks, s.parts), blocks = s.grouped ? part : divide_up(part, s.chunks);
  const int64_t v_plane = blocks * s.rows + line_floats, d_plane = blocks * s.columns + line_floats;
  l.v = block_target{s.rows, s.planes * v_plane, v_plane};
  l.d = block_target{s.columns, s.planes * d_plane, d_plane};
  l.v_floats = s.row_slices * l.v.slice_floats;
  l.d_floats = s.column_slices * l.d.slice_floats;
  l.sum_plane = s.rows * s.columns + line_floats;
  l.sum_floats = s.planes * l.sum_plane;
  l.zero_count = larger(p.in[2] * p.in_channels, p.out[2] * p.out_channels);
  l.work_floats = larger<int64_t>(ring_floats, taps_floats);
  l.thread_floats = l.work_floats + round_up(l.zero_count, line_floats);
  if (!s.grouped) l.thread_floats += l.v_floats + l.d_floats;
  if (!s.grouped || s.parts == 1) l.thread_floats += l.sum_floats;
  l.thread_floats = round_up(l.thread_floats, 1024) + line_floats;
  return l;
}

// Parts side by side, each by one thread.
versemi_status run_parts(versemi_context* context, const conv3d_call& call, const winograd_gradient_plan& s, layout& l) {
  const versemi_conv_problem& p = call.problem;
  const int64_t weights = versemi_conv_weight_count(&p);
  l.weight = call.weight;
  if (s.parts > 1) {
    l.weight = scratch_floats(context, conv_scratch_slices, (std::size_t)(s.parts * weights));
    if (l.weight == nullptr) return out_of_memory((std::size_t)(s.parts * weights) * sizeof(float));
  }
  parallel_for(context, s.parts, [&](int64_t begin, int64_t end, int thread) {
    worker work(p, s, l, thread);
    for (int64_t part = begin; part < end; part++) work.run_part(part);
  });
  if (s.parts > 1) sum_slices(context, l.weight, s.parts, weights, call.weight);
  return ok();
}

// Part after part, each by all threads.
versemi_status run_groups(versemi_context* context, const conv3d_call& call, const winograd_gradient_plan& s, layout& l) {
  const versemi_conv_problem& p = call.problem;
  const int64_t pairs = s.row_slices * s.column_slices, kept = s.parts > 1 ? pairs * l.sum_floats : 0;
  const int64_t floats = l.v_floats + l.d_floats + kept;
  float* const v = scratch_floats(context, conv_scratch_winograd_group, (std::size_t)floats);
  if (v == nullptr) return out_of_memory((std::size_t)floats * sizeof(float));
  float* const d = v + l.v_floats;
  float* const sums = d + l.d_floats;
  const int64_t vectors = (s.depth + s.width) / lanes;
  for (int64_t part = 0; part < s.parts; part++) {
    const range blocks = part_range(s, part);
    parallel_for(context, s.chunks * vectors, [&](int64_t begin, int64_t end, int thread) {
      worker work(p, s, l, thread);
      for (int64_t task = begin; task < end; task++) {
        const int64_t chunk = task / vectors, vector = task % vectors;
        const int64_t done = chunk_range(s, part, chunk).begin - blocks.begin;
        work.map(part, chunk, vector, vector + 1, v + done * s.rows, d + done * s.columns);
      }
    });
    parallel_for(context, pairs, [&](int64_t begin, int64_t end, int thread) {
      worker work(p, s, l, thread);
      for (int64_t pair = begin; pair < end; pair++) {
        const int64_t row_slice = pair / s.column_slices, column_slice = pair % s.column_slices;
        const range rows{row_slice * s.rows, smaller((row_slice + 1) * s.rows, p.in_channels)};
        const range columns{column_slice * s.columns, smaller((column_slice + 1) * s.columns, s.width)};
        float* const to = s.parts > 1 ? sums + pair * l.sum_floats : work.memory();
        work.multiply(v + row_slice * l.v.slice_floats, d + column_slice * l.d.slice_floats, rows.count(), columns.count(),
                      blocks.count(), to, part > 0);
        if (part == s.parts - 1) work.map_to_taps(to, rows, columns.begin, columns.end, call.weight);
      }
    });
  }
  return ok();
}

}  // namespace

versemi_status run_winograd_gradient(versemi_context* context, const conv3d_call& call, const winograd_gradient_plan& s) {
  layout l = make_layout(call, s);
  const std::size_t bytes = (std::size_t)(l.thread_floats * thread_count(context)) * sizeof(float);
  l.thread_memory = static_cast<float*>(scratch(context, conv_scratch_thread, bytes));
  if (l.thread_memory == nullptr) return out_of_memory(bytes);
  const int64_t chunks = s.parts * s.chunks;
  if (call.bias != nullptr) {
    l.bias = scratch_floats(context, conv_scratch_bias, (std::size_t)(chunks * s.width));
    if (l.bias == nullptr) return out_of_memory((std::size_t)(chunks * s.width) * sizeof(float));
  }
  const versemi_status status = s.grouped ? run_groups(context, call, s, l) : run_parts(context, call, s, l);
  if (status.code != VERSEMI_OK || call.bias == nullptr) return status;
  for (int64_t channel = 0; channel < call.problem.out_channels; channel++) {
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++) sum += (double)l.bias[chunk * s.width + channel];
    call.bias[channel] = (float)sum;
  }
  return status;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
