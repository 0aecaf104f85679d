// Partial results whose number follows from the problem alone.
#ifndef VERSEMI_CPU_CONV_SLICES_H
#define VERSEMI_CPU_CONV_SLICES_H

#include "context.h"
#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

// to[i] = sum over slices of from[slice * count + i], in order.
static inline void sum_slices(versemi_context* context, const float* from, std::int64_t slices, std::int64_t count, float* to) {
  constexpr std::int64_t block = 4096;
  parallel_for(context, (count + block - 1) / block, [&](std::int64_t begin, std::int64_t end, int) {
    const std::int64_t last = smaller(end * block, count);
    for (std::int64_t i = begin * block; i < last; i += lanes) {
      const int left = (int)smaller<std::int64_t>(lanes, last - i);
      vfloat sum = load_first(from + i, left);
      for (std::int64_t slice = 1; slice < slices; slice++) sum += load_first(from + slice * count + i, left);
      store_first(to + i, sum, left);
    }
  });
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
