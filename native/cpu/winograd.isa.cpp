// Runs a convolution by minimal filtering: weights, then per chunk (or group of chunks) inputs, products, outputs; see
// winograd.h.
#include "winograd.h"

#include "conv_moments.h"
#include "conv_panel.h"
#include "conv_tile.h"
#include "winograd_blocks.h"
#include "winograd_weights.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct layout {
  // Mapped inputs are [slice of channels][plane][block][channel of the slice], products [column block][plane][block][width],
  // with a line behind each plane. Floats from plane to plane, and of all planes of a slice or of a column block:
  int64_t v_plane, m_plane;
  int64_t v_floats, m_floats;
  int64_t pack_floats, thread_floats;
  float* thread_memory;
  float* weights;     // of all column blocks, each [plane][channel][width]; nullptr where each thread maps what it needs
  const float* bias;  // [vectors * lanes] or nullptr
  float* statistics;  // [sample][chunk][vector][3 * lanes] or nullptr
  block_source source;
  block_target target;
};

struct column_block {
  int64_t first_vector;
  int vectors;
};
column_block block_at(const winograd_plan& p, int64_t block) {
  const int64_t begin = p.vectors * block / p.column_blocks, end = p.vectors * (block + 1) / p.column_blocks;
  return column_block{begin, (int)(end - begin)};
}
// Floats from plane to plane of the mapped weights.
int64_t weight_plane(int64_t channels, int64_t vectors) { return channels * vectors * lanes + line_floats; }
// Mapped weights of a block of columns.
float* weights_of(const winograd_plan& p, const layout& l, int64_t number) {
  return l.weights + p.planes * (p.depth * block_at(p, number).first_vector * lanes + number * line_floats);
}

class worker {
 public:
  worker(const conv_operation& operation, const winograd_plan& plan, const layout& l, int thread)
      : o_(operation),
        p_(plan),
        l_(l),
        work_(l.thread_memory + thread * l.thread_floats),
        zeros_(work_ + l.pack_floats),
        v_(zeros_ + round_up(operation.x_size[2] * operation.x_channels, lanes)),
        m_(v_ + l.v_floats),
        inputs_(l.source, l.target, work_, zeros_) {
    zero_floats(zeros_, operation.x_size[2] * operation.x_channels);
  }

  void map_weights(int64_t vector, int64_t first, float* to, int64_t width, int64_t plane) {
    map_weight_square(o_, p_, vector, first, work_, to, width, plane);
  }

  // A chunk through all steps, over the weights that were mapped for all.
  void run_chunk(int64_t sample, int64_t chunk) {
    const int64_t begin = first_block(chunk), end = first_block(chunk + 1);
    map_inputs(sample, begin, end, 0, p_.depth / lanes, v_);
    for (int64_t i = 0; i < p_.column_blocks; i++) {
      const column_block block = block_at(p_, i);
      const int64_t step = weight_plane(p_.depth, block.vectors);
      for (int plane = 0; plane < p_.planes; plane++)
        multiply(block.vectors, v_ + plane * l_.v_plane, weights_of(p_, l_, i) + plane * step, step, o_.x_channels, false,
                 m_ + plane * l_.m_plane, end - begin);
      map_outputs(sample, chunk, block, m_);
    }
  }

  // Products of one block of columns for a group of blocks. The weights are mapped on the way, slice by slice of the
  // channels: they never leave the cache.
  void run_columns(const column_block& block, const float* v, float* m, int64_t blocks) {
    const int64_t step = weight_plane(p_.slice, block.vectors), width = block.vectors * lanes;
    for (int64_t first = 0; first < o_.x_channels; first += p_.slice, v += l_.v_floats) {
      const int64_t count = smaller(p_.slice, o_.x_channels - first);
      for (int64_t k = 0; k < count; k += lanes)
        for (int i = 0; i < block.vectors; i++)
          map_weights(block.first_vector + i, first + k, v_ + k * width + i * lanes, width, step);
      for (int plane = 0; plane < p_.planes; plane++)
        multiply(block.vectors, v + plane * l_.v_plane, v_ + plane * step, step, count, first > 0, m + plane * l_.m_plane,
                 blocks);
    }
  }

  int64_t first_block(int64_t chunk) const { return p_.blocks * chunk / p_.chunks; }

  // Blocks [begin, end) of a sample, vectors [first, last) of the input channels; v: where the first block goes.
  void map_inputs(int64_t sample, int64_t begin, int64_t end, int64_t first, int64_t last, float* v) {
    inputs_.map(sample, begin, end, first, last, v, nullptr);
  }

