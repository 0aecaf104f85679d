// Copying and packing. Weights are packed into panels: for one block of output columns, [segment][kw][channel][vectors * lanes], zero where the
// block sticks out behind the last column. A segment is one (kd, kh).
#ifndef VERSEMI_CPU_CONV_PANEL_H
#define VERSEMI_CPU_CONV_PANEL_H

#include <utility>

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

// Copies a few hundred floats: shorter on its way than memcpy, whose start and choice of method cost as much as the copy.
VERSEMI_INLINE void copy_floats(float* to, const float* from, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i));
  if (i < count) store_first(to + i, load_first(from + i, (int)(count - i)), (int)(count - i));
}
VERSEMI_INLINE void zero_floats(float* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, zero());
  if (i < count) store_first(to + i, zero(), (int)(count - i));
}

// One step of a transposition: exchanges, between two rows `distance` apart, the lanes that differ in that bit.
template <int distance, int... lane>
VERSEMI_INLINE void exchange(vfloat& a, vfloat& b, std::integer_sequence<int, lane...>) {
  const vfloat upper = __builtin_shufflevector(a, b, (lane & distance ? lane - distance + lanes : lane)...);
  const vfloat lower = __builtin_shufflevector(a, b, (lane & distance ? lane + lanes : lane + distance)...);
  a = upper;
  b = lower;
}

template <int distance>
VERSEMI_INLINE void exchange_all(vfloat (&rows)[lanes]) {
  VERSEMI_UNROLL
  for (int i = 0; i < lanes; i++)
    if ((i & distance) == 0) exchange<distance>(rows[i], rows[i + distance], std::make_integer_sequence<int, lanes>());
}

// Transposes lanes x lanes elements; pitches in floats.
VERSEMI_INLINE void transpose_square(const float* from, std::int64_t from_pitch, float* to, std::int64_t to_pitch) {
  vfloat rows[lanes];
  VERSEMI_UNROLL
  for (int i = 0; i < lanes; i++) rows[i] = load(from + i * from_pitch);
  exchange_all<1>(rows);
  exchange_all<2>(rows);
  if constexpr (lanes > 4) exchange_all<4>(rows);
  if constexpr (lanes > 8) exchange_all<8>(rows);
  VERSEMI_UNROLL
  for (int i = 0; i < lanes; i++) store(to + i * to_pitch, rows[i]);
}

// to[k * width + column] = from[column * depth + k] for column < columns; 0 for columns <= column < width.
VERSEMI_INLINE void pack_transposed(const float* from, std::int64_t columns, std::int64_t depth, float* to,
                                    std::int64_t width) {
  const std::int64_t square_columns = columns / lanes * lanes, square_depth = depth / lanes * lanes;
  for (std::int64_t column = 0; column < square_columns; column += lanes) {
    for (std::int64_t k = 0; k < square_depth; k += lanes)
      transpose_square(from + column * depth + k, depth, to + k * width + column, width);
    for (std::int64_t k = square_depth; k < depth; k++)
      for (int i = 0; i < lanes; i++) to[k * width + column + i] = from[(column + i) * depth + k];
  }
  if (square_columns == width) return;
  for (std::int64_t k = 0; k < depth; k++)
    for (std::int64_t column = square_columns; column < width; column++)
      to[k * width + column] = column < columns ? from[column * depth + k] : 0.0f;
}

// to[k * width + column] = from[k * pitch + column], zeros as above.
VERSEMI_INLINE void pack_rows(const float* from, std::int64_t columns, std::int64_t depth, std::int64_t pitch,
                              float* to, std::int64_t width) {
  for (std::int64_t k = 0; k < depth; k++)
    for (std::int64_t column = 0; column < width; column += lanes) {
      const std::int64_t left = columns - column;
      const float* p = from + k * pitch + column;
      store(to + k * width + column, left >= lanes ? load(p) : left > 0 ? load_first(p, (int)left) : zero());
    }
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
