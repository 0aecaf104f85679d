// The registers of AMX: eight tiles of up to 16 rows of 64 bytes. In assembly, see dot_instructions.h. A test puts plain C++ in
// their place (VERSEMI_AMX_EMULATOR names its header), as few machines have them.
#ifndef VERSEMI_CPU_AMX_REGISTERS_H
#define VERSEMI_CPU_AMX_REGISTERS_H

#include <cstddef>
#include <cstdint>

namespace versemi {

// As LDTILECFG reads it.
struct alignas(64) amx_configuration {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(amx_configuration) == 64, "the layout is that of the instruction");

}  // namespace versemi

#if defined(VERSEMI_AMX_EMULATOR)
#include VERSEMI_AMX_EMULATOR
#else

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct amx_registers {
  // Clears all tiles.
  static inline void configure(const amx_configuration& c) { asm volatile("ldtilecfg %0" : : "m"(c)); }
  static inline void release() { asm volatile("tilerelease"); }

  // Rows `stride` bytes apart.
  template <int tile>
  static inline void load(const void* from, std::ptrdiff_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(tile) : "memory");
  }
  template <int tile>
  static inline void store(void* to, std::ptrdiff_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(tile) : "memory");
  }

  // sum[m][n] += sum over k of the products of a[m][k] and b[k][n], units of four bytes: two bfloat16, or four bytes
  // (a unsigned, b signed).
  template <int sum, int a, int b>
  static inline void add_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
  }
  template <int sum, int a, int b>
  static inline void add_bytes() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
  }
};

}  // namespace
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
#endif