  // Products of one plane: rows are blocks, `step` leads to the weights of the next plane.
  void multiply(int vectors, const float* v, const float* weights, int64_t step, int64_t channels, bool accumulate, float* m,
                int64_t rows) const {
    const int64_t width = vectors * lanes, zero_offset = 0;
    tile_call call = {};
    call.x_offset = call.w_offset = call.ahead_offset = &zero_offset;
    call.x_step = p_.slice;
    call.w = weights;
    call.segments = 1;
    call.count = channels;
    call.ahead = weights + step;
    call.ahead_step = width * (int64_t)sizeof(float);
    call.out_step = width;
    call.columns = width;
    call.accumulate = accumulate;
    const int64_t tiles = divide_up(rows, max_tile_voxels(vectors));
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t begin = rows * i / tiles, count = rows * (i + 1) / tiles - begin;
      call.x = v + begin * p_.slice;
      call.out = m + begin * width;
      tile_for((int)count, vectors)(call);
    }
  }

  void map_outputs(int64_t sample, int64_t chunk, const column_block& columns, const float* m) {
    const int64_t begin = first_block(chunk), end = first_block(chunk + 1), width = columns.vectors * lanes;
    float* statistics =
        l_.statistics == nullptr
            ? nullptr
            : l_.statistics + ((sample * p_.chunks + chunk) * p_.vectors + columns.first_vector) * 3 * lanes;
    for (int64_t block = begin; block < end;) {
      const int64_t w = block % p_.grid[2], count = smaller(p_.grid[2] - w, end - block);
      for (int vector = 0; vector < columns.vectors; vector++)
        for (int64_t i = 0; i < count; i++)
          map_output_block(sample, block + i, columns.first_vector + vector,
                           m + (block - begin + i) * width + vector * lanes,
                           statistics == nullptr ? nullptr : statistics + vector * 3 * lanes, block + i == begin);
      block += count;
    }
  }

 private:
  void map_output_block(int64_t sample, int64_t block, int64_t vector, const float* m, float* statistics, bool begin) {
    const int64_t place[3] = {block / p_.grid[2] / p_.grid[1] * p_.out[0], block / p_.grid[2] % p_.grid[1] * p_.out[1],
                              block % p_.grid[2] * p_.out[2]};
    int valid[3];
    for (int i = 0; i < 3; i++)
      valid[i] = (int)smaller<int64_t>(p_.out[i], o_.passes[0].axis[i].count - place[i]);
    const int nh = p_.in[1], nw = p_.in[2], mh = p_.out[1];
    float* const a = work_;
    float* const b = a + 4 * most_rows * lanes;
    output_axis(p_.out[0], m, 0, nh * nw * l_.m_plane, l_.m_plane, a, 0, nh * nw * lanes, lanes, 1, nh * nw);
    output_axis(p_.out[1], a, nh * nw * lanes, nw * lanes, lanes, b, mh * nw * lanes, nw * lanes, lanes, p_.out[0], nw);
    float* out = o_.out +
                 (((sample * o_.out_size[0] + place[0]) * o_.out_size[1] + place[1]) * o_.out_size[2] + place[2]) * o_.columns +
                 vector * lanes;
    const int left = (int)smaller<int64_t>(lanes, o_.columns - vector * lanes);
    const vfloat bias = l_.bias == nullptr ? zero() : load(l_.bias + vector * lanes);
    if (p_.out[2] == 2)
      write_rows<2>(b, out, valid, left, bias, statistics, begin);
    else
      write_rows<4>(b, out, valid, left, bias, statistics, begin);
  }

  template <int size>
  void write_rows(const float* b, float* out, const int (&valid)[3], int left, vfloat bias, float* statistics,
                  bool begin) const {
    const int nw = p_.in[2];
    vfloat shift = zero(), total = zero(), squares = zero();
    if (statistics != nullptr && !begin) {
      shift = load(statistics);
      total = load(statistics + lanes);
      squares = load(statistics + 2 * lanes);
    }
    for (int d = 0; d < valid[0]; d++)
      for (int h = 0; h < valid[1]; h++) {
        const float* from = b + (d * p_.out[1] + h) * nw * lanes;
        vfloat v[size + 2], y[size];
        VERSEMI_UNROLL
        for (int i = 0; i < size + 2; i++) v[i] = load(from + i * lanes);
        map_output<size>(v, y);
        VERSEMI_UNROLL
        for (int i = 0; i < size; i++) y[i] += bias;
        if (begin && d == 0 && h == 0) shift = y[0];
        float* to = out + (d * o_.out_size[1] + h) * o_.out_size[2] * o_.columns;
        if (valid[2] == size && left == lanes) {
          VERSEMI_UNROLL
          for (int i = 0; i < size; i++) store(to + i * o_.columns, y[i]);
        } else {
          for (int i = 0; i < valid[2]; i++) {
            if (left == lanes)
              store(to + i * o_.columns, y[i]);
            else
              store_first(to + i * o_.columns, y[i], left);
          }
        }
        if (statistics == nullptr) continue;
        VERSEMI_UNROLL
        for (int i = 0; i < size; i++) {
          if (i >= valid[2]) break;
          const vfloat deviation = y[i] - shift;
          total += deviation;
          squares = fma(deviation, deviation, squares);
        }
      }
    if (statistics == nullptr) return;
    store(statistics, shift);
    store(statistics + lanes, total);
    store(statistics + 2 * lanes, squares);
  }

  const conv_operation& o_;
  const winograd_plan& p_;
  const layout& l_;
  float* work_;
  float* zeros_;
  float* v_;
  float* m_;
  block_mapper<of_inputs> inputs_;
};

