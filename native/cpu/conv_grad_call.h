// A call of conv3d_grad_weight, as its rows share it.
#ifndef VERSEMI_CPU_CONV_GRAD_CALL_H
#define VERSEMI_CPU_CONV_GRAD_CALL_H

#include "context.h"
#include "versemi/conv_problem.h"

namespace versemi {

struct grad_weight_call {
  versemi_conv_problem problem;
  const float* input;
  const float* grad_output;
  float* grad_weight;
  float* grad_bias;  // nullptr where nobody asks for it
};

}  // namespace versemi

#endif
