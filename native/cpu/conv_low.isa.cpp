// Chooses, rounds and packs the operands of conv_low.h.
#include "conv_low.h"

#include "conv_low_pack.h"
#include "dot_products.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// Numbers of the source that one task looks through for their range.
constexpr int64_t range_floats = 65536;
// Below it 1 / scale would overflow; such a number counts as zero.
constexpr float least_range = 1e-30f;

// How the operands lie in memory.
struct packing {
  unit_format format;
  int64_t units;    // of a voxel
  int64_t taps;     // kernels packed, [taps][units][columns]: those joined along W count as one
  int64_t before;   // zeros in front of a row of the source, voxels
  int64_t row;      // voxels of a row with them
  int64_t padded;   // columns, filled up to whole vectors
};

// Carves a block of scratch memory into arrays.
class carving {
 public:
  template <typename T>
  int64_t take(int64_t count) {
    const int64_t begin = bytes_;
    bytes_ += divide_up(count * (int64_t)sizeof(T), (int64_t)alignment) * (int64_t)alignment;
    return begin;
  }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t bytes_ = 0;
};

packing make_packing(const conv_operation& o, unit_format format) {
  packing p = {};
  p.format = format;
  p.units = divide_up(o.x_channels, channels_of(format));
  p.taps = o.kernel[0] * o.kernel[1] * (o.column_sets > 1 ? 1 : o.kernel[2]);
  p.padded = divide_up(o.columns, lanes) * lanes;
  int64_t after = 0;
  for (int64_t i = 0; i < o.pass_count; i++) {
    const pass_axis& w = o.passes[i].axis[2];
    p.before = larger(p.before, -w.x_first);
    after = larger(after, w.x_first + (w.count - 1) * w.x_step + w.taps - o.x_size[2]);
  }
  p.row = p.before + o.x_size[2] + after;
  return p;
}

// Scale and zero of a sample from its least and largest value.
void quantisation_of(float least, float most, float* scale, float* inverse, int32_t* zero) {
  *zero = least < 0 ? 128 : 0;
  const float range = least < 0 ? larger(-least, most) : most;
  const float steps = least < 0 ? 127.0f : 255.0f;
  const bool finite = least - least == 0 && most - most == 0;
  *scale = !finite ? __builtin_nanf("") : range < least_range ? 0 : range / steps;
  *inverse = !finite || range < least_range ? 0 : steps / range;
}

// ranges[sample][part]: least and largest value of a part.
void find_ranges(versemi_context* context, const conv_operation& o, int64_t count, int64_t parts, float* ranges) {
  parallel_for(context, o.n * parts, [&](int64_t begin, int64_t end, int) {
    for (int64_t task = begin; task < end; task++) {
      const int64_t part = task % parts, first = count * part / parts, last = count * (part + 1) / parts;
      range_of(o.x + task / parts * count + first, last - first, ranges + 2 * task);
    }
  });
}

void pack_source(versemi_context* context, const conv_operation& o, const packing& p, const float* inverse,
                 const int32_t* zero, char* to) {
  const int64_t rows = o.x_size[0] * o.x_size[1], voxel_bytes = p.units * 4;
  parallel_for(context, o.n * rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t sample = row / rows;
      const rounding how = inverse == nullptr ? rounding{} : rounding{inverse[sample], zero[sample]};
      char* packed = to + row * p.row * voxel_bytes;
      const int64_t inside = p.before + o.x_size[2];
      fill_zeros(p.format, how, packed, p.before * voxel_bytes);
      pack_row(p.format, how, o.x + row * o.x_size[2] * o.x_channels, o.x_size[2], o.x_channels, packed + p.before * voxel_bytes);
      fill_zeros(p.format, how, packed + inside * voxel_bytes, (p.row - inside) * voxel_bytes);
    }
  });
}

// Weights as rows of columns, [tap][channel][pitch].
struct weight_rows {
  const float* data;
  int64_t pitch;
  const float* row(int64_t x_channels, int64_t tap, int64_t channel) const { return data + (tap * x_channels + channel) * pitch; }
};

