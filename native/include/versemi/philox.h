/* Counter-based random numbers, header only: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011). The same numbers as src/random.ts and assembly/random.ts; test_philox.cpp and
 * test/unit/random.test.ts hold them against the same constants. */
#ifndef VERSEMI_PHILOX_H
#define VERSEMI_PHILOX_H

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define VERSEMI_PHILOX_FUNCTION __host__ __device__
#else
#define VERSEMI_PHILOX_FUNCTION
#endif

namespace versemi {

struct philox_block {
  uint32_t word[4];
};

/* One block from a 64-bit key (low word first) and a 128-bit counter. */
VERSEMI_PHILOX_FUNCTION constexpr philox_block philox4x32(uint32_t key0, uint32_t key1, uint32_t counter0,
                                                          uint32_t counter1, uint32_t counter2, uint32_t counter3) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xd2511f53u} * counter0;
    const uint64_t product1 = uint64_t{0xcd9e8d57u} * counter2;
    counter0 = static_cast<uint32_t>(product1 >> 32) ^ counter1 ^ key0;
    counter1 = static_cast<uint32_t>(product1);
    counter2 = static_cast<uint32_t>(product0 >> 32) ^ counter3 ^ key1;
    counter3 = static_cast<uint32_t>(product0);
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return {{counter0, counter1, counter2, counter3}};
}

/* The sequence of one (seed, stream, step, sample), as RandomStream of src/random.ts. */
class random_stream {
 public:
  VERSEMI_PHILOX_FUNCTION constexpr random_stream(uint64_t seed, uint32_t stream, uint32_t step = 0,
                                                  uint32_t sample = 0)
      : seed_(seed), stream_(stream), step_(step), sample_(sample) {}

  /* Next unsigned 32-bit integer. */
  VERSEMI_PHILOX_FUNCTION constexpr uint32_t uint32() {
    if (used_ == 4) {
      block_ = philox4x32(static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32), next_++, stream_, step_,
                          sample_);
      used_ = 0;
    }
    return block_.word[used_++];
  }

  /* Uniform in [0, 1), 24 random bits: exact in float. */
  VERSEMI_PHILOX_FUNCTION constexpr double uniform() { return (uint32() >> 8) * (1.0 / 16777216.0); }

  /* Uniform integer in [0, bound) without bias; 1 <= bound <= 2^32. */
  VERSEMI_PHILOX_FUNCTION constexpr uint32_t integer(uint64_t bound) {
    const uint64_t limit = (uint64_t{1} << 32) - (uint64_t{1} << 32) % bound;
    uint32_t value = uint32();
    while (value >= limit) value = uint32();
    return static_cast<uint32_t>(value % bound);
  }

  /* Standard normal number (Box-Muller); up to the rounding of the library's log and cos. */
  VERSEMI_PHILOX_FUNCTION double normal() {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  uint64_t seed_;
  uint32_t stream_, step_, sample_;
  uint32_t next_ = 0;
  int used_ = 4;
  philox_block block_ = {{0, 0, 0, 0}};
};

}  // namespace versemi
#endif
