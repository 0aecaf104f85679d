// The tiles of conv_low.h in vector registers.
#include "conv_low.h"
#include "conv_tile_body.h"
#include "dot_instructions.h"

namespace versemi {
namespace VERSEMI_ISA {

const tile_kind* pair_tiles() {
  static constexpr tile_kind kind = tile_kind_of<pair_products>();
  return &kind;
}

const tile_kind* vnni_tiles() {
#if defined(__AVX512F__) || defined(__AVX2__)
  static constexpr tile_kind kind = tile_kind_of<vnni_products>();
  return &kind;
#else
  return nullptr;
#endif
}

const tile_kind* bf16_tiles() {
#if defined(__AVX512F__)
  static constexpr tile_kind kind = tile_kind_of<avx512_bf16_products>();
  return &kind;
#else
  return nullptr;
#endif
}

}  // namespace VERSEMI_ISA
}  // namespace versemi
