/* The problem of the 3-D convolution family, shared by forward, grad-input and grad-weight: always described as the
 * forward convolution
 *
 *   output[n, od, oh, ow, co] = sum over kd, kh, kw, ci of
 *     input[n, od*sD + kd - padD, oh*sH + kh - padH, ow*sW + kw - padW, ci] * weight[kd, kh, kw, ci, co]
 *
 * with input [n, inD, inH, inW, inC] zero outside, weight [kD, kH, kW, inC, outC], output [n, outD, outH, outW, outC],
 * all float32, row-major. A transposed convolution is the grad-input of this problem. */
#ifndef VERSEMI_CONV_PROBLEM_H
#define VERSEMI_CONV_PROBLEM_H

#include <stdint.h>

#include "versemi/kernel_table.h"

/* Axes in the order D, H, W. */
typedef struct versemi_conv_problem {
  int64_t n;
  int64_t in[3], in_channels;
  int64_t out[3], out_channels;
  int64_t kernel[3];
  int64_t stride[3];
  int64_t pad[3]; /* zeros before the first voxel */
} versemi_conv_problem;

namespace versemi {

/* Behind the last voxel as many zeros are read as the size of the output asks for. */
static inline versemi_conv_problem conv_problem_of(const convolution_attributes& a) {
  return {a.n,
          {a.in_d, a.in_h, a.in_w},
          a.in_c,
          {a.out_d, a.out_h, a.out_w},
          a.out_c,
          {a.k_d, a.k_h, a.k_w},
          {a.s_d, a.s_h, a.s_w},
          {a.pad_d, a.pad_h, a.pad_w}};
}

}  // namespace versemi

static inline int64_t versemi_conv_input_count(const versemi_conv_problem* p) {
  return p->n * p->in[0] * p->in[1] * p->in[2] * p->in_channels;
}
static inline int64_t versemi_conv_output_count(const versemi_conv_problem* p) {
  return p->n * p->out[0] * p->out[1] * p->out[2] * p->out_channels;
}
static inline int64_t versemi_conv_weight_count(const versemi_conv_problem* p) {
  return p->kernel[0] * p->kernel[1] * p->kernel[2] * p->in_channels * p->out_channels;
}

#endif
