// Philox against the published vectors (Random123, kat_vectors) and against the constants of test/unit/random.test.ts.
#include "versemi/philox.h"

#include <cstdio>

namespace {

constexpr bool equal(versemi::philox_block a, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
  return a.word[0] == w0 && a.word[1] == w1 && a.word[2] == w2 && a.word[3] == w3;
}

constexpr uint32_t ones = 0xffffffffu;
static_assert(equal(versemi::philox4x32(0, 0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
static_assert(equal(versemi::philox4x32(ones, ones, ones, ones, ones, ones), 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                    0x6d5451fd));
static_assert(equal(versemi::philox4x32(0xa4093822, 0x299f31d0, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344),
                    0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

}  // namespace

int main() {
  // FNV-1a over the words of one stream, a seed above 2^32: key, counter and order of the words all matter.
  versemi::random_stream words(123456789012345ull, 4, 5, 6);
  uint32_t hash = 0x811c9dc5u;
  for (int i = 0; i < 4001; ++i) hash = (hash ^ words.uint32()) * 0x01000193u;
  expect(hash == 0xea581e73u, "the words of a stream");

  versemi::random_stream integers(7, 7);
  uint32_t sum = 0;
  for (int i = 0; i < 1000; ++i) sum = sum * 31 + integers.integer(1000003);
  expect(sum == 0x2e5a6a0u, "integers of a stream");

  versemi::random_stream uniforms(7, 7);
  expect(uniforms.uniform() == 0.9733728170394897, "uniform");
  expect(std::fabs(uniforms.normal() - -0.9348963920130944) < 1e-14, "normal");
  return failures;
}