layout make_layout(const conv_operation& o, const winograd_plan& p) {
  layout l = {};
  const int64_t widest = divide_up(p.vectors, p.column_blocks) * lanes;
  const int64_t blocks = p.group_blocks > 0 ? p.group_blocks : p.chunk_blocks;
  l.v_plane = blocks * p.slice + line_floats;
  l.m_plane = blocks * widest + line_floats;
  l.v_floats = p.planes * l.v_plane;
  l.m_floats = p.planes * l.m_plane;
  l.source.x = o.x;
  l.source.channels = o.x_channels;
  for (int i = 0; i < 3; i++) {
    l.source.size[i] = o.x_size[i];
    l.source.first[i] = o.passes[0].axis[i].x_first;
    l.source.out[i] = p.out[i];
    l.source.grid[i] = p.grid[i];
  }
  l.target = block_target{p.slice, l.v_floats, l.v_plane};
  // Weights: taps and two steps of the maps; inputs: the ring; outputs: two steps.
  l.pack_floats = round_up(larger<int64_t>(weight_work_floats,
                                           larger<int64_t>(ring_floats, (4 * most_rows + 16 * 6) * lanes)),
                           line_floats);
  l.thread_floats = l.pack_floats + round_up(o.x_size[2] * o.x_channels, lanes);
  // Behind them a chunk, or a slice of the weights of one block of columns.
  l.thread_floats += p.group_blocks == 0 ? l.v_floats + l.m_floats
                                           : p.planes * weight_plane(p.slice, divide_up(p.vectors, p.column_blocks));
  l.thread_floats = round_up(l.thread_floats, 1024) + line_floats;
  return l;
}

// Steps one after the other over groups of whole chunks.
versemi_status run_groups(versemi_context* context, const conv_operation& o, const winograd_plan& p, const layout& l) {
  const int64_t inputs = divide_up(p.depth, p.slice) * l.v_floats, floats = inputs + p.column_blocks * l.m_floats;
  float* v = scratch_floats(context, scratch_slot::mapped, (std::size_t)floats);
  if (v == nullptr) return out_of_memory((std::size_t)floats * sizeof(float));
  float* m = v + inputs;
  const int64_t all = o.n * p.chunks, x_vectors = p.depth / lanes;
  const auto place = [&](int64_t chunk) { return chunk / p.chunks * p.blocks + p.blocks * (chunk % p.chunks) / p.chunks; };
  for (int64_t begin = 0, end; begin < all; begin = end) {
    for (end = begin + 1; end < all && place(end + 1) - place(begin) <= p.group_blocks;) end++;
    const int64_t origin = place(begin), blocks = place(end) - origin;
    parallel_for(context, (end - begin) * x_vectors, [&](int64_t first, int64_t last, int thread) {
      worker work(o, p, l, thread);
      for (int64_t task = first; task < last; task++) {
        const int64_t chunk = begin + task / x_vectors, vector = task % x_vectors;
        const int64_t in_sample = chunk % p.chunks;
        work.map_inputs(chunk / p.chunks, work.first_block(in_sample), work.first_block(in_sample + 1), vector, vector + 1,
                        v + (place(chunk) - origin) * p.slice);
      }
    });
    parallel_for(context, p.column_blocks, [&](int64_t first, int64_t last, int thread) {
      worker work(o, p, l, thread);
      for (int64_t number = first; number < last; number++)
        work.run_columns(block_at(p, number), v, m + number * l.m_floats, blocks);
    });
    parallel_for(context, (end - begin) * p.column_blocks, [&](int64_t first, int64_t last, int thread) {
      worker work(o, p, l, thread);
      for (int64_t task = first; task < last; task++) {
        const int64_t chunk = begin + task / p.column_blocks, number = task % p.column_blocks;
        const column_block block = block_at(p, number);
        work.map_outputs(chunk / p.chunks, chunk % p.chunks, block,
                         m + number * l.m_floats + (place(chunk) - origin) * block.vectors * lanes);
      }
    });
  }
  return ok();
}

