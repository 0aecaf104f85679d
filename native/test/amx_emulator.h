// In place of cpu/amx_registers.h: the tile registers of AMX in plain C++, after the descriptions of the instructions in Intel's
// "64 and IA-32 Architectures Software Developer's Manual", volume 2. What the processor would answer with #UD or #GP (tiles that
// are not configured, shapes that do not fit, a bad configuration) ends the program. One difference: subnormal numbers count.
#ifndef VERSEMI_TEST_AMX_EMULATOR_H
#define VERSEMI_TEST_AMX_EMULATOR_H

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace versemi {
namespace VERSEMI_ISA {
namespace {

struct amx_registers {
  static void configure(const amx_configuration& c) {
    require(c.palette == 1 && c.start_row == 0, "palette 1, no start row");
    for (int i = 0; i < 14; i++) require(c.reserved[i] == 0, "reserved bytes are zero");
    for (int i = 0; i < 16; i++) {
      require(i < 8 || (c.rows[i] == 0 && c.row_bytes[i] == 0), "eight tiles");
      require(c.rows[i] <= 16 && c.row_bytes[i] <= 64, "16 rows of 64 bytes");
      require((c.rows[i] == 0) == (c.row_bytes[i] == 0), "a tile has rows and bytes, or neither");
    }
    state& s = own();
    s.configured = true;
    s.shape = c;
    std::memset(s.data, 0, sizeof s.data);
  }
  static void release() { own().configured = false; }

  template <int tile>
  static void load(const void* from, std::ptrdiff_t stride) {
    state& s = used(tile);
    std::memset(s.data[tile], 0, sizeof s.data[tile]);
    for (int row = 0; row < s.shape.rows[tile]; row++)
      std::memcpy(s.data[tile][row], static_cast<const char*>(from) + row * stride, s.shape.row_bytes[tile]);
  }
  template <int tile>
  static void store(void* to, std::ptrdiff_t stride) {
    state& s = used(tile);
    for (int row = 0; row < s.shape.rows[tile]; row++)
      std::memcpy(static_cast<char*>(to) + row * stride, s.data[tile][row], s.shape.row_bytes[tile]);
  }

  template <int sum, int a, int b>
  static void add_bf16() {
    add<sum, a, b, float>([](float total, const unsigned char* x, const unsigned char* w) {
      for (int i = 0; i < 2; i++) total += bf16(x + 2 * i) * bf16(w + 2 * i);
      return total;
    });
  }
  template <int sum, int a, int b>
  static void add_bytes() {
    add<sum, a, b, std::int32_t>([](std::int32_t total, const unsigned char* x, const unsigned char* w) {
      for (int i = 0; i < 4; i++) total += static_cast<std::int32_t>(x[i]) * static_cast<signed char>(w[i]);
      return total;
    });
  }

 private:
  struct state {
    bool configured = false;
    amx_configuration shape;
    unsigned char data[8][16][64];
  };
  static state& own() {
    static thread_local state s;
    return s;
  }
  static void require(bool condition, const char* rule) {
    if (condition) return;
    std::fprintf(stderr, "AMX: broken rule: %s\n", rule);
    std::abort();
  }
  static state& used(int tile) {
    state& s = own();
    require(s.configured, "tiles are configured before they are used");
    require(s.shape.rows[tile] > 0, "a tile that is used has a shape");
    return s;
  }
  static float bf16(const unsigned char* from) {
    const std::uint32_t bits = static_cast<std::uint32_t>(from[0]) << 16 | static_cast<std::uint32_t>(from[1]) << 24;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  template <int sum, int a, int b, typename Number, typename Dot>
  static void add(Dot dot) {
    state& s = used(sum);
    used(a), used(b);
    require(sum != a && a != b && sum != b, "three different tiles");
    require(s.shape.rows[sum] == s.shape.rows[a] && s.shape.row_bytes[sum] == s.shape.row_bytes[b] &&
                s.shape.row_bytes[a] == 4 * s.shape.rows[b],
            "shapes of a product of matrices");
    for (int m = 0; m < s.shape.rows[sum]; m++)
      for (int n = 0; n < s.shape.row_bytes[sum] / 4; n++) {
        Number total = 0, before;
        for (int k = 0; k < s.shape.rows[b]; k++) total = dot(total, s.data[a][m] + 4 * k, s.data[b][k] + 4 * n);
        std::memcpy(&before, s.data[sum][m] + 4 * n, sizeof before);
        total += before;
        std::memcpy(s.data[sum][m] + 4 * n, &total, sizeof total);
      }
  }
};

}  // namespace
}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
