// Mapping weights for minimal filtering, out of the order in which they are stored for either direction.
#ifndef VERSEMI_CPU_WINOGRAD_WEIGHTS_H
#define VERSEMI_CPU_WINOGRAD_WEIGHTS_H

#include "conv_panel.h"
#include "winograd.h"
#include "winograd_maps.h"

namespace versemi {
namespace VERSEMI_ISA {

// Taps and two steps of the maps.
constexpr int64_t weight_work_floats = 27 * lanes * lanes + (9 * 6 + 3 * 36) * lanes;

// to[k][lanes of columns] = from[column * pitch + k] for a square of weights.
static inline void pack_part_transposed(const float* from, int64_t columns, int64_t count, int64_t pitch, float* to) {
  if (columns == lanes && count == lanes) {
    transpose_square(from, pitch, to, lanes);
    return;
  }
  for (int64_t k = 0; k < count; k++)
    for (int64_t c = 0; c < lanes; c++) to[k * lanes + c] = c < columns ? from[c * pitch + k] : 0.0f;
}

// Weights of one vector of columns and up to `lanes` channels from `first` on; channel and plane distances in floats;
// work: weight_work_floats.
static inline void map_weight_square(const conv_operation& o, const winograd_plan& p, int64_t vector, int64_t first,
                                     float* work, float* to, int64_t width, int64_t plane) {
  const pass_axis* axis = o.passes[0].axis;
  const int64_t columns = smaller<int64_t>(lanes, o.columns - vector * lanes);
  const int64_t count = smaller<int64_t>(lanes, o.x_channels - first);
  float* taps = work;  // [27][channel][lanes]
  float* mapped = taps + 27 * lanes * lanes;
  for (int64_t i = 0; i < 27; i++) {
    const int64_t d = axis[0].tap_first + axis[0].tap_step * (i / 9), h = axis[1].tap_first + axis[1].tap_step * (i / 3 % 3);
    const int64_t w = axis[2].tap_first + axis[2].tap_step * (i % 3);
    const float* from = o.weight + ((d * 3 + h) * 3 + w) * o.x_channels * o.columns;
    float* to = taps + i * lanes * lanes;
    if (!o.weight_reversed) {
      pack_rows(from + first * o.columns + vector * lanes, columns, count, o.columns, to, lanes);
    } else {
      pack_part_transposed(from + vector * lanes * o.x_channels + first, columns, count, o.x_channels, to);
    }
  }
  const int nh = p.in[1], nw = p.in[2];
  float* const second = mapped + 9 * 6 * lanes;
  for (int64_t k = 0; k < count; k++) {
    const int64_t tap = lanes * lanes;
    weight_axis(p.out[2], taps + k * lanes, 3 * tap, tap, 0, mapped, nw * lanes, lanes, 0, 9, 1);
    weight_axis(p.out[1], mapped, 3 * nw * lanes, nw * lanes, lanes, second, nh * nw * lanes, nw * lanes, lanes, 3, nw);
    weight_axis(p.out[0], second, 0, nh * nw * lanes, lanes, to + k * width, 0, nh * nw * plane, plane, 1, nh * nw);
  }
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
