// The tiles of conv_low.h in AMX registers: up to 32 voxels x 32 columns in four of them. A vector of columns (AVX-512) is as
// wide as a row of a tile, and panels of weights and packed sources lie as the tiles want them.
#include "conv_low.h"

#if defined(__AVX512F__)

#include "amx_registers.h"
#include "conv_tile_body.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

constexpr int tile_rows = 16;
constexpr int max_amx_voxels = 2 * tile_rows;

struct bf16_products {
  static constexpr bool whole = false;
  template <int sum, int a, int b>
  static void add() {
    amx_registers::add_bf16<sum, a, b>();
  }
};
struct byte_products {
  static constexpr bool whole = true;
  template <int sum, int a, int b>
  static void add() {
    amx_registers::add_bytes<sum, a, b>();
  }
};

template <typename products, int voxels, int vectors>
void finish_rows(const tile_call& call, const float* from) {
  vfloat sum[voxels][vectors];
  begin_sums<products>(call, sum);
  VERSEMI_UNROLL
  for (int r = 0; r < voxels; r++)
    VERSEMI_UNROLL
  for (int c = 0; c < vectors; c++) {
    const vfloat more = load(from + (r * vectors + c) * lanes);
    sum[r][c] = products::whole ? as_float(as_int(sum[r][c]) + as_int(more)) : sum[r][c] + more;
  }
  finish_sums<products>(call, sum);
}

// Tiles 0 to 3 are sums [half of the voxels][vector], 4 and 5 the halves of the voxels, 6 and 7 the vectors of weights.
template <typename products, int halves, int vectors>
void amx_tile(const tile_call& call) {
  constexpr int width = vectors * lanes;
  const std::int64_t first = halves == 2 ? (call.voxels + 1) / 2 : call.voxels, second = call.voxels - first;
  // Units of one step of the reduction: what divides a segment, so that nothing behind it is touched.
  std::int64_t depth = larger<std::int64_t>(1, smaller<std::int64_t>(tile_rows, call.count));
  while (call.count % depth != 0) depth--;

  amx_configuration configuration;
  const auto shape = [&](int tile, std::int64_t rows, std::int64_t units) {
    configuration.rows[tile] = (std::uint8_t)rows;
    configuration.row_bytes[tile] = (std::uint16_t)(4 * units);
  };
  for (int half = 0; half < halves; half++) {
    const std::int64_t rows = half == 0 ? first : second;
    for (int c = 0; c < vectors; c++) shape(2 * half + c, rows, lanes);
    shape(4 + half, rows, depth);
  }
  for (int c = 0; c < vectors; c++) shape(6 + c, depth, lanes);
  amx_registers::configure(configuration);

  const std::ptrdiff_t step = call.x_step * (std::ptrdiff_t)sizeof(float), row = width * (std::ptrdiff_t)sizeof(float);
  for (std::int64_t s = 0; s < call.segments; s++) {
    const float* x = call.x + call.x_offset[s];
    const float* w = call.w + call.w_offset[s];
    for (std::int64_t k = 0; k < call.count; k += depth, x += depth, w += depth * width) {
      amx_registers::load<4>(x, step);
      amx_registers::load<6>(w, row);
      products::template add<0, 4, 6>();
      if constexpr (vectors == 2) {
        amx_registers::load<7>(w + lanes, row);
        products::template add<1, 4, 7>();
      }
      if constexpr (halves == 2) {
        amx_registers::load<5>(x + first * call.x_step, step);
        products::template add<2, 5, 6>();
        if constexpr (vectors == 2) products::template add<3, 5, 7>();
      }
    }
  }
  alignas(64) float sums[max_amx_voxels * width];
  amx_registers::store<0>(sums, row);
  if constexpr (vectors == 2) amx_registers::store<1>(sums + lanes, row);
  if constexpr (halves == 2) {
    amx_registers::store<2>(sums + first * width, row);
    if constexpr (vectors == 2) amx_registers::store<3>(sums + first * width + lanes, row);
  }
  amx_registers::release();

  tile_call part = call;
  std::int64_t voxel = 0;
  const auto advance = [&](int count) {
    part.statistics_begin = false;
    part.out += count * call.out_step;
    voxel += count;
  };
  while (voxel + 8 <= call.voxels) {
    finish_rows<products, 8, vectors>(part, sums + voxel * width);
    advance(8);
  }
  while (voxel < call.voxels) {
    finish_rows<products, 1, vectors>(part, sums + voxel * width);
    advance(1);
  }
}

template <typename products>
tile_function find(int voxels, int vectors) {
  if (vectors == 1) return voxels > tile_rows ? amx_tile<products, 2, 1> : amx_tile<products, 1, 1>;
  return voxels > tile_rows ? amx_tile<products, 2, 2> : amx_tile<products, 1, 2>;
}

}  // namespace

const tile_kind* amx_tiles(bool whole) {
  static constexpr tile_kind bytes = {2, {0, max_amx_voxels, max_amx_voxels}, find<byte_products>};
  static constexpr tile_kind bf16 = {2, {0, max_amx_voxels, max_amx_voxels}, find<bf16_products>};
  return whole ? &bytes : &bf16;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#else

namespace versemi {
namespace VERSEMI_ISA {
const tile_kind* amx_tiles(bool) { return nullptr; }
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
