#include "conv_tile.h"

#include <utility>

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// Multiples of the distance between voxels, so that eight voxels are addressed from one pointer: base + index * scale.
struct voxel_steps {
  std::ptrdiff_t s1, s3, s5, s7;
};

VERSEMI_INLINE const float* voxel_at(int r, const char* p0, const char* p8, const char* p16, const voxel_steps& s) {
  const char* p = r < 8 ? p0 : r < 16 ? p8 : p16;
  switch (r % 8) {
    case 0: break;
    case 1: p += s.s1; break;
    case 2: p += 2 * s.s1; break;
    case 3: p += s.s3; break;
    case 4: p += 4 * s.s1; break;
    case 5: p += s.s5; break;
    case 6: p += 2 * s.s3; break;
    default: p += s.s7; break;
  }
  return reinterpret_cast<const float*>(p);
}

// What the sums begin with: `voxels` of a tile, from the one that call.out points to.
template <int voxels, int vectors>
VERSEMI_INLINE void begin_sums(const tile_call& call, vfloat (&sum)[voxels][vectors]) {
  vfloat start[vectors];
  VERSEMI_UNROLL
  for (int c = 0; c < vectors; c++) {
    start[c] = zero();
    if (call.bias != nullptr) start[c] = load(call.bias + c * lanes);
  }
  if (!call.accumulate) {
    VERSEMI_UNROLL
    for (int r = 0; r < voxels; r++)
      VERSEMI_UNROLL
    for (int c = 0; c < vectors; c++) sum[r][c] = start[c];
    return;
  }
  const int last = (int)(call.columns - (vectors - 1) * lanes);
  VERSEMI_UNROLL
  for (int r = 0; r < voxels; r++) {
    const float* out = call.out + r * call.out_step;
    VERSEMI_UNROLL
    for (int c = 0; c < vectors; c++)
      sum[r][c] = c < vectors - 1 || last == lanes ? load(out + c * lanes) : load_first(out + c * lanes, last);
  }
}

// Gathers the statistics and writes.
template <int voxels, int vectors>
VERSEMI_INLINE void finish_sums(const tile_call& call, vfloat (&sum)[voxels][vectors]) {
  constexpr int width = vectors * lanes;
  // Columns of the last vector; the others are whole.
  const int last = (int)(call.columns - (vectors - 1) * lanes);
  if (call.statistics != nullptr) {
    VERSEMI_UNROLL
    for (int c = 0; c < vectors; c++) {
      float* statistics = call.statistics + c * lanes;
      const vfloat shift = call.statistics_begin ? sum[0][c] : load(statistics);
      vfloat total = call.statistics_begin ? zero() : load(statistics + width);
      vfloat squares = call.statistics_begin ? zero() : load(statistics + 2 * width);
      VERSEMI_UNROLL
      for (int r = 0; r < voxels; r++) {
        const vfloat deviation = sum[r][c] - shift;
        total += deviation;
        squares = fma(deviation, deviation, squares);
      }
      store(statistics, shift);
      store(statistics + width, total);
      store(statistics + 2 * width, squares);
    }
  }

  VERSEMI_UNROLL
  for (int r = 0; r < voxels; r++) {
    float* out = call.out + r * call.out_step;
    VERSEMI_UNROLL
    for (int c = 0; c < vectors - 1; c++) store(out + c * lanes, sum[r][c]);
    if (last == lanes) store(out + (vectors - 1) * lanes, sum[r][vectors - 1]);
  }
  if (last == lanes) return;
  if (last == lanes / 2) {
    VERSEMI_UNROLL
    for (int r = 0; r < voxels; r++)
      store_half(call.out + r * call.out_step + (vectors - 1) * lanes, sum[r][vectors - 1]);
    return;
  }
  VERSEMI_UNROLL
  for (int r = 0; r < voxels; r++)
    store_first(call.out + r * call.out_step + (vectors - 1) * lanes, sum[r][vectors - 1], last);
}

template <int voxels, int vectors>
void tile(const tile_call& call) {
  constexpr int width = vectors * lanes;
  vfloat sum[voxels][vectors];
  begin_sums(call, sum);

  const std::ptrdiff_t step = call.x_step * (std::ptrdiff_t)sizeof(float);
  voxel_steps steps = {step, 3 * step, 5 * step, 7 * step};
  VERSEMI_KEEP(steps.s3);
  VERSEMI_KEEP(steps.s5);
  VERSEMI_KEEP(steps.s7);
  const std::ptrdiff_t ahead_step = call.ahead_step;
  for (std::int64_t s = 0; s < call.segments; s++) {
    const char* p0 = reinterpret_cast<const char*>(call.x + call.x_offset[s]);
    const char* p8 = p0 + 8 * step;
    const char* p16 = p0 + 16 * step;
    const float* w = call.w + call.w_offset[s];
    const char* ahead = reinterpret_cast<const char*>(call.ahead + call.ahead_offset[s]);
    const char* end = p0 + call.count * (std::ptrdiff_t)sizeof(float);
    do {
      __builtin_prefetch(ahead);
      ahead += ahead_step;
      vfloat weight[vectors];
      VERSEMI_UNROLL
      for (int c = 0; c < vectors; c++) weight[c] = load(w + c * lanes);
      VERSEMI_UNROLL
      for (int r = 0; r < voxels; r++) {
        vfloat x = broadcast(*voxel_at(r, p0, p8, p16, steps));
        // Broadcast once, not once per fma.
        if (vectors > 1) VERSEMI_KEEP_VECTOR(x);
        VERSEMI_UNROLL
        for (int c = 0; c < vectors; c++) sum[r][c] = fma(x, weight[c], sum[r][c]);
      }
      p0 += sizeof(float);
      p8 += sizeof(float);
      p16 += sizeof(float);
      w += width;
      VERSEMI_KEEP(p0);
      if (voxels > 8) VERSEMI_KEEP(p8);
      if (voxels > 16) VERSEMI_KEEP(p16);
      VERSEMI_KEEP(w);
    } while (p0 != end);
  }
  finish_sums(call, sum);
}

template <int vectors, typename Sequence>
struct tile_table;
template <int vectors, int... index>
struct tile_table<vectors, std::integer_sequence<int, index...>> {
  static constexpr tile_function entries[] = {tile<index + 1, vectors>...};
};
template <int vectors>
using tiles = tile_table<vectors, std::make_integer_sequence<int, max_tile_voxels(vectors)>>;

}  // namespace

tile_function tile_for(int voxels, int vectors) {
  switch (vectors) {
    case 1: return tiles<1>::entries[voxels - 1];
    case 2: return tiles<2>::entries[voxels - 1];
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return tiles<3>::entries[voxels - 1];
    case 4: return tiles<4>::entries[voxels - 1];
#endif
    default: return nullptr;
  }
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