weight_rows make_weight_rows(versemi_context* context, const conv_operation& o, const packing& p, float* transposed) {
  if (!o.weight_reversed) return weight_rows{o.weight, o.columns};
  parallel_for(context, p.taps, [&](int64_t begin, int64_t end, int) {
    for (int64_t tap = begin; tap < end; tap++)
      pack_transposed(o.weight + tap * o.x_channels * o.columns, o.columns, o.x_channels, transposed + tap * o.x_channels * p.padded,
                      p.padded);
  });
  return weight_rows{transposed, p.padded};
}

// The largest weight of every column, to scales[padded] and their inverses behind them.
void find_weight_scales(versemi_context* context, const conv_operation& o, const packing& p, const weight_rows& rows,
                        float* scales) {
  float* inverse = scales + p.padded;
  parallel_for(context, p.padded / lanes, [&](int64_t begin, int64_t end, int) {
    for (int64_t vector = begin; vector < end; vector++) {
      const int left = (int)smaller<int64_t>(lanes, o.columns - vector * lanes);
      vfloat most = zero();
      for (int64_t row = 0; row < p.taps * o.x_channels; row++)
        most = max(most, absolute(load_first_or_all(rows.data + row * rows.pitch + vector * lanes, left)));
      for (int i = 0; i < lanes; i++) {
        const float range = most[i];
        const bool finite = range - range == 0;
        scales[vector * lanes + i] = !finite ? __builtin_nanf("") : range < least_range ? 0 : range / 127.0f;
        inverse[vector * lanes + i] = !finite || range < least_range ? 0 : 127.0f / range;
      }
    }
  });
}

void pack_weights(versemi_context* context, const conv_operation& o, const packing& p, const weight_rows& rows,
                  const float* inverse, float* to, int32_t* tap_sums) {
  parallel_for(context, p.taps, [&](int64_t begin, int64_t end, int) {
    for (int64_t tap = begin; tap < end; tap++)
      for (int64_t vector = 0; vector < p.padded / lanes; vector++) {
        const int64_t column = vector * lanes;
        const vfloat factor = inverse == nullptr ? zero() : load(inverse + column);
        const vint sum = pack_columns(p.format, rows.row(o.x_channels, tap, 0) + column, rows.pitch, o.x_channels,
                                      (int)smaller<int64_t>(lanes, o.columns - column), factor,
                                      to + tap * p.units * o.columns + column, o.columns);
        if (tap_sums != nullptr) std::memcpy(tap_sums + tap * p.padded + column, &sum, sizeof sum);
      }
  });
}

dot_path path_of(const versemi_context* context) {
#if defined(VERSEMI_AMX_EMULATOR)
  (void)context;
  return dot_path::amx;
#else
  return choose_dot_path(context, VERSEMI_TEXT(VERSEMI_ISA));
#endif
}

const tile_kind* tiles_of(dot_path path, bool whole) {
  switch (path) {
    case dot_path::amx: return amx_tiles(whole);
    case dot_path::avx512_bf16: return bf16_tiles();
    case dot_path::avx512_vnni:
    case dot_path::avx_vnni: return vnni_tiles();
    case dot_path::portable: break;
  }
  return whole ? pair_tiles() : &float_tiles();
}

}  // namespace

bool takes_low_precision(const versemi_context* context, const conv_operation& o) {
  const operand_precision precision = precision_of(context);
  if (precision == operand_precision::float32 || !o.inference || o.x_channels < 8) return false;
  const int64_t taps = o.kernel[0] * o.kernel[1] * o.kernel[2];
  if (taps == 1) return false;
  return precision == operand_precision::bfloat16 || taps * o.x_channels < (int64_t{1} << 31) / (255 * 127);
}

