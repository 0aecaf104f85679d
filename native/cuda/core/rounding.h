// Whole numbers rounded up. For numbers that are not negative; in the wider of the two types.
#ifndef VERSEMI_CUDA_ROUNDING_H
#define VERSEMI_CUDA_ROUNDING_H

#include "core/target.h"

namespace versemi {
namespace cuda {

template <typename A, typename B>
__host__ __device__ constexpr auto divide_up(A a, B b) {
  return (a + b - 1) / b;
}
template <typename A, typename B>
__host__ __device__ constexpr auto round_up(A a, B b) {
  return divide_up(a, b) * b;
}

}  // namespace cuda
}  // namespace versemi

#endif
