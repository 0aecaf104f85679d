// Rounding and packing of numbers into units of four bytes, for conv_low.isa.cpp.
#ifndef VERSEMI_CPU_CONV_LOW_PACK_H
#define VERSEMI_CPU_CONV_LOW_PACK_H

#include "conv_panel.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// What a unit of four bytes holds: a bfloat16 as a float, two of them, two int8 in 16 bits each, four int8.
enum class unit_format { bf16_float, bf16_pair, int8_pair, int8_quad };

constexpr std::int64_t channels_of(unit_format format) {
  return format == unit_format::bf16_float ? 1 : format == unit_format::int8_quad ? 4 : 2;
}

typedef std::uint16_t vhalves __attribute__((vector_size(lanes * 2)));
typedef std::uint8_t vbytes __attribute__((vector_size(lanes)));

// int8: value * inverse, rounded, + zero.
struct rounding {
  float inverse = 0;
  std::int32_t zero = 0;
};

VERSEMI_INLINE vfloat load_first_or_all(const float* from, int count) {
  return count == lanes ? load(from) : load_first(from, count);
}

// The bits of a bfloat16 in the upper half of each lane: to nearest, ties to even; NaN stays NaN.
VERSEMI_INLINE vint bf16_bits(vfloat v) {
  const vint bits = as_int(v);
  const vint rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const vint quiet = bits | 0x400000;
  return (v == v ? rounded : quiet) & (std::int32_t)0xffff0000;
}

// To nearest, ties to even, by adding 1.5 * 2^23: the number stands in the lowest bits. Multiplied and added apart, so that every
// instruction set gets the same.
VERSEMI_INLINE vint nearest(vfloat v, vfloat inverse) {
  vfloat scaled = v * inverse;
  VERSEMI_KEEP_VECTOR(scaled);
  return as_int(scaled + broadcast(12582912.0f)) - 0x4b400000;
}

// range[0], range[1]: least and largest value. NaN comes through.
VERSEMI_INLINE void range_of(const float* from, std::int64_t count, float* range) {
  vfloat least = broadcast(from[0]), most = least;
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const vfloat v = load(from + i);
    least = min(least, v);
    most = max(most, v);
  }
  for (; i < count; i++) {
    const vfloat v = broadcast(from[i]);
    least = min(least, v);
    most = max(most, v);
  }
  for (int half = lanes / 2; half > 0; half /= 2) {
    float a[lanes], b[lanes], shifted[2 * lanes] = {};
    std::memcpy(a, &least, sizeof a);
    std::memcpy(b, &most, sizeof b);
    for (int j = 0; j < lanes; j++) shifted[j] = a[(j + half) % lanes], shifted[lanes + j] = b[(j + half) % lanes];
    least = min(least, load(shifted));
    most = max(most, load(shifted + lanes));
  }
  range[0] = least[0];
  range[1] = most[0];
}

// Neighbouring numbers of the source, to elements of 4, 2 or 1 bytes that lie side by side.
template <unit_format format>
VERSEMI_INLINE void pack_run(const rounding& how, const float* from, std::int64_t count, char* to) {
  constexpr int element = 4 / (int)channels_of(format);
  const vfloat inverse = broadcast(how.inverse);
  for (std::int64_t i = 0; i < count; i += lanes) {
    const int left = (int)smaller<std::int64_t>(lanes, count - i);
    const vfloat v = load_first_or_all(from + i, left);
    const vint whole = nearest(v, inverse) + how.zero;
    const std::size_t bytes = (std::size_t)(left * element);
    char* const target = to + i * element;
    if constexpr (format == unit_format::bf16_float) {
      const vint packed = bf16_bits(v);
      left == lanes ? (void)std::memcpy(target, &packed, sizeof packed) : (void)std::memcpy(target, &packed, bytes);
    } else if constexpr (format == unit_format::int8_quad) {
      const vbytes packed = __builtin_convertvector(whole, vbytes);
      left == lanes ? (void)std::memcpy(target, &packed, sizeof packed) : (void)std::memcpy(target, &packed, bytes);
    } else {
      const vint halves = format == unit_format::bf16_pair ? (bf16_bits(v) >> 16) : (whole & 0xff);
      const vhalves packed = __builtin_convertvector(halves, vhalves);
      left == lanes ? (void)std::memcpy(target, &packed, sizeof packed) : (void)std::memcpy(target, &packed, bytes);
    }
  }
}

// What the padding holds.
VERSEMI_INLINE void fill_zeros(unit_format format, const rounding& how, char* to, std::int64_t bytes) {
  if (format == unit_format::int8_pair) {
    for (std::int64_t i = 0; i < bytes; i += 2) to[i] = (char)how.zero, to[i + 1] = 0;
  } else {
    std::memset(to, how.zero, (std::size_t)bytes);
  }
}

template <unit_format format>
void pack_row(const rounding& how, const float* from, std::int64_t voxels, std::int64_t channels, char* to) {
  constexpr std::int64_t group = channels_of(format);
  if (channels % group == 0) {
    pack_run<format>(how, from, voxels * channels, to);
    return;
  }
  // The last unit is not full: what fills it up meets weights that are zero.
  const std::int64_t voxel_bytes = (channels + group - 1) / group * 4;
  for (std::int64_t voxel = 0; voxel < voxels; voxel++, from += channels, to += voxel_bytes) {
    std::memset(to + voxel_bytes - 4, 0, 4);
    pack_run<format>(how, from, channels, to);
  }
}

VERSEMI_INLINE void pack_row(unit_format format, const rounding& how, const float* from, std::int64_t voxels,
                             std::int64_t channels, char* to) {
  switch (format) {
    case unit_format::bf16_float: return pack_row<unit_format::bf16_float>(how, from, voxels, channels, to);
    case unit_format::bf16_pair: return pack_row<unit_format::bf16_pair>(how, from, voxels, channels, to);
    case unit_format::int8_pair: return pack_row<unit_format::int8_pair>(how, from, voxels, channels, to);
    case unit_format::int8_quad: return pack_row<unit_format::int8_quad>(how, from, voxels, channels, to);
  }
}

// One vector of columns of the weights of a tap: to[unit][column] from from[channel][column]. Returns the sums of the int8.
VERSEMI_INLINE vint pack_columns(unit_format format, const float* from, std::int64_t pitch, std::int64_t channels, int columns,
                                 vfloat inverse, float* to, std::int64_t to_pitch) {
  const std::int64_t group = channels_of(format);
  vint sum = vint{};
  for (std::int64_t first = 0; first < channels; first += group, to += to_pitch) {
    vint unit = vint{};
    for (std::int64_t i = 0; i < group && first + i < channels; i++) {
      const vfloat v = load_first_or_all(from + (first + i) * pitch, columns);
      if (format == unit_format::bf16_float) {
        unit = bf16_bits(v);
      } else if (format == unit_format::bf16_pair) {
        unit |= i == 0 ? (bf16_bits(v) >> 16) & 0xffff : bf16_bits(v);
      } else {
        const vint whole = nearest(v, inverse);
        sum += whole;
        unit |= format == unit_format::int8_pair ? (whole & 0xffff) << (int)(16 * i) : (whole & 0xff) << (int)(8 * i);
      }
    }
    if (columns == lanes)
      store(to, as_float(unit));
    else
      store_first(to, as_float(unit), columns);
  }
  return sum;
}

}  // namespace
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