versemi_status lower_operation(versemi_context* context, const conv_operation& o, lowered_operation* lowered) {
  const bool whole = precision_of(context) == operand_precision::int8;
  const dot_path path = path_of(context);
  const unit_format format = whole ? (path == dot_path::portable ? unit_format::int8_pair : unit_format::int8_quad)
                                   : (path == dot_path::portable ? unit_format::bf16_float : unit_format::bf16_pair);
  const packing p = make_packing(o, format);
  const int64_t sample_floats = o.x_size[0] * o.x_size[1] * o.x_size[2] * o.x_channels;
  const int64_t parts = divide_up(sample_floats, range_floats);

  carving arrays;
  const int64_t weights = arrays.take<float>(p.taps * p.units * o.columns);
  const int64_t transposed = arrays.take<float>(o.weight_reversed ? p.taps * o.x_channels * p.padded : 0);
  const int64_t scales = arrays.take<float>(whole ? 2 * p.padded : 0);
  const int64_t tap_sums = arrays.take<int32_t>(whole ? p.taps * p.padded : 0);
  const int64_t together = arrays.take<float>(whole ? o.n * p.padded : 0);
  const int64_t ranges = arrays.take<float>(whole ? o.n * parts * 2 : 0);
  const int64_t inverses = arrays.take<float>(whole ? o.n : 0);
  const int64_t zeros = arrays.take<int32_t>(whole ? o.n : 0);
  char* memory = static_cast<char*>(scratch(context, conv_scratch_low_weights, (std::size_t)arrays.bytes()));
  if (memory == nullptr) return out_of_memory((std::size_t)arrays.bytes());
  const std::size_t source_bytes = (std::size_t)(o.n * o.x_size[0] * o.x_size[1] * p.row * p.units * 4);
  char* source = static_cast<char*>(scratch(context, conv_scratch_low_source, source_bytes));
  if (source == nullptr) return out_of_memory(source_bytes);
  const auto floats = [&](int64_t offset) { return reinterpret_cast<float*>(memory + offset); };
  const auto numbers = [&](int64_t offset) { return reinterpret_cast<int32_t*>(memory + offset); };

  const weight_rows rows = make_weight_rows(context, o, p, floats(transposed));
  if (whole) {
    find_weight_scales(context, o, p, rows, floats(scales));
    find_ranges(context, o, sample_floats, parts, floats(ranges));
    for (int64_t sample = 0; sample < o.n; sample++) {
      const float* part = floats(ranges) + sample * parts * 2;
      float least = part[0], most = part[1], scale;
      for (int64_t i = 1; i < parts; i++) {
        // Written so that a NaN of any part stays.
        least = part[2 * i] >= least ? least : part[2 * i] == part[2 * i] && least != least ? least : part[2 * i];
        most = part[2 * i + 1] <= most ? most : part[2 * i + 1] == part[2 * i + 1] && most != most ? most : part[2 * i + 1];
      }
      quantisation_of(least, most, &scale, floats(inverses) + sample, numbers(zeros) + sample);
      for (int64_t i = 0; i < p.padded; i++) floats(together)[sample * p.padded + i] = scale * floats(scales)[i];
    }
  }
  pack_weights(context, o, p, rows, whole ? floats(scales) + p.padded : nullptr, floats(weights),
               whole ? numbers(tap_sums) : nullptr);
  pack_source(context, o, p, whole ? floats(inverses) : nullptr, whole ? numbers(zeros) : nullptr, source);

  conv_operation& result = lowered->operation;
  result = o;
  result.x = reinterpret_cast<const float*>(source);
  result.x_size[2] = p.row;
  result.x_channels = p.units;
  result.weight = floats(weights);
  result.weight_reversed = false;
  for (int64_t i = 0; i < o.pass_count; i++) result.passes[i].axis[2].x_first += p.before;
  lowered->tiles = tiles_of(path, whole);
  lowered->padded = p.padded;
  lowered->scale = whole ? floats(together) : nullptr;
  lowered->zero = whole ? numbers(zeros) : nullptr;
  lowered->tap_sums = whole ? numbers(tap_sums) : nullptr;
  return ok();
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
