#include "conv_grad_tile.h"

#include <utility>

namespace versemi {
namespace VERSEMI_ISA {
namespace {

// Voxels between a prefetch of the input and its use: some hundred cycles. The gradient is read without gaps, which the
// processor foresees by itself.
constexpr std::int64_t ahead = 80;

template <int rows, int vectors>
void grad_tile(const grad_tile_call& call) {
  vfloat sum[rows][vectors];
  VERSEMI_UNROLL
  for (int r = 0; r < rows; r++) VERSEMI_UNROLL
  for (int c = 0; c < vectors; c++) sum[r][c] = zero();

  for (std::int64_t s = 0; s < call.lines; s++) {
    const float* x = call.x + call.x_offset[s];
    const float* grad = call.grad + call.grad_offset[s];
    for (std::int64_t v = call.count; v > 0; v--) {
      __builtin_prefetch(x + ahead * call.x_step);
      vfloat g[vectors];
      VERSEMI_UNROLL
      for (int c = 0; c < vectors; c++) g[c] = load(grad + c * lanes);
      VERSEMI_UNROLL
      for (int r = 0; r < rows; r++) {
        vfloat value = broadcast(x[r]);
        // Broadcast once, not once per fma.
        if (vectors > 1) VERSEMI_KEEP_VECTOR(value);
        VERSEMI_UNROLL
        for (int c = 0; c < vectors; c++) sum[r][c] = fma(value, g[c], sum[r][c]);
      }
      x += call.x_step;
      grad += call.grad_step;
      VERSEMI_KEEP(x);
      VERSEMI_KEEP(grad);
    }
  }

  // Columns of the last vector; the others are whole.
  const int last = (int)(call.columns - (vectors - 1) * lanes);
  VERSEMI_UNROLL
  for (int r = 0; r < rows; r++) {
    float* out = call.out + r * call.out_step;
    VERSEMI_UNROLL
    for (int c = 0; c < vectors; c++) {
      float* to = out + c * lanes;
      if (c < vectors - 1 || last == lanes)
        store(to, call.accumulate ? load(to) + sum[r][c] : sum[r][c]);
      else
        store_first(to, call.accumulate ? load_first(to, last) + sum[r][c] : sum[r][c], last);
    }
  }
}

template <int vectors, typename Sequence>
struct grad_tile_table;
template <int vectors, int... index>
struct grad_tile_table<vectors, std::integer_sequence<int, index...>> {
  static constexpr grad_tile_function entries[] = {grad_tile<index + 1, vectors>...};
};
template <int vectors>
using grad_tiles = grad_tile_table<vectors, std::make_integer_sequence<int, max_tile_voxels(vectors)>>;

}  // namespace

grad_tile_function grad_tile_for(int rows, int vectors) {
  switch (vectors) {
    case 1: return grad_tiles<1>::entries[rows - 1];
    case 2: return grad_tiles<2>::entries[rows - 1];
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return grad_tiles<3>::entries[rows - 1];
    case 4: return grad_tiles<4>::entries[rows - 1];
#endif
    default: return nullptr;
  }
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
