// Helpers of the *.isa.cpp families that take every call of their ops.
#ifndef VERSEMI_CPU_KERNEL_ROW_H
#define VERSEMI_CPU_KERNEL_ROW_H

#include "context.h"
#include "simd.h"
#include "versemi/kernel_table.h"
#include "versemi/paired_axes.h"

// Row of a kernel that refuses nothing, named after its instruction set.
#define VERSEMI_ROW(op, run) \
  { op, VERSEMI_ROW_NAME("vector"), takes_all, run }

// For lambdas that take or give vectors: a call out of line would go through memory.
#define VERSEMI_INLINE_LAMBDA __attribute__((always_inline))

namespace versemi {
namespace VERSEMI_ISA {

static const char* takes_all(versemi_context*, const double*, std::int32_t) { return nullptr; }

VERSEMI_INLINE const float* input(const versemi_buffer& buffer) { return static_cast<const float*>(buffer.data); }
VERSEMI_INLINE float* output(const versemi_buffer& buffer) { return static_cast<float*>(buffer.data); }

// Flags as types, for kernels that are compiled once per setting.
struct yes {
  static constexpr bool value = true;
};
struct no {
  static constexpr bool value = false;
};

// All lanes of a vector, or the first few: `auto` parameters of these types let one body serve both.
struct all_lanes {};
struct first_lanes {
  int count;
};
VERSEMI_INLINE vfloat load(const float* p, all_lanes) { return load(p); }
VERSEMI_INLINE vfloat load(const float* p, first_lanes part) { return load_first(p, part.count); }
VERSEMI_INLINE void store(float* p, vfloat v, all_lanes) { store(p, v); }
VERSEMI_INLINE void store(float* p, vfloat v, first_lanes part) { store_first(p, v, part.count); }

// Keeps the compiler from joining a load with the selection of its lanes into one masked load: those took about 50 cycles
// each on the processor this was measured on (Zen 4).
VERSEMI_INLINE vfloat loaded_whole(vfloat v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#endif
  return v;
}

// Calls body(offset, all_lanes or first_lanes) for the vectors of [begin, end).
template <typename Body>
VERSEMI_INLINE void for_each_vector(std::int64_t begin, std::int64_t end, Body body) {
  std::int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(i, all_lanes{});
  if (i < end) body(i, first_lanes{static_cast<int>(end - i)});
}

// Elements that one task of a flat op works on: a piece of the cache, and far more than a task costs. Fixed, so that
// sums do not depend on the number of threads.
constexpr std::int64_t task_elements = 16384;

// Calls body(begin, end) for the pieces of [0, count); pieces begin at multiples of task_elements.
template <typename Body>
VERSEMI_INLINE void parallel_elements(versemi_context* context, std::int64_t count, Body body) {
  parallel_for(context, divide_up(count, task_elements), [&](std::int64_t first, std::int64_t last, int) {
    body(first * task_elements, smaller(last * task_elements, count));
  });
}

// Offsets in the two tensors of combination number `index` of their first `axes` axes.
VERSEMI_INLINE void locate(const paired_axes& of, std::int64_t index, int axes, std::int64_t* a, std::int64_t* b) {
  *a = *b = 0;
  for (int i = axes - 1; i >= 0; i--) {
    const std::int64_t at = index % of.shape[i];
    index /= of.shape[i];
    *a += at * of.a[i];
    *b += at * of.b[i];
  }
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