versemi_status run(versemi_context* context, const conv_operation& o, const winograd_plan& p, layout& l) {
  const std::size_t bytes = (std::size_t)(l.thread_floats * thread_count(context)) * sizeof(float);
  l.thread_memory = static_cast<float*>(scratch(context, scratch_slot::per_thread, bytes));
  if (l.thread_memory == nullptr) return out_of_memory(bytes);
  if (o.bias != nullptr) {
    float* bias = scratch_floats(context, scratch_slot::bias, (std::size_t)(p.vectors * lanes));
    if (bias == nullptr) return out_of_memory((std::size_t)(p.vectors * lanes) * sizeof(float));
    for (int64_t i = 0; i < p.vectors * lanes; i++) bias[i] = i < o.columns ? o.bias[i] : 0.0f;
    l.bias = bias;
  }
  if (p.group_blocks > 0) return run_groups(context, o, p, l);
  const int64_t weight_floats = p.planes * (p.depth * p.vectors * lanes + p.column_blocks * line_floats);
  l.weights = scratch_floats(context, scratch_slot::packed, (std::size_t)weight_floats);
  if (l.weights == nullptr) return out_of_memory((std::size_t)weight_floats * sizeof(float));
  const int64_t x_vectors = p.depth / lanes;
  parallel_for(context, p.vectors * x_vectors, [&](int64_t begin, int64_t end, int thread) {
    worker work(o, p, l, thread);
    for (int64_t task = begin; task < end; task++) {
      const int64_t vector = task / x_vectors, first = task % x_vectors * lanes;
      int64_t number = vector * p.column_blocks / p.vectors;
      while (block_at(p, number).first_vector + block_at(p, number).vectors <= vector) number++;
      const column_block block = block_at(p, number);
      const int64_t width = block.vectors * lanes;
      work.map_weights(vector, first, weights_of(p, l, number) + (vector - block.first_vector) * lanes + first * width, width,
                       weight_plane(p.depth, block.vectors));
    }
  });
  parallel_for(context, o.n * p.chunks, [&](int64_t begin, int64_t end, int thread) {
    worker work(o, p, l, thread);
    for (int64_t task = begin; task < end; task++) work.run_chunk(task / p.chunks, task % p.chunks);
  });
  return ok();
}

// Voxels of a chunk that lie inside the output.
int64_t chunk_voxels(const conv_operation& o, const winograd_plan& p, int64_t chunk) {
  int64_t voxels = 0;
  for (int64_t block = p.blocks * chunk / p.chunks; block < p.blocks * (chunk + 1) / p.chunks; block++) {
    const int64_t place[3] = {block / p.grid[2] / p.grid[1], block / p.grid[2] % p.grid[1], block % p.grid[2]};
    int64_t inside = 1;
    for (int i = 0; i < 3; i++) inside *= smaller<int64_t>(p.out[i], o.passes[0].axis[i].count - place[i] * p.out[i]);
    voxels += inside;
  }
  return voxels;
}

}  // namespace

versemi_status run_winograd(versemi_context* context, const conv_operation& o, const conv_moments* moments) {
  winograd_plan p;
  const char* reason = plan_winograd(context, o, &p);
  if (reason != nullptr) return failure(VERSEMI_UNSUPPORTED, "%s", reason);
  layout l = make_layout(o, p);
  if (moments == nullptr) return run(context, o, p, l);
  // Behind the sums, the number of voxels of each chunk.
  const int64_t sums = o.n * p.chunks * p.vectors * 3 * lanes;
  const std::size_t bytes = (std::size_t)sums * sizeof(float) + (std::size_t)p.chunks * sizeof(double);
  l.statistics = static_cast<float*>(scratch(context, scratch_slot::statistics, bytes));
  if (l.statistics == nullptr) return out_of_memory(bytes);
  double* numbers = reinterpret_cast<double*>(l.statistics + sums);
  for (int64_t chunk = 0; chunk < p.chunks; chunk++) numbers[chunk] = (double)chunk_voxels(o, p, chunk);
  const versemi_status status = run(context, o, p, l);
  if (status.code != VERSEMI_OK) return status;
  parallel_for(context, o.n * o.columns, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t sample = i / o.columns, column = i % o.columns;
      moment_sum sum;
      for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
        const float* s = l.statistics + ((sample * p.chunks + chunk) * p.vectors + column / lanes) * 3 * lanes + column % lanes;
        sum.add(numbers[chunk], s[0], s[lanes], s[2 * lanes]);
      }
      moments->mean[i] = sum.mean();
      moments->rstd[i] = sum.rstd(moments->epsilon);
    }
  });
  return status;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
