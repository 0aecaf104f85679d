#include "conv_tile.h"

#include "conv_tile_body.h"

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct float_products {
  static constexpr bool whole = false;
  VERSEMI_INLINE vfloat add(vfloat x, vfloat w, vfloat sum) { return fma(x, w, sum); }
};

}  // namespace

tile_function tile_for(int voxels, int vectors) { return find_tile<float_products>(voxels, vectors); }

const tile_kind& float_tiles() {
  static constexpr tile_kind kind = tile_kind_of<float_products>();
  return kind;
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
