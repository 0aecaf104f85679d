// The linear maps of minimal filtering F(m, 3) along one axis, m = 2 or 4 (Winograd 1980; Lavin and Gray, "Fast algorithms for
// convolutional neural networks", CVPR 2016): m outputs y of a filter g of three taps over m + 2 inputs d are
//   y = A [(G g) * (B d)],   * element by element: m + 2 products instead of 3 m.
// Row i of G is the polynomial of g at the point x_i, over the constant that Lagrange's formula asks for; row i of B are the
// coefficients of the product of (x - x_j) over the other points; column i of A are the powers of x_i; the last point is at
// infinity. m = 2: points 0, 1, -1. m = 4: 0, +-3/4, +-3/2, whose powers are exact and whose error over three axes is a
// third of that of the usual 0, +-1, +-2 (README).
#ifndef VERSEMI_CPU_WINOGRAD_MAPS_H
#define VERSEMI_CPU_WINOGRAD_MAPS_H

#include "simd.h"

namespace versemi {
namespace VERSEMI_ISA {

constexpr float point_p = 0.75f, point_q = 1.5f;
constexpr float point_pp = point_p * point_p, point_qq = point_q * point_q;

// v = B d
template <int m>
VERSEMI_INLINE void map_input(const vfloat (&d)[m + 2], vfloat (&v)[m + 2]) {
  if constexpr (m == 2) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  } else {
    const vfloat p = broadcast(point_p), q = broadcast(point_q), pp = broadcast(-point_pp), qq = broadcast(-point_qq);
    const vfloat sum = broadcast(-point_pp - point_qq), product = broadcast(point_pp * point_qq);
    const vfloat even_p = fma(qq, d[2], d[4]), odd_p = fma(qq, d[1], d[3]);
    const vfloat even_q = fma(pp, d[2], d[4]), odd_q = fma(pp, d[1], d[3]);
    v[0] = fma(product, d[0], fma(sum, d[2], d[4]));
    v[1] = fma(p, odd_p, even_p);
    v[2] = fma(-p, odd_p, even_p);
    v[3] = fma(q, odd_q, even_q);
    v[4] = fma(-q, odd_q, even_q);
    v[5] = fma(product, d[1], fma(sum, d[3], d[5]));
  }
}

// y = A v
template <int m>
VERSEMI_INLINE void map_output(const vfloat (&v)[m + 2], vfloat (&y)[m]) {
  if constexpr (m == 2) {
    y[0] = v[0] + (v[1] + v[2]);
    y[1] = (v[1] - v[2]) - v[3];
  } else {
    const vfloat sum_p = v[1] + v[2], difference_p = v[1] - v[2], sum_q = v[3] + v[4], difference_q = v[3] - v[4];
    y[0] = v[0] + (sum_p + sum_q);
    y[1] = fma(broadcast(point_q), difference_q, difference_p * broadcast(point_p));
    y[2] = fma(broadcast(point_qq), sum_q, sum_p * broadcast(point_pp));
    y[3] = fma(broadcast(point_qq * point_q), difference_q, fma(broadcast(point_pp * point_p), difference_p, v[5]));
  }
}

// v = A' e
template <int m>
VERSEMI_INLINE void map_gradient(const vfloat (&e)[m], vfloat (&v)[m + 2]) {
  if constexpr (m == 2) {
    v[0] = e[0];
    v[1] = e[0] + e[1];
    v[2] = e[0] - e[1];
    v[3] = -e[1];
  } else {
    const vfloat even_p = fma(broadcast(point_pp), e[2], e[0]), odd_p = fma(broadcast(point_pp), e[3], e[1]);
    const vfloat even_q = fma(broadcast(point_qq), e[2], e[0]), odd_q = fma(broadcast(point_qq), e[3], e[1]);
    v[0] = e[0];
    v[1] = fma(broadcast(point_p), odd_p, even_p);
    v[2] = fma(broadcast(-point_p), odd_p, even_p);
    v[3] = fma(broadcast(point_q), odd_q, even_q);
    v[4] = fma(broadcast(-point_q), odd_q, even_q);
    v[5] = e[3];
  }
}

// u = G g
template <int m>
VERSEMI_INLINE void map_weight(const vfloat (&g)[3], vfloat (&u)[m + 2]) {
  if constexpr (m == 2) {
    const vfloat half = broadcast(0.5f), even = (g[0] + g[2]) * half, odd = g[1] * half;
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  } else {
    const vfloat scale_p = broadcast(0.5f / (point_pp * (point_pp - point_qq)));
    const vfloat scale_q = broadcast(0.5f / (point_qq * (point_qq - point_pp)));
    const vfloat even_p = fma(broadcast(point_pp), g[2], g[0]), odd_p = broadcast(point_p) * g[1];
    const vfloat even_q = fma(broadcast(point_qq), g[2], g[0]), odd_q = broadcast(point_q) * g[1];
    u[0] = g[0] * broadcast(1.0f / (point_pp * point_qq));
    u[1] = (even_p + odd_p) * scale_p;
    u[2] = (even_p - odd_p) * scale_p;
    u[3] = (even_q + odd_q) * scale_q;
    u[4] = (even_q - odd_q) * scale_q;
    u[5] = g[2];
  }
}

// g = G' u
template <int m>
VERSEMI_INLINE void map_taps(const vfloat (&u)[m + 2], vfloat (&g)[3]) {
  if constexpr (m == 2) {
    const vfloat half = broadcast(0.5f), sum = (u[1] + u[2]) * half;
    g[0] = u[0] + sum;
    g[1] = (u[1] - u[2]) * half;
    g[2] = u[3] + sum;
  } else {
    const vfloat scale_p = broadcast(0.5f / (point_pp * (point_pp - point_qq)));
    const vfloat scale_q = broadcast(0.5f / (point_qq * (point_qq - point_pp)));
    const vfloat sum_p = (u[1] + u[2]) * scale_p, difference_p = (u[1] - u[2]) * scale_p;
    const vfloat sum_q = (u[3] + u[4]) * scale_q, difference_q = (u[3] - u[4]) * scale_q;
    g[0] = fma(u[0], broadcast(1.0f / (point_pp * point_qq)), sum_p + sum_q);
    g[1] = fma(broadcast(point_p), difference_p, difference_q * broadcast(point_q));
    g[2] = fma(broadcast(point_pp), sum_p, fma(broadcast(point_qq), sum_q, u[5]));
  }
}

// One map along one axis of an array of vectors [outer][from][inner] -> [outer][to][inner]; distances in floats between
// neighbours of each axis. What is read of one line is read before the line is written, so that `to` may be `from` where
// the distances are the same.
template <int from_count, int to_count, typename Map>
VERSEMI_INLINE void along_axis(const float* from, std::int64_t from_outer, std::int64_t from_step, std::int64_t from_inner,
                               float* to, std::int64_t to_outer, std::int64_t to_step, std::int64_t to_inner, int outer,
                               int inner, Map&& map) {
  for (int a = 0; a < outer; a++)
    for (int b = 0; b < inner; b++) {
      const float* x = from + a * from_outer + b * from_inner;
      float* y = to + a * to_outer + b * to_inner;
      vfloat in[from_count], out[to_count];
      VERSEMI_UNROLL
      for (int k = 0; k < from_count; k++) in[k] = load(x + k * from_step);
      map(in, out);
      VERSEMI_UNROLL
      for (int k = 0; k < to_count; k++) store(y + k * to_step, out[k]);
    }
}

// For lambdas that take or give vectors: a call out of line would go through memory.
#define VERSEMI_INLINE_MAP __attribute__((always_inline))

// The maps above along one axis, for blocks of 2 or 4 outputs.
static inline void weight_axis(int out, const float* from, std::int64_t from_outer, std::int64_t from_step,
                               std::int64_t from_inner, float* to, std::int64_t to_outer, std::int64_t to_step,
                               std::int64_t to_inner, int outer, int inner) {
  if (out == 2)
    along_axis<3, 4>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&g)[3], vfloat(&u)[4]) VERSEMI_INLINE_MAP { map_weight<2>(g, u); });
  else
    along_axis<3, 6>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&g)[3], vfloat(&u)[6]) VERSEMI_INLINE_MAP { map_weight<4>(g, u); });
}
static inline void output_axis(int out, const float* from, std::int64_t from_outer, std::int64_t from_step,
                               std::int64_t from_inner, float* to, std::int64_t to_outer, std::int64_t to_step,
                               std::int64_t to_inner, int outer, int inner) {
  if (out == 2)
    along_axis<4, 2>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&v)[4], vfloat(&y)[2]) VERSEMI_INLINE_MAP { map_output<2>(v, y); });
  else
    along_axis<6, 4>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&v)[6], vfloat(&y)[4]) VERSEMI_INLINE_MAP { map_output<4>(v, y); });
}
static inline void taps_axis(int out, const float* from, std::int64_t from_outer, std::int64_t from_step,
                             std::int64_t from_inner, float* to, std::int64_t to_outer, std::int64_t to_step,
                             std::int64_t to_inner, int outer, int inner) {
  if (out == 2)
    along_axis<4, 3>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&u)[4], vfloat(&g)[3]) VERSEMI_INLINE_MAP { map_taps<2>(u, g); });
  else
    along_axis<6, 3>(from, from_outer, from_step, from_inner, to, to_outer, to_step, to_inner, outer, inner,
                     [](const vfloat(&u)[6], vfloat(&g)[3]) VERSEMI_INLINE_MAP { map_taps<4>(u, g); });
}

}  // namespace VERSEMI_ISA
}  // namespace versemi

#endif
